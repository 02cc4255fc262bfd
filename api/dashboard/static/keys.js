import { refresh, tell } from "./live.js";

const form = document.getElementById("make"), secret = document.getElementById("secret");

/** The answer to a request, or null and the problem's own words. */
async function ask(path, options) {
  const answer = await fetch(path, options);
  const body = answer.status === 204 ? {} : await answer.json();
  tell(answer.ok ? "" : [body.detail, ...(body.errors ?? []).map(({ detail }) => detail)].join("\n"));
  return answer.ok ? body : null;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(form)));
  const key = await ask("/keys", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (!key) return;
  secret.querySelector("pre").textContent = key.secret;
  secret.hidden = false;
  form.reset();
  // Once there is a key, pages need one, too: the browser asks for it on the next visit.
  await refresh().catch(() => {});
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-revoke]");
  if (!button || !confirm(`${button.getAttribute("aria-label")}? What uses it is refused from then on.`)) return;
  if (!(await ask(button.dataset.revoke, { method: "DELETE" }))) return;
  button.blur();
  await refresh();
});
