// Filters apply as soon as they are chosen with the pointer. An arrow key changes a closed list at each press, so that the button applies
// what is chosen with the keyboard.
const form = document.querySelector("#images form");
let keyboard = false;
form?.addEventListener("keydown", () => { keyboard = true; });
form?.addEventListener("pointerdown", () => { keyboard = false; });
form?.addEventListener("change", () => { if (!keyboard) form.requestSubmit(); });

// Proposes recent succeeded jobs on the same dataset, which few users need: they are read when the field is used.
document.querySelector("[name=against]").addEventListener("focus", async ({ target: { dataset, list } }) => {
  const response = await fetch(`/jobs?${new URLSearchParams({ state: "succeeded", dataset: dataset.dataset, limit: 50 })}`);
  if (!response.ok) return;
  const others = (await response.json()).items.filter(({ id }) => id !== dataset.job);
  list.replaceChildren(...others.map(({ id, name, student }) => new Option(`${name ?? id.slice(0, 13)} · ${student}`, id)));
}, { once: true });
