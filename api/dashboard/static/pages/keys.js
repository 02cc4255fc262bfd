import { refresh, request } from "../live.js";

const form = document.getElementById("create"), secret = document.getElementById("secret");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await request("POST", "/keys", Object.fromEntries(new FormData(form)));
  if (!answer) return;
  secret.querySelector("pre").textContent = answer.body.secret;
  secret.hidden = false;
  form.reset();
  // After the first key is created, pages need a key, too. The browser asks for it at the next page load.
  await refresh().catch(() => {});
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-revoke]");
  if (!button || !confirm(`${button.getAttribute("aria-label")}? Clients that use it lose access immediately.`)) return;
  if (!(await request("DELETE", button.dataset.revoke))) return;
  button.blur();
  await refresh();
});
