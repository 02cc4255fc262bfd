import { Chart } from "./chart.js";
import { count, round } from "./axes.js";
import { every, refresh } from "./live.js";
import { scatter } from "./scatter.js";

const OVER = ["succeeded", "failed", "cancelled"];
const rows = () => [...document.querySelectorAll("#compared tr[data-job]")].map((row, index) => ({ ...row.dataset, colour: `s${index}` }));
let jobs = rows();
// Names may repeat, and the legend must tell them apart.
const names = jobs.map((job, index) => (jobs.some((other, at) => at !== index && other.name === job.name) ? `${index + 1} ${job.name}` : job.name));
const percent = (share, exact) => `${(share * 100).toFixed(exact ? 2 : 0)}%`;
const number = (value, exact) => (exact ? value.toFixed(4) : round(value));
const costs = {
  parameters: { unit: "parameters", write: count },
  macs: { unit: "multiply-accumulates of one image", write: count },
  latency: { unit: "latency of one image", write: (seconds) => `${round(seconds * 1000)} ms` },
};
const metricChoice = document.querySelector("[data-metric]"), costChoice = document.querySelector("[data-cost]"), unzoom = document.querySelector("[data-unzoom]");

function drawCosts() {
  const chosen = costChoice.value;
  const points = jobs.map((job, i) => ({ name: names[i], cost: parseFloat(job[chosen]), top1: parseFloat(job.top1), colour: job.colour })).filter(({ cost, top1 }) => cost > 0 && Number.isFinite(top1));
  // One line only where all had the same teacher, or teachers as good.
  const teachers = [...new Set(jobs.map(({ teacher }) => teacher).filter(Boolean))];
  scatter(document.querySelector("[data-scatter]"), points, { ...costs[chosen], teacher: teachers.length === 1 ? parseFloat(teachers[0]) : null });
}

const chart = new Chart(document.querySelector('[data-chart="overlay"]'), { label: "Curves", format: percent, onZoom: () => { unzoom.hidden = false; } });
// In the order of the table, so that the colours are the same.
chart.lines = function lines() {
  const made = Object.getPrototypeOf(this).lines.call(this);
  return names.flatMap((name, i) => made.filter((line) => line.name === name).map((line) => ({ ...line, colour: `s${i}` })));
};

// Of each job, the last step that its curve has.
let drawn = [];

/** What the curve of a job does not have yet. */
async function extend(i, metric) {
  const { job, started } = jobs[i], began = Date.parse(started);
  for (let more = true; more;) {
    const answer = await fetch(`/jobs/${job}/metrics?name=${encodeURIComponent(metric)}&after_step=${drawn[i]}`);
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const page = await answer.json();
    if (metricChoice.value !== metric) return;
    for (const { step, epoch, at, values } of page.items) {
      chart.add(names[i], { step, epoch, time: at === null ? undefined : (Date.parse(at) - began) / 1000 }, values[metric]);
      drawn[i] = step;
    }
    more = page.has_more;
  }
}

async function drawCurves() {
  const metric = metricChoice.value;
  chart.series.clear();
  chart.format = metric.endsWith("top1") ? percent : number;
  chart.label = metric;
  drawn = jobs.map(() => -1);
  await Promise.all(jobs.map((_, i) => extend(i, metric)));
  chart.schedule();
}

costChoice.addEventListener("change", drawCosts);
metricChoice.addEventListener("change", () => { chart.set({ zoom: null }); unzoom.hidden = true; drawCurves(); });
document.querySelector("[data-axis]").addEventListener("change", ({ target }) => { chart.set({ axis: target.value }); unzoom.hidden = true; });
document.querySelector("[data-smoothing]").addEventListener("input", ({ target }) => chart.set({ smoothing: Number(target.value) }));
document.querySelector("[data-log]").addEventListener("change", ({ target }) => chart.set({ logarithmic: target.checked }));
unzoom.addEventListener("click", () => { chart.set({ zoom: null }); unzoom.hidden = true; });
addEventListener("resize", drawCosts);
drawCosts();
drawCurves();
every(4, async () => {
  const going = jobs.map(({ state }, i) => (OVER.includes(state) ? -1 : i)).filter((i) => i >= 0);
  if (!going.length) return;
  const fresh = await refresh();
  jobs = rows();
  // A job that has begun since tells of more than there was to choose from.
  const known = new Set([...metricChoice.options].map(({ value }) => value));
  for (const option of fresh.querySelectorAll("[data-metric] option")) if (!known.has(option.value)) metricChoice.add(new Option(option.value));
  drawCosts();
  await Promise.all(going.map((i) => extend(i, metricChoice.value)));
});
