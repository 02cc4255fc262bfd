import { round, size } from "./axes.js";
import { Chart } from "./chart.js";
import { followLog } from "./log.js";
import { ask, duration, every, localTimes, markStale, refresh } from "./live.js";

const job = document.getElementById("job");
const base = `/jobs/${job.dataset.job}`;
const percent = (share, exact) => `${(share * 100).toFixed(exact ? 2 : 0)}%`;
const number = (value, exact) => (exact ? value.toPrecision(4) : round(value));
const unzoom = document.querySelector("[data-unzoom]");
const onZoom = () => { unzoom.hidden = false; };
const chart = (name, label, format, main) => new Chart(document.querySelector(`[data-chart="${name}"]`), { label, format, main, onZoom });
const charts = {
  loss: chart("loss", "Loss", number, "loss"),
  accuracy: chart("accuracy", "Accuracy", percent, "student"),
  rate: chart("rate", "Learning rate", number),
  speed: chart("speed", "Images a second", number),
  waiting: chart("waiting", "Share of time waiting for data", percent),
  memory: chart("memory", "Memory of the trainer", size),
  cpus: chart("cpus", "Processors kept busy", number),
  gpuMemory: chart("gpuMemory", "Memory of the GPUs", size),
  gpus: chart("gpus", "GPUs kept busy", number),
};
// Numbers of training that are no loss terms.
const OTHERS = {
  "train/learning_rate": ["rate", "learning rate"],
  "train/images_per_second": ["speed", "images a second"],
  "train/data_wait_share": ["waiting", "waiting"],
  "system/memory_bytes": ["memory", "memory"],
  "system/cpus": ["cpus", "processors"],
  "system/gpu_memory_bytes": ["gpuMemory", "memory"],
  "system/gpus": ["gpus", "GPUs"],
  "train/top1": ["accuracy", "student, training"],
  "validation/top1": ["accuracy", "student"],
  "validation/loss": ["loss", "validation"],
};
let began = null, lastStep = 0;

function take({ step, epoch, values }, at) {
  lastStep = step;
  const where = { step, epoch, time: began === null ? undefined : (at - began) / 1000 };
  for (const [name, value] of Object.entries(values)) {
    const [to, title] = OTHERS[name] ?? ["loss", name.replace("train/", "")];
    // What a machine does not tell of has no place on the page.
    if (name.startsWith("system/") && name in OTHERS) charts[to].parent.parentElement.hidden = false;
    if (name in OTHERS || name.startsWith("train/")) charts[to].add(title, where, value);
  }
}

function mark(at, label, kind, epoch) {
  const where = { step: lastStep, epoch, time: began === null ? undefined : (at - began) / 1000 };
  for (const one of [charts.loss, charts.accuracy]) one.mark(where, label, kind);
}

function teacherLine() {
  const share = parseFloat(document.querySelector("[data-teacher]").dataset.teacher);
  charts.accuracy.reference = Number.isFinite(share) ? { name: "teacher", value: share } : null;
  charts.accuracy.schedule();
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

/** The page as it is now; the log's panel stays, and learns where its log is. */
async function look() {
  const fresh = await refresh();
  log.show(fresh.getElementById("log").dataset.logAt);
  teacherLine();
}

let updating = null;
/** One look at a time, and not more than two a second however many events come. */
function update() {
  updating ??= (async () => {
    await new Promise((done) => { setTimeout(done, 500); });
    updating = null;
    try {
      await look();
      markStale(false);
    } catch {
      markStale(true);
    }
  })();
  return updating;
}

// The stream tells the whole story from the beginning, with its times, whether the job goes on or has ended.
function follow() {
  const source = new EventSource(`${base}/events`);
  const running = () => job.dataset.running === "yes";
  source.addEventListener("open", () => markStale(false));
  // The browser comes back by itself, from the last event it saw.
  source.addEventListener("error", () => { if (running()) markStale(source.readyState !== EventSource.CLOSED); });
  const listen = (kind, act) => source.addEventListener(kind, (event) => {
    const { at, data } = JSON.parse(event.data);
    act(data, new Date(at));
  });
  listen("progress", (data) => { if (running()) showProgress(data); });
  listen("metrics", (data, at) => {
    take(data, at);
    if (running() && "validation/top1" in data.values) update();
  });
  listen("checkpoint", (data, at) => {
    mark(at, `checkpoint at step ${data.step}`, "checkpoint", data.epoch);
    if (running()) update();
  });
  for (const kind of ["phase", "resolved", "teacher_measured"]) listen(kind, () => { if (running()) update(); });
  listen("state", async ({ state, attempt }, at) => {
    if (state === "running") {
      began ??= at.getTime();
      if (lastStep) mark(at, `attempt ${attempt ?? ""} began`, "attempt");
    }
    const over = ["succeeded", "failed", "cancelled"].includes(state);
    if (over) source.close();
    if (running()) await update();
    if (over) job.dataset.running = "no";
  });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  button.disabled = true;
  const answer = await ask("POST", button.dataset.post);
  if (answer?.status === 201) location.href = answer.body.links.page;
  document.activeElement?.blur();
  await update();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-delete]");
  if (!button || !confirm("Delete this job, its metrics and its files? There is no way back.")) return;
  if (await ask("DELETE", button.dataset.delete)) location.href = "/";
});

document.getElementById("edit").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target, name = form.elements.name.value.trim();
  const answer = await ask("PATCH", base, { name: name || null, tags: form.elements.tags.value.split(/[\s,]+/).filter(Boolean) });
  if (!answer) return;
  form.closest("details").open = false;
  document.activeElement?.blur();
  await look();
});

const all = (options) => Object.values(charts).forEach((one) => one.set(options));
document.querySelector("[data-axis]").addEventListener("change", ({ target }) => { all({ axis: target.value }); unzoom.hidden = true; });
document.querySelector("[data-smoothing]").addEventListener("input", ({ target }) => all({ smoothing: Number(target.value) }));
document.querySelector("[data-log]").addEventListener("change", ({ target }) => charts.loss.set({ logarithmic: target.checked }));
unzoom.addEventListener("click", () => { all({ zoom: null }); unzoom.hidden = true; });

const log = followLog(document.getElementById("log"), () => job.dataset.running === "yes");
setInterval(() => localTimes(), 5000);
// Events tell what the run does; a worker that falls silent is seen by what stands in its row.
every(5, async () => { if (job.dataset.running === "yes") await look(); });
teacherLine();
follow();
