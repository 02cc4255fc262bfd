import { Chart } from "./chart.js";
import { localTimes, markStale, refresh } from "./live.js";

const job = document.getElementById("job");
const base = `/jobs/${job.dataset.job}`;
const percent = (share, exact) => `${(share * 100).toFixed(exact ? 2 : 0)}%`;
const number = (value, exact) => (exact ? value.toFixed(4) : Number(value.toPrecision(3)).toString());
const charts = {
  loss: new Chart(document.querySelector('[data-chart="loss"]'), { label: "Loss", format: number, main: "loss" }),
  accuracy: new Chart(document.querySelector('[data-chart="accuracy"]'), { label: "Accuracy", format: percent, main: "student" }),
};
// Numbers of training that are no loss terms.
const OTHERS = new Set(["train/learning_rate", "train/images_per_second", "train/data_wait_share"]);

function take(step, values) {
  for (const [name, value] of Object.entries(values)) {
    if (name === "validation/top1") charts.accuracy.add("student", step, value);
    else if (name === "train/top1") charts.accuracy.add("student, training", step, value);
    else if (name.startsWith("train/") && !OTHERS.has(name)) charts.loss.add(name.slice(6), step, value);
    else if (name === "validation/loss") charts.loss.add("validation", step, value);
  }
}

function teacherLine() {
  const share = parseFloat(document.querySelector("[data-teacher]").dataset.teacher);
  charts.accuracy.reference = Number.isFinite(share) ? { name: "teacher", value: share } : null;
  charts.accuracy.schedule();
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(Math.round(seconds), 0);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

function showProgress(data) {
  const bar = document.querySelector("#facts progress");
  if (!bar) return void update();
  bar.value = data.step / Math.max(data.total_steps, 1);
  document.querySelector("[data-progress-text]").textContent =
    `epoch ${data.epoch} of ${data.epochs}, step ${data.step} of ${data.total_steps}`;
  document.querySelector("[data-eta]").textContent = duration(data.eta_seconds);
  document.querySelector("[data-speed]").textContent = Math.round(data.images_per_second);
}

let updating = false;
async function update() {
  if (updating) return;
  updating = true;
  try {
    await refresh();
    teacherLine();
    markStale(false);
  } catch {
    markStale(true);
  } finally {
    updating = false;
  }
}

async function history() {
  let after = -1;
  for (let more = true; more;) {
    const answer = await fetch(`${base}/metrics?after_step=${after}`);
    if (!answer.ok) return;
    const page = await answer.json();
    for (const point of page.items) take(point.step, point.values);
    more = page.has_more;
    after = page.next_after_step;
  }
}

function follow() {
  const source = new EventSource(`${base}/events`);
  source.addEventListener("open", () => markStale(false));
  // The browser comes back by itself, from the last event it saw.
  source.addEventListener("error", () => markStale(source.readyState !== EventSource.CLOSED));
  source.addEventListener("progress", (event) => showProgress(JSON.parse(event.data).data));
  source.addEventListener("metrics", (event) => {
    const { data } = JSON.parse(event.data);
    take(data.step, data.values);
    if ("validation/top1" in data.values) update();
  });
  for (const kind of ["phase", "planned", "teacher_measured", "checkpoint"]) source.addEventListener(kind, update);
  source.addEventListener("state", async (event) => {
    const { state } = JSON.parse(event.data).data;
    if (["succeeded", "failed", "cancelled"].includes(state)) source.close();
    await update();
  });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  button.disabled = true;
  const answer = await fetch(button.dataset.post, { method: "POST" });
  const body = await answer.json();
  if (!answer.ok) alert(body.detail);
  else if (answer.status === 201) location.href = body.links.page;
  document.activeElement?.blur();
  await update();
});

localTimes();
teacherLine();
if (job.dataset.running === "yes") follow();
else history();
