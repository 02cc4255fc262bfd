import { SHARES, round, size } from "../charts/axes.js";
import { Chart } from "../charts/chart.js";
import { Group } from "../charts/group.js";
import { followOptions } from "../charts/options.js";
import { deletes, duration, every, markStale, refresh, request } from "../live.js";
import { followLog } from "../log.js";
import { followTabs } from "../tabs.js";

const MAX_POINTS = 2000;
const job = document.getElementById("job");
const base = `/jobs/${job.dataset.job}`;
const running = () => job.dataset.running === "yes";
const NUMBERS = { format: round, precise: (value) => value.toPrecision(4) };
const whole = (value) => Math.round(value).toLocaleString("en");
// toPrecision writes 12,345 as 1.235e+4.
const RATES = { format: (value, step) => (value < 1000 ? round(value, step) : whole(value)), precise: (value) => (value < 999.5 ? value.toPrecision(4) : whole(value)) };
const BYTES = { format: size };
const unzoom = document.querySelector("[data-unzoom]");
const group = new Group({ onZoom: (zoomed) => { unzoom.hidden = !zoomed; } });
const chart = (name, label, formats, main) => new Chart(document.querySelector(`[data-chart="${name}"]`), { label, ...formats, main, group });
const charts = {
  loss: chart("loss", "Loss", NUMBERS, "loss"),
  accuracy: chart("accuracy", "Accuracy", SHARES, "student"),
  rate: chart("rate", "Learning rate", NUMBERS),
  speed: chart("speed", "Images per second", RATES),
  waiting: chart("waiting", "Time waiting for data", SHARES),
  memory: chart("memory", "Trainer memory", BYTES),
  cpus: chart("cpus", "CPU cores in use", NUMBERS),
  gpuMemory: chart("gpuMemory", "GPU memory", BYTES),
  gpus: chart("gpus", "GPUs in use", NUMBERS),
};
// Metrics that are not loss terms: the chart and the name of the series.
const SERIES = {
  "train/learning_rate": ["rate", "learning rate"],
  "train/images_per_second": ["speed", "images per second"],
  "train/data_wait_share": ["waiting", "waiting"],
  "system/memory_bytes": ["memory", "memory"],
  "system/cpus": ["cpus", "CPU cores"],
  "system/gpu_memory_bytes": ["gpuMemory", "memory"],
  "system/gpus": ["gpus", "GPUs"],
  "train/top1": ["accuracy", "student, training"],
  "validation/top1": ["accuracy", "student"],
  "validation/loss": ["loss", "validation"],
};
// The time axis starts at the first attempt.
let started = job.dataset.started ? Date.parse(job.dataset.started) : null;
let lastStep = 0;

const elapsed = (at) => (started === null || at === null ? undefined : (at - started) / 1000);

function addPoint({ step, epoch, values }, at) {
  lastStep = step;
  for (const [name, value] of Object.entries(values)) {
    const [to, title] = SERIES[name] ?? ["loss", name.replace("train/", "")];
    // Charts of system metrics appear with the first value, because not every machine reports them.
    if (name.startsWith("system/") && name in SERIES) charts[to].parent.parentElement.hidden = false;
    if (name in SERIES || name.startsWith("train/")) charts[to].add(title, { step, epoch, time: elapsed(at) }, value);
  }
}

function addMark(where, label, kind) {
  for (const one of [charts.loss, charts.accuracy]) one.mark(where, label, kind);
}

function showTeacher() {
  const share = parseFloat(document.querySelector("[data-teacher]").dataset.teacher);
  charts.accuracy.reference = Number.isFinite(share) ? { name: "teacher", value: share } : null;
  charts.accuracy.schedule();
}

function showProgress(data) {
  const bar = document.querySelector("#facts progress");
  if (!bar) return void update();
  bar.value = data.step / Math.max(data.total_steps, 1);
  document.querySelector("[data-progress-text]").textContent =
    `epoch ${whole(data.epoch)} of ${whole(data.epochs)}, step ${whole(data.step)} of ${whole(data.total_steps)}`;
  document.querySelector("[data-eta]").textContent = duration(data.eta_seconds);
  document.querySelector("[data-speed]").textContent = data.images_per_second < 99.5 ? round(data.images_per_second) : whole(data.images_per_second);
}

// Absent for keys that may only read.
const edit = document.getElementById("edit");
const isEdited = (field) => field.value !== field.defaultValue;

