// SVG line chart: several series over steps, epochs or time, with a reference line, marks, smoothing, a logarithmic
// scale, a zoom that new points do not reset, and a readout at the pointer.

import { clippedGroup, element, frame, labelMargin, round, ticks, xLabels } from "./axes.js";

const HEIGHT = 230, RIGHT = 12, TOP = 10, BOTTOM = 24, COLORS = 10;
const TIMES = { 1: "s", 60: "min", 3600: "h" };
// `unit(last)` is the unit of an axis that ends at `last`.
const AXES = {
  step: { unit: () => 1, write: (x) => x.toLocaleString() },
  epoch: { unit: () => 1, write: (x) => round(x) },
  time: { unit: (last) => (last < 120 ? 1 : last < 7200 ? 60 : 3600), write: (x, unit) => `${round(x)} ${TIMES[unit]}` },
};

/** Exponential moving average with bias correction, so that the first values are not pulled towards zero. */
function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0, mass = 0;
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return sum / mass;
  });
}

export class Chart {
  /** `format(value, precise)` formats a value; `main` is the name of the series that is drawn first. */
  constructor(parent, { label, format, main, onZoom }) {
    Object.assign(this, { parent, label, format, main, onZoom });
    this.series = new Map();
    this.reference = null;
    this.marks = [];
    this.axis = "step";
    this.smoothing = 0;
    this.logarithmic = false;
    this.zoom = null;
    // One SVG unit is one pixel, so that text keeps its size.
    this.width = 0;
    new ResizeObserver(() => {
      if (parent.clientWidth !== this.width) this.schedule();
    }).observe(parent);
    this.draw();
  }

  /** Adds a point. `at` has `step`, and `epoch` and `time` if known. */
  add(name, at, value) {
    if (typeof value !== "number" || !Number.isFinite(value)) return;
    const series = this.series.get(name) ?? { at: [], values: [] };
    this.series.set(name, series);
    const last = series.at.at(-1);
    // A resumed attempt reports some steps again. The later values replace the earlier ones.
    if (last !== undefined && at.step <= last.step) {
      series.at.length = series.values.length = series.at.findIndex((known) => known.step >= at.step);
    }
    series.at.push(at);
    series.values.push(value);
    this.schedule();
  }

  /** Adds a vertical line, such as the start of an attempt. */
  mark(at, label, kind) {
    this.marks.push({ at, label, kind });
    this.schedule();
  }

