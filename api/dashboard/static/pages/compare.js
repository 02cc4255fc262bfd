import { count, percent, round, size } from "../charts/axes.js";
import { Chart } from "../charts/chart.js";
import { Group } from "../charts/group.js";
import { followOptions } from "../charts/options.js";
import { scatter } from "../charts/scatter.js";
import { every, refresh } from "../live.js";

const TERMINAL = ["succeeded", "failed", "cancelled"];
/** The groups of the table, and their jobs; a job has the color of its group. */
const groups = () => [...document.querySelectorAll("#compared tr[data-group]")].map((row, index) => ({ ...row.dataset, color: `s${index % 10}` }));
const rows = () => [...document.querySelectorAll("#compared tr[data-group]")].flatMap((row, index) => [...row.querySelectorAll("a[data-job]")].map(({ dataset }) => ({ ...dataset, color: `s${index % 10}` })));
let jobs = rows();
// Jobs may have the same name, and the legend must distinguish them: by seed, or by number.
const unique = (names) => new Set(names).size === names.length;
const withSeeds = jobs.map(({ name, seed }) => (jobs.filter((other) => other.name === name).length > 1 ? `${name}, seed ${seed}` : name));
const unambiguous = unique(withSeeds) ? withSeeds : jobs.map(({ name }, index) => `${index + 1} ${name}`);
// By id, because the table's order changes when jobs start: their specs are resolved, which changes the groups.
const names = new Map(jobs.map(({ job }, index) => [job, unambiguous[index]]));
const SHARES = { format: percent, precise: (share) => percent(share, 0.0001) };
const NUMBERS = { format: round, precise: (value) => value.toFixed(4) };
const costs = {
  parameters: { unit: "parameters", write: count },
  macs: { unit: "MACs for one image", write: count },
  bytes: { unit: "size of the smallest ONNX file", write: size },
  latency: { unit: "latency, one image", write: (ms) => `${round(ms)} ms` },
};
const metricChoice = document.querySelector("[data-metric]"), costChoice = document.querySelector("[data-cost]"), unzoom = document.querySelector("[data-unzoom]");

function drawCosts() {
  const chosen = costChoice.value;
  const points = groups().map(({ group, color, top1, ...cost }) => ({ name: group, cost: parseFloat(cost[chosen]), top1: parseFloat(top1), color })).filter(({ cost, top1 }) => cost > 0 && Number.isFinite(top1));
  // A single reference line, drawn only if the teachers' accuracies are equal.
  const teachers = [...new Set(groups().map(({ teacher }) => teacher).filter(Boolean))];
  scatter(document.querySelector("[data-scatter]"), points, { ...costs[chosen], teacher: teachers.length === 1 ? parseFloat(teachers[0]) : null, ranked: document.getElementById("comparability").dataset.ranked === "yes" });
}

const group = new Group({ onZoom: (zoomed) => { unzoom.hidden = !zoomed; } });
// Lines are in table order, and each job has the same color in the table and the chart.
const order = () => jobs.map(({ job, color }) => ({ name: names.get(job), color }));
const chart = new Chart(document.querySelector('[data-chart="overlay"]'), { label: "Curves", ...SHARES, order: order(), group });

// The last step in the curve of each job, by id.
const lastSteps = new Map();

/** Fetches the points of a job that its curve does not have yet. */
async function extend({ job, started }, metric) {
  const began = Date.parse(started);
  for (let more = true; more;) {
    const answer = await fetch(`/jobs/${job}/metrics?name=${encodeURIComponent(metric)}&after_step=${lastSteps.get(job) ?? -1}`);
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const page = await answer.json();
    if (metricChoice.value !== metric) return;
    for (const { step, epoch, at, values } of page.items) {
      chart.add(names.get(job), { step, epoch, time: at === null ? undefined : (Date.parse(at) - began) / 1000 }, values[metric]);
      lastSteps.set(job, step);
    }
    more = page.has_more;
  }
}

async function drawCurves() {
  const metric = metricChoice.value;
  chart.clear();
  Object.assign(chart, metric.endsWith("top1") ? SHARES : NUMBERS);
  chart.label = metric;
  lastSteps.clear();
  await Promise.all(jobs.map((job) => extend(job, metric)));
  chart.schedule();
}

costChoice.addEventListener("change", drawCosts);
metricChoice.addEventListener("change", () => { group.setZoom(null); drawCurves(); });
followOptions(group, chart);
unzoom.addEventListener("click", () => group.setZoom(null));
addEventListener("resize", drawCosts);
// Going back and reloading restore the chosen cost and metric after this script has run.
addEventListener("pageshow", () => {
  drawCosts();
  drawCurves();
});
every(4, async () => {
  const active = new Set(jobs.filter(({ state }) => !TERMINAL.includes(state)).map(({ job }) => job));
  if (!active.size) return;
  const fresh = await refresh();
  jobs = rows();
  chart.order = order();
  // A job that has started since may report metrics that were not listed.
  const known = new Set([...metricChoice.options].map(({ value }) => value));
  for (const option of fresh.querySelectorAll("[data-metric] option")) if (!known.has(option.value)) metricChoice.add(new Option(option.value));
  drawCosts();
  await Promise.all(jobs.filter(({ job }) => active.has(job)).map((job) => extend(job, metricChoice.value)));
});
