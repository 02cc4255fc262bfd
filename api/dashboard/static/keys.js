import { ask, refresh } from "./live.js";

const form = document.getElementById("make"), secret = document.getElementById("secret");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await ask("POST", "/keys", Object.fromEntries(new FormData(form)));
  if (!answer) return;
  secret.querySelector("pre").textContent = answer.body.secret;
  secret.hidden = false;
  form.reset();
  // Once there is a key, pages need one, too: the browser asks for it on the next visit.
  await refresh().catch(() => {});
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-revoke]");
  if (!button || !confirm(`${button.getAttribute("aria-label")}? What uses it is refused from then on.`)) return;
  if (!(await ask("DELETE", button.dataset.revoke))) return;
  button.blur();
  await refresh();
});