  /** Sets options: axis, smoothing, logarithmic, zoom. */
  set(options) {
    if (options.axis && options.axis !== this.axis) this.zoom = null;
    Object.assign(this, options);
    this.schedule();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => { this.scheduled = false; this.draw(); });
  }

  lines() {
    const names = [...this.series.keys()].sort((a, b) => (b === this.main) - (a === this.main) || a.localeCompare(b));
    return names.map((name, index) => {
      const { at, values } = this.series.get(name);
      const shown = smoothed(values, this.smoothing);
      const points = at.map((where, i) => [where[this.axis], shown[i], values[i]]).filter(([x, y]) => x !== undefined && (!this.logarithmic || y > 0));
      return { name, points, color: `s${index % COLORS}` };
    }).filter((line) => line.points.length);
  }

  draw() {
    // Redrawing would end a drag.
    if (this.dragging) return;
    const lines = this.lines();
    if (!lines.length) {
      const none = document.createElement("p");
      none.className = "none";
      none.textContent = "No data yet.";
      this.parent.replaceChildren(none);
      return;
    }
    const width = this.width = this.parent.clientWidth;
    // A chart in a hidden tab is drawn when the tab is shown.
    if (!width) return;
    const ends = lines.flatMap(({ points }) => [points[0][0], points.at(-1)[0]]);
    const [first, last] = this.zoom ?? [Math.min(0, ...ends), Math.max(...ends, this.axis === "step" ? 1 : 1e-9)];
    const visible = lines.flatMap(({ points }) => points.filter(([x]) => x >= first && x <= last).map(([, y]) => y));
    if (this.reference !== null) visible.push(this.reference.value);
    if (!visible.length) visible.push(...lines.map(({ points }) => points.at(-1)[1]));
    const up = this.logarithmic ? Math.log10 : (value) => value;
    let low = visible.reduce((a, b) => Math.min(a, b)), high = visible.reduce((a, b) => Math.max(a, b));
    low = up(low); high = up(high);
    const margin = (high - low || Math.abs(high) || 1) * 0.06;
    low -= margin; high += margin;
    const yTicks = ticks(low, high, 4).map((tick) => this.logarithmic ? 10 ** tick : tick).map((value) => ({ value, text: this.format(value) }));
    const left = labelMargin(yTicks.map(({ text }) => text));
    const x = (at) => left + ((at - first) / (last - first || 1)) * (width - left - RIGHT);
    const y = (value) => TOP + ((high - up(value)) / (high - low)) * (HEIGHT - TOP - BOTTOM);

    const svg = frame(width, HEIGHT);
    for (const { value, text } of yTicks) {
      element("line", { class: "grid", x1: left, x2: width - RIGHT, y1: y(value), y2: y(value) }, svg);
      element("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, svg).textContent = text;
    }
    const axis = AXES[this.axis], unit = axis.unit(last);
    const xTicks = ticks(first / unit, last / unit, width / 100).map((tick) => ({ at: x(tick * unit), text: axis.write(tick, unit) }));
    xLabels(svg, xTicks, { width, y: HEIGHT - 6 });
    const plot = clippedGroup(svg, { x: left, y: TOP, width: width - left - RIGHT, height: HEIGHT - TOP - BOTTOM });
    for (const { at, label, kind } of this.marks) {
      const where = at[this.axis];
      if (where === undefined || where < first || where > last) continue;
      const line = element("line", { class: `mark ${kind}`, x1: x(where), x2: x(where), y1: TOP, y2: HEIGHT - BOTTOM }, plot);
      element("title", {}, line).textContent = label;
    }
    if (this.reference !== null) {
      const at = y(this.reference.value);
      element("line", { class: "reference", x1: left, x2: width - RIGHT, y1: at, y2: at }, plot);
    }
    for (const { points, color } of lines) {
      const shown = points.filter(([at], i) => (points[i + 1]?.[0] ?? at) >= first && (points[i - 1]?.[0] ?? at) <= last);
      const thin = Math.ceil(shown.length / 1000);
      const drawn = shown.filter((_, i) => i % thin === 0 || i === shown.length - 1).map(([at, value]) => [x(at).toFixed(1), y(value).toFixed(1)]);
      // A line with a single point would be invisible.
      if (drawn.length === 1) element("circle", { class: `line ${color}`, cx: drawn[0][0], cy: drawn[0][1], r: 2 }, plot);
      else element("polyline", { class: `line ${color}`, points: drawn.map((pair) => pair.join(",")).join(" ") }, plot);
    }
    const legend = document.createElement("ul");
    legend.className = "legend";
    const showReadout = (at) => {
      const entries = lines.map(({ name, points, color }) => {
        let i = points.length - 1;
        if (at !== null) for (i = 0; i < points.length - 1 && points[i + 1][0] <= at;) i++;
        const entry = document.createElement("li");
        entry.className = color;
        entry.textContent = `${name} ${this.format(points[i][1], true)}`;
        return entry;
      });
      if (this.reference !== null) {
        const entry = document.createElement("li");
        entry.textContent = `${this.reference.name} ${this.format(this.reference.value, true)}`;
        entries.push(entry);
      }
      legend.replaceChildren(...entries);
      if (at === null) svg.setAttribute("aria-label", `${this.label}: ${entries.map((entry) => entry.textContent).join(", ")}`);
    };
    showReadout(null);
    const show = this.followPointer(svg, { first, last, width, left, x, showReadout });
    this.followKeys(svg, { first, last, show });
    const focused = this.parent.contains(document.activeElement);
    this.parent.replaceChildren(svg, legend);
    if (focused) svg.focus({ preventScroll: true });
  }

  followPointer(svg, { first, last, width, left, x, showReadout }) {
    const show = (at) => {
      cursor.setAttribute("x1", x(at)); cursor.setAttribute("x2", x(at)); cursor.setAttribute("visibility", "visible");
      showReadout(at);
    };
    const cursor = element("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" }, svg);
    const band = element("rect", { class: "band", y: TOP, height: HEIGHT - TOP - BOTTOM, visibility: "hidden" }, svg);
    let from = null;
    this.dragging = false;
    const under = (event) => {
      const box = svg.getBoundingClientRect();
      const at = first + ((((event.clientX - box.left) / box.width) * width - left) / (width - left - RIGHT)) * (last - first);
      return Math.min(Math.max(at, first), last);
    };
    svg.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") return;
      from = under(event);
      this.dragging = true;
      event.preventDefault();
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      const at = under(event);
      if (from !== null) {
        band.setAttribute("x", Math.min(x(from), x(at)));
        band.setAttribute("width", Math.abs(x(at) - x(from)));
        band.setAttribute("visibility", "visible");
      }
      show(at);
    });
    svg.addEventListener("pointerup", (event) => {
      const to = under(event);
      this.dragging = false;
      if (from !== null && Math.abs(x(to) - x(from)) > 8) {
        this.set({ zoom: [Math.min(from, to), Math.max(from, to)] });
        this.onZoom?.();
      }
      from = null;
      this.schedule();
    });
    svg.addEventListener("pointercancel", () => { from = null; this.dragging = false; this.schedule(); });
    svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); showReadout(null); });
    return show;
  }

  /** Arrow keys move the readout, plus and minus zoom around it, Escape resets the zoom. */
  followKeys(svg, { first, last, show }) {
    svg.tabIndex = 0;
    svg.setAttribute("aria-keyshortcuts", "ArrowLeft ArrowRight + - Escape");
    if (this.at !== undefined && document.activeElement?.parentElement === this.parent) show(Math.min(Math.max(this.at, first), last));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
      if (!step && !factor && event.key !== "Escape") return;
      event.preventDefault();
      this.at = Math.min(Math.max((this.at ?? last) + ((step ?? 0) * (last - first)) / 50, first), last);
      if (step) return show(this.at);
      const reach = ((last - first) * (factor ?? 1)) / 2;
      this.set({ zoom: factor === 0.5 || (factor && this.zoom) ? [this.at - reach, this.at + reach] : null });
      if (this.zoom) this.onZoom?.();
    });
  }
}