/** Updates the page. The log panel is kept and gets the log's current URL. Fields that the user has edited keep their text. */
async function refreshPage() {
  const fresh = await refresh();
  for (const field of edit?.querySelectorAll("input") ?? []) {
    const { defaultValue } = fresh.querySelector(`#edit [name="${field.name}"]`);
    if (!isEdited(field)) field.value = defaultValue;
    field.defaultValue = defaultValue;
  }
  log.show(fresh.getElementById("log").dataset.logUrl);
  showTeacher();
}

let updating = null;
/** Updates the page at most twice a second, however many events arrive. */
function update() {
  updating ??= (async () => {
    await new Promise((done) => { setTimeout(done, 500); });
    updating = null;
    try {
      await refreshPage();
      markStale(false);
    } catch (error) {
      markStale(true, error);
    }
  })();
  return updating;
}

async function getJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}

/** Draws the recorded metrics, checkpoints and attempts. */
async function showHistory() {
  const [metrics, checkpoints] = await Promise.all([getJson(`${base}/metrics?max_points=${MAX_POINTS}`), getJson(`${base}/checkpoints`)]);
  for (const point of metrics.items) addPoint(point, point.at === null ? null : Date.parse(point.at));
  for (const { step, epoch, created_at: at } of checkpoints.items) addMark({ step, epoch, time: elapsed(Date.parse(at)) }, `checkpoint at step ${step}`, "checkpoint");
  for (const { dataset } of [...document.querySelectorAll("tr[data-attempt]")].slice(1)) {
    // An attempt that ended before training has no step.
    if (dataset.step) addMark({ step: Number(dataset.step), time: elapsed(Date.parse(dataset.at)) }, `attempt ${dataset.attempt} started`, "attempt");
  }
}

/** Follows the events after the ones that this page already shows. */
function followEvents() {
  // After a lost connection the browser reconnects by itself and sends Last-Event-ID, which takes precedence over `after`.
  const source = new EventSource(`${base}/events?after=${job.dataset.lastEvent}`);
  source.addEventListener("open", () => markStale(false));
  source.addEventListener("error", () => { if (running()) markStale(source.readyState !== EventSource.CLOSED); });
  const listen = (kind, act) => source.addEventListener(kind, (event) => {
    const { at, data } = JSON.parse(event.data);
    act(data, Date.parse(at));
  });
  listen("progress", showProgress);
  listen("metrics", (data, at) => {
    addPoint(data, at);
    if ("validation/top1" in data.values) update();
  });
  listen("checkpoint", ({ step, epoch }, at) => {
    addMark({ step, epoch, time: elapsed(at) }, `checkpoint at step ${step}`, "checkpoint");
    update();
  });
  for (const kind of ["phase", "resolved", "teacher_measured"]) listen(kind, () => { update(); });
  listen("state", async ({ state, attempt }, at) => {
    if (state === "running") {
      started ??= at;
      if (lastStep) addMark({ step: lastStep, time: elapsed(at) }, `attempt ${attempt ?? ""} started`, "attempt");
    }
    const over = ["succeeded", "failed", "cancelled"].includes(state);
    if (over) source.close();
    await update();
    if (over) job.dataset.running = "no";
  });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  button.disabled = true;
  const response = await request("POST", button.dataset.post);
  if (response?.status === 201) location.href = response.body.links.page;
  if (!response) button.disabled = false;
  document.activeElement?.blur();
  await update();
});

deletes("Delete this job with its metrics and files? This cannot be undone.", "/ui/jobs");

// Only what was edited is sent: the rest may have changed elsewhere since.
edit?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, tags } = edit.elements, changes = {};
  if (isEdited(name)) changes.name = name.value.trim() || null;
  if (isEdited(tags)) changes.tags = tags.value.split(/[\s,]+/).filter(Boolean);
  if (Object.keys(changes).length && !(await request("PATCH", base, changes))) return;
  for (const field of [name, tags]) field.defaultValue = field.value;
  edit.closest("details").open = false;
  document.activeElement?.blur();
  await refreshPage();
});
edit?.closest("details").addEventListener("toggle", async ({ target }) => {
  if (target.open) await refreshPage().catch((error) => markStale(true, error));
});

followOptions(group, charts.loss);
unzoom.addEventListener("click", () => group.setZoom(null));

followTabs(document.querySelector("[role=tablist]"));
const log = followLog(document.getElementById("log"), running);
// An unresponsive worker sends no events, but its last heartbeat is in the page.
every(5, async () => { if (running()) await refreshPage(); });
showTeacher();
showHistory().catch(() => markStale(true)).finally(() => { if (running()) followEvents(); });
