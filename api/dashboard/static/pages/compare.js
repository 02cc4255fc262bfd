import { SHARES, count, round, size } from "../charts/axes.js";
import { Chart } from "../charts/chart.js";
import { Group } from "../charts/group.js";
import { followOptions } from "../charts/options.js";
import { scatter } from "../charts/scatter.js";
import { every, markStale, refresh } from "../live.js";

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

// Whether the curves of the chosen metric could not be loaded. They are loaded again when the service answers.
let incomplete = false;

async function drawCurves() {
  const metric = metricChoice.value;
  chart.clear();
  Object.assign(chart, /\/(top1|agreement)$/.test(metric) ? SHARES : NUMBERS);
  chart.label = metric;
  chart.none.textContent = "No data.";
  lastSteps.clear();
  try {
    await Promise.all(jobs.map((job) => extend(job, metric)));
    if (metricChoice.value === metric) incomplete = false;
  } catch (error) {
    // What has arrived of another metric is no longer shown.
    if (metricChoice.value !== metric) return;
    incomplete = true;
    chart.none.textContent = "The curves could not be loaded. They will appear once the service can be reached.";
    throw error;
  } finally {
    chart.schedule();
  }
}

/** Draws the curves, or shows that they are missing. */
const tryToDraw = () => drawCurves().catch((error) => markStale(true, error));

// Jobs report their accuracy later than their losses. It is shown then, unless the user has chosen a metric.
const isAccuracy = (name) => name === "validation/top1" || name === "validation/agreement";
const defaultMetric = metricChoice.value;
let chosen = false;

/** Adds metrics that were not listed yet. Returns whether one of them was selected. */
function addMetrics(names) {
  const known = new Set([...metricChoice.options].map(({ value }) => value));
  let selected = false;
  for (const name of names.filter((each) => !known.has(each))) {
    metricChoice.add(new Option(name));
    if (chosen || !isAccuracy(name) || isAccuracy(metricChoice.value)) continue;
    metricChoice.value = name;
    selected = true;
  }
  return selected;
}

costChoice.addEventListener("change", drawCosts);
metricChoice.addEventListener("change", () => {
  chosen = true;
  group.setZoom(null);
  tryToDraw();
});
followOptions(group, chart);
unzoom.addEventListener("click", () => group.setZoom(null));
addEventListener("resize", drawCosts);
// Going back and reloading restore the chosen cost and metric after this script has run.
addEventListener("pageshow", () => {
  chosen ||= metricChoice.value !== defaultMetric;
  drawCosts();
  tryToDraw();
});
every(4, async () => {
  const active = new Set(jobs.filter(({ state }) => !TERMINAL.includes(state)).map(({ job }) => job));
  if (incomplete) await drawCurves();
  if (!active.size) return;
  const fresh = await refresh();
  jobs = rows();
  chart.order = order();
  drawCosts();
  if (addMetrics([...fresh.querySelectorAll("[data-metric] option")].map(({ value }) => value))) await drawCurves();
  else await Promise.all(jobs.filter(({ job }) => active.has(job)).map((job) => extend(job, metricChoice.value)));
});
