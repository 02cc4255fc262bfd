import { count, round, size } from "../charts/axes.js";
import { deletes, every, refresh, request } from "../live.js";
import { Parallel } from "../charts/parallel.js";
import { scatter } from "../charts/scatter.js";

const costs = {
  bytes: { unit: "size of the smallest ONNX file", write: size },
  latency: { unit: "latency of the fastest ONNX file, one image", write: (ms) => `${round(ms)} ms` },
  macs: { unit: "MACs for one image", write: count },
};
const choice = document.querySelector("[data-cost]");

function draw() {
  const rows = [...document.querySelectorAll("#candidates tr[data-candidate]")].map(({ dataset }) => dataset);
  const points = rows
    .map((row) => {
      const top1 = parseFloat(row.top1), trained = Number.isFinite(top1);
      // A candidate without accuracy is shown once it is known why it was not trained.
      // Values of the search space make names too long; the number is that of the table.
      const color = row.chosen === "yes" ? "s1" : row.rejected || !trained ? "s8" : "s0";
      return { name: row.line ? `${row.number} ${JSON.parse(row.line).student}` : row.candidate, cost: parseFloat(row[choice.value]), top1: trained ? top1 : null, note: row.rejected, sign: row.sign, color };
    })
    .filter(({ cost, top1, note }) => cost > 0 && (top1 !== null || note));
  const given = document.getElementById("front").dataset, number = (text) => (text ? parseFloat(text) : null);
  const teacher = number(document.getElementById("status").dataset.teacher);
  const floor = given.accuracy ? number(given.accuracy) : given.retention && teacher ? teacher * number(given.retention) : null;
  scatter(document.querySelector("[data-scatter]"), points, {
    ...costs[choice.value],
    teacher,
    limits: { cost: number(given[choice.value]), top1: floor },
    none: rows.some((row) => parseFloat(row[choice.value]) > 0) ? "No candidate has been trained." : "No candidate has been measured.",
  });
}

const formats = {
  text: String,
  number: (value) => (typeof value === "number" ? round(value) : String(value)),
  bytes: size,
  milliseconds: (ms) => `${round(ms)} ms`,
  share: (value) => `${(100 * value).toFixed(1)}%`,
};
const across = document.getElementById("parallel");
const lines = across && new Parallel(across.querySelector("[data-parallel]"), { label: "Hyper-parameters and results", onBrush: select });

/** Shows the candidates as lines over the axes of the search space and the results. */
function drawLines() {
  if (!lines) return;
  const axes = JSON.parse(document.getElementById("candidates").dataset.axes).map(({ format, ...axis }) => ({ ...axis, write: formats[format] }));
  const rows = [...document.querySelectorAll("#candidates tr[data-line]")].map(({ dataset }) => {
    const values = JSON.parse(dataset.line);
    return { id: dataset.number, name: dataset.candidate, values, color: dataset.chosen === "yes" ? "s1" : dataset.rejected ? "s8" : "s0" };
  });
  lines.show(axes, rows);
}

/** Greys the table rows of candidates that the brushes exclude. */
function select(ids) {
  const rows = [...document.querySelectorAll("#candidates tr[data-line]")];
  for (const row of rows) row.classList.toggle("excluded", ids !== null && !ids.has(row.dataset.number));
  across.querySelector("[data-brushed]").textContent = ids === null ? "" : `${ids.size} of ${rows.length} candidates selected`;
  across.querySelector("[data-unbrush]").hidden = ids === null;
}

across?.querySelector("[data-unbrush]").addEventListener("click", () => lines.clear());
document.addEventListener("pointerover", ({ target }) => lines?.point(target.closest?.("#candidates tr[data-line]")?.dataset.number ?? null));

function drawAll() {
  draw();
  drawLines();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  button.disabled = true;
  await request("POST", button.dataset.post);
  button.disabled = false;
  button.blur();
  await refresh().catch(() => {});
  drawAll();
});
deletes("Delete this study with its jobs and their files? This cannot be undone.", "/ui/studies");
choice.addEventListener("change", draw);
addEventListener("resize", draw);
// Going back and reloading restore the chosen cost after this script has run.
addEventListener("pageshow", drawAll);
every(3, async () => {
  if (document.getElementById("status").dataset.active !== "yes") return;
  await refresh();
  drawAll();
});
