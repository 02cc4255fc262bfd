import { count, round, size } from "../charts/axes.js";
import { every, refresh, request } from "../live.js";
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
      return { name: row.candidate, cost: parseFloat(row[choice.value]), top1, note: trained ? "" : row.rejected, trained, color: row.chosen === "yes" ? "s1" : trained ? "s0" : "s8" };
    })
    .filter(({ cost, trained, note }) => cost > 0 && (trained || note));
  const given = document.getElementById("front").dataset, number = (text) => (text ? parseFloat(text) : null);
  const teacher = number(document.getElementById("status").dataset.teacher);
  const floor = given.accuracy ? number(given.accuracy) : given.retention && teacher ? teacher * number(given.retention) : null;
  scatter(document.querySelector("[data-scatter]"), points, {
    ...costs[choice.value],
    teacher,
    limits: { cost: number(given[choice.value]), top1: floor },
    none: "No candidate has been measured yet.",
  });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  button.disabled = true;
  await request("POST", button.dataset.post);
  button.blur();
  await refresh();
  draw();
});
choice.addEventListener("change", draw);
addEventListener("resize", draw);
draw();
every(3, async () => {
  if (document.getElementById("status").dataset.active !== "yes") return;
  await refresh();
  draw();
});
