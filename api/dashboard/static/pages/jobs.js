import { every, fetchPage, request, swap } from "../live.js";

const MAX_COMPARED = 20;
const bar = document.getElementById("selection");
// Absent for keys that may only read.
const cancel = bar.querySelector("[data-cancel]");
const selected = new Set();

/** Updates the rows cell by cell, which keeps selection, scroll position and focus. */
async function update() {
  const fresh = await fetchPage();
  swap(document.getElementById("counters"), fresh.getElementById("counters"));
  const shown = document.getElementById("jobs"), next = fresh.getElementById("jobs");
  const body = shown.tBodies?.[0], rows = next.tBodies?.[0]?.rows;
  if (!body || !rows) return void swap(shown, next);
  const old = new Map([...body.rows].map((row) => [row.id, row]));
  let at = null;
  for (const row of [...rows]) {
    let kept = old.get(row.id);
    if (kept) {
      old.delete(row.id);
      row.dataset.cancel ? (kept.dataset.cancel = row.dataset.cancel) : delete kept.dataset.cancel;
      [...kept.cells].forEach((cell, index) => { if (!cell.classList.contains("pick")) swap(cell, row.cells[index].cloneNode(true)); });
    } else {
      kept = document.adoptNode(row);
    }
    const place = at ? at.nextElementSibling : body.firstElementChild;
    if (place !== kept) body.insertBefore(kept, place);
    at = kept;
  }
  shown.dataset.equal = next.dataset.equal;
  showColumns();
  // Rows that moved to another page are removed, which also deselects them.
  for (const row of old.values()) row.remove();
  select();
}

function select() {
  selected.clear();
  for (const box of document.querySelectorAll("td.pick input:checked")) selected.add(box.value);
  bar.hidden = !selected.size;
  bar.querySelector("[data-count]").textContent = selected.size;
  const compare = bar.querySelector("[data-compare]");
  compare.hidden = selected.size < 2 || selected.size > MAX_COMPARED;
  compare.href = `/ui/compare?${[...selected].map((id) => `job=${id}`).join("&")}`;
  if (cancel) cancel.disabled = !cancellable().length;
}

const cancellable = () => [...selected].filter((id) => document.getElementById(`job-${id}`).dataset.cancel);

document.addEventListener("change", (event) => {
  if (event.target.closest("td.pick")) select();
});
// Going back restores the boxes after this script has run.
addEventListener("pageshow", select);
bar.querySelector("[data-clear]").addEventListener("click", () => {
  for (const box of document.querySelectorAll("td.pick input:checked")) box.checked = false;
  select();
});
cancel?.addEventListener("click", async () => {
  const jobs = cancellable();
  if (!confirm(`Cancel ${jobs.length} ${jobs.length === 1 ? "job" : "jobs"}?`)) return;
  if (await request("POST", "/jobs/cancel", { jobs })) await update();
});

const FEW_HIDDEN = 4;
// Columns that are empty or equal in all rows are hidden, unless the user's choice, which the browser stores, says otherwise.
const columns = document.getElementById("columns");
const chosen = new Map(Object.entries(JSON.parse(localStorage.getItem("columns") ?? "{}")));
function showColumns() {
  const table = document.getElementById("jobs"), equal = new Set((table.dataset.equal ?? "").split(" "));
  const boxes = [...columns.querySelectorAll("input")];
  for (const box of boxes) box.checked = chosen.get(box.value) ?? !equal.has(box.value);
  const hidden = boxes.filter((box) => !box.checked).map(({ value }) => value);
  table.dataset.hide = hidden.join(" ");
  table.classList.toggle("dense", hidden.length < FEW_HIDDEN);
}
columns.addEventListener("change", ({ target }) => {
  chosen.set(target.value, target.checked);
  localStorage.setItem("columns", JSON.stringify(Object.fromEntries(chosen)));
  showColumns();
});
showColumns();

every(3, update);
