import { every, refresh, request } from "../live.js";

const form = document.getElementById("create"), secret = document.getElementById("secret");

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { url, description } = Object.fromEntries(new FormData(form));
  const answer = await request("POST", "/webhooks", description ? { url, description } : { url });
  if (!answer) return;
  secret.querySelector("pre").textContent = answer.body.secret;
  secret.hidden = false;
  form.reset();
  await refresh();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-ping], button[data-delete]");
  if (!button) return;
  const { ping, delete: removed } = button.dataset;
  if (removed && !confirm(`${button.getAttribute("aria-label")}? This cannot be undone.`)) return;
  if (!(await (ping ? request("POST", ping) : request("DELETE", removed)))) return;
  button.blur();
  await refresh();
});

every(5, refresh);
