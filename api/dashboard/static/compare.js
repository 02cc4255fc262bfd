import { Chart } from "./chart.js";
import { count, round } from "./axes.js";
import "./live.js";
import { scatter } from "./scatter.js";

const jobs = [...document.querySelectorAll("#compared tr[data-job]")].map((row, index) => ({ ...row.dataset, colour: `s${index}` }));
// Names may repeat, and the legend must tell them apart.
const names = jobs.map((job, index) => (jobs.some((other, at) => at !== index && other.name === job.name) ? `${index + 1} ${job.name}` : job.name));
const percent = (share, exact) => `${(share * 100).toFixed(exact ? 2 : 0)}%`;
const number = (value, exact) => (exact ? value.toFixed(4) : round(value));
const costs = {
  parameters: { unit: "parameters", write: count },
  macs: { unit: "multiply-accumulates of one image", write: count },
  latency: { unit: "latency of one image", write: (seconds) => `${round(seconds * 1000)} ms` },
};
const metricChoice = document.querySelector("[data-metric]"), costChoice = document.querySelector("[data-cost]");

function drawCosts() {
  const chosen = costChoice.value;
  const points = jobs.map((job, i) => ({ name: names[i], cost: parseFloat(job[chosen]), top1: parseFloat(job.top1), colour: job.colour })).filter(({ cost, top1 }) => cost > 0 && Number.isFinite(top1));
  // One line only where all had the same teacher, or teachers as good.
  const teachers = [...new Set(jobs.map(({ teacher }) => teacher).filter(Boolean))];
  scatter(document.querySelector("[data-scatter]"), points, { ...costs[chosen], teacher: teachers.length === 1 ? parseFloat(teachers[0]) : null });
}

const chart = new Chart(document.querySelector('[data-chart="overlay"]'), { label: "Curves", format: percent });
// In the order of the table, so that the colours are the same.
chart.lines = function lines() {
  const made = Object.getPrototypeOf(this).lines.call(this);
  return names.flatMap((name, i) => made.filter((line) => line.name === name).map((line) => ({ ...line, colour: `s${i}` })));
};

async function drawCurves() {
  const metric = metricChoice.value;
  chart.series.clear();
  chart.format = metric.endsWith("top1") ? percent : number;
  chart.label = metric;
  await Promise.all(jobs.map(async ({ job }, i) => {
    let after = -1;
    for (let more = true; more;) {
      const answer = await fetch(`/jobs/${job}/metrics?name=${encodeURIComponent(metric)}&after_step=${after}`);
      if (!answer.ok || metricChoice.value !== metric) return;
      const page = await answer.json();
      for (const { step, epoch, values } of page.items) chart.add(names[i], { step, epoch }, values[metric]);
      more = page.has_more;
      after = page.next_after_step;
    }
  }));
  chart.schedule();
}

costChoice.addEventListener("change", drawCosts);
metricChoice.addEventListener("change", drawCurves);
document.querySelector("[data-axis]").addEventListener("change", ({ target }) => chart.set({ axis: target.value }));
document.querySelector("[data-smoothing]").addEventListener("input", ({ target }) => chart.set({ smoothing: Number(target.value) }));
addEventListener("resize", drawCosts);
drawCosts();
drawCurves();
