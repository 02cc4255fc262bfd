import { count, round, size } from "../charts/axes.js";
import { every, refresh } from "../live.js";
import { scatter } from "../charts/scatter.js";

const costs = {
  bytes: { unit: "size of the float32 ONNX file", write: size },
  latency: { unit: "latency, one image", write: (ms) => `${round(ms)} ms` },
  macs: { unit: "MACs for one image", write: count },
};
const choice = document.querySelector("[data-cost]");

function draw() {
  const rows = [...document.querySelectorAll("#candidates tr[data-candidate]")].map(({ dataset }) => dataset);
  const points = rows
    .map((row) => ({ name: row.candidate, cost: parseFloat(row[choice.value]), top1: parseFloat(row.top1), color: row.chosen === "yes" ? "s1" : "s0" }))
    .filter(({ cost, top1 }) => cost > 0 && Number.isFinite(top1));
  scatter(document.querySelector("[data-scatter]"), points, { ...costs[choice.value], none: "No candidate has been trained yet." });
}

choice.addEventListener("change", draw);
addEventListener("resize", draw);
draw();
every(3, async () => {
  if (document.getElementById("status").dataset.active !== "yes") return;
  await refresh();
  draw();
});
