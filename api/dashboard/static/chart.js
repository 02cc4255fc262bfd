// A line chart in SVG: several series over steps, an optional horizontal reference, a readout under the pointer.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 230, LEFT = 48, RIGHT = 12, TOP = 10, BOTTOM = 24;

function element(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent.append(node);
  return node;
}

/** Round numbers that cover [low, high] in about `count` steps. */
function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((unit) => unit * power).find((unit) => unit >= raw);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) found.push(tick);
  return found;
}

export class Chart {
  /** `format` writes a value, `main` names the series that comes first; `steps` and `values` of a series are parallel arrays. */
  constructor(parent, { label, format, main }) {
    this.parent = parent;
    this.label = label;
    this.format = format;
    this.main = main;
    this.series = new Map();
    this.reference = null;
    // As wide as its place, so that the writing keeps its size.
    this.width = 0;
    new ResizeObserver(() => {
      if (parent.clientWidth !== this.width) this.schedule();
    }).observe(parent);
    this.draw();
  }

  add(name, step, value) {
    if (typeof value !== "number" || !Number.isFinite(value)) return;
    const series = this.series.get(name) ?? { steps: [], values: [] };
    this.series.set(name, series);
    const last = series.steps.at(-1);
    // An attempt that resumed tells some steps again: what was told later holds.
    if (last !== undefined && step <= last) {
      const at = series.steps.findIndex((known) => known >= step);
      series.steps.length = series.values.length = at;
    }
    series.steps.push(step);
    series.values.push(value);
    this.schedule();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => { this.scheduled = false; this.draw(); });
  }

  draw() {
    const names = [...this.series.keys()].sort((a, b) => (b === this.main) - (a === this.main) || a.localeCompare(b));
    if (!names.length) {
      const none = document.createElement("p");
      none.className = "none";
      none.textContent = "Nothing measured yet.";
      this.parent.replaceChildren(none);
      return;
    }
    const width = this.width = this.parent.clientWidth;
    const all = names.flatMap((name) => this.series.get(name).values);
    if (this.reference !== null) all.push(this.reference.value);
    let low = all.reduce((a, b) => Math.min(a, b)), high = all.reduce((a, b) => Math.max(a, b));
    const margin = (high - low || Math.abs(high) || 1) * 0.06;
    low -= margin; high += margin;
    const lastStep = Math.max(1, ...names.map((name) => this.series.get(name).steps.at(-1)));
    const x = (step) => LEFT + (step / lastStep) * (width - LEFT - RIGHT);
    const y = (value) => TOP + ((high - value) / (high - low)) * (HEIGHT - TOP - BOTTOM);

    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("role", "img");
    for (const tick of ticks(low, high, 4)) {
      element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }, svg);
      element("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, svg).textContent = this.format(tick);
    }
    for (const tick of ticks(0, lastStep, width / 100)) {
      element("text", { x: x(tick), y: HEIGHT - 6, "text-anchor": "middle" }, svg).textContent = tick.toLocaleString();
    }
    if (this.reference !== null) {
      const at = y(this.reference.value);
      element("line", { class: "reference", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }, svg);
    }
    names.forEach((name, index) => {
      const { steps, values } = this.series.get(name);
      const every = Math.ceil(steps.length / 1000);
      const points = [];
      for (let i = 0; i < steps.length; i++) {
        if (i % every === 0 || i === steps.length - 1) points.push(`${x(steps[i]).toFixed(1)},${y(values[i]).toFixed(1)}`);
      }
      // One point alone has no line to be seen by.
      if (points.length === 1) element("circle", { class: `line s${index % 4}`, cx: points[0].split(",")[0], cy: points[0].split(",")[1], r: 2 }, svg);
      else element("polyline", { class: `line s${index % 4}`, points: points.join(" ") }, svg);
    });
    const cursor = element("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" }, svg);

    const legend = document.createElement("ul");
    legend.className = "legend";
    const tell = (step) => {
      const entries = names.map((name, index) => {
        const { steps, values } = this.series.get(name);
        let at = steps.length - 1;
        if (step !== null) for (at = 0; at < steps.length - 1 && steps[at + 1] <= step;) at++;
        const entry = document.createElement("li");
        entry.className = `s${index % 4}`;
        entry.textContent = `${name} ${this.format(values[at], true)}`;
        return entry;
      });
      if (this.reference !== null) {
        const entry = document.createElement("li");
        entry.textContent = `${this.reference.name} ${this.format(this.reference.value, true)}`;
        entries.push(entry);
      }
      legend.replaceChildren(...entries);
      if (step === null) svg.setAttribute("aria-label", `${this.label}: ${entries.map((entry) => entry.textContent).join(", ")}`);
    };
    tell(null);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * width;
      const step = Math.min(Math.max(((at - LEFT) / (width - LEFT - RIGHT)) * lastStep, 0), lastStep);
      cursor.setAttribute("x1", x(step)); cursor.setAttribute("x2", x(step)); cursor.setAttribute("visibility", "visible");
      tell(step);
    });
    svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); tell(null); });
    this.parent.replaceChildren(svg, legend);
  }
}
