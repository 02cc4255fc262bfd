// SVG line chart: several series over steps, epochs or time, with a reference line, marks, a logarithmic scale, and a
// readout. The elements are made once; `draw` changes only their attributes and the labels.

import { clippedGroup, element, frame, labelMargin, round, tickStep, ticks, xLabels } from "./axes.js";
import { exportButtons, nameButtons } from "./export.js";
import { Group } from "./group.js";
import { followKeys, followPointer } from "./interaction.js";
import { Legend } from "./legend.js";
import { COLUMNS, Series, pointAt } from "./series.js";

const HEIGHT = 230, RIGHT = 12, TOP = 10, BOTTOM = 24, COLORS = 10, MOST_POINTS = 1000;
const TIMES = { 1: "s", 60: "min", 3600: "h" };
// `unit(last)` is the unit of an axis that ends at `last`.
const AXES = {
  step: { unit: () => 1, write: (x) => x.toLocaleString() },
  epoch: { unit: () => 1, write: (x, unit, step) => round(x, step) },
  time: { unit: (last) => (last < 120 ? 1 : last < 7200 ? 60 : 3600), write: (x, unit, step) => `${round(x, step)} ${TIMES[unit]}` },
};

export class Chart {
  /**
   * `format(value, step)` formats a value so that one that is `step` larger looks different, and `precise(value)` formats it
   * for the readout; `main` is the name of the series that is drawn first, or `order` a list of
   * all series, `{name, color}`. Charts of one `group` share axis, zoom, smoothing and cursor.
   */
  constructor(parent, { label, format, precise = format, main, order, group = new Group() }) {
    Object.assign(this, { parent, label, format, precise, main, order, group });
    this.series = new Map();
    this.hidden = new Set();
    this.reference = null;
    this.marks = [];
    this.logarithmic = false;
    // One SVG unit is one pixel, so that text keeps its size.
    this.width = 0;
    this.build();
    group.charts.push(this);
    new ResizeObserver(() => {
      if (parent.clientWidth !== this.width) this.schedule();
    }).observe(parent);
    this.draw();
  }

  build() {
    this.none = document.createElement("p");
    this.none.className = "none";
    this.none.textContent = "No data.";
    this.svg = frame(0, HEIGHT);
    this.labels = element("g", {}, this.svg);
    this.plot = clippedGroup(this.svg, { x: 0, y: TOP, width: 0, height: HEIGHT - TOP - BOTTOM });
    this.area = this.svg.querySelector("clipPath rect");
    this.behind = element("g", {}, this.plot);
    this.curves = element("g", {}, this.plot);
    this.cursor = element("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" }, this.svg);
    const band = element("rect", { class: "band", y: TOP, height: HEIGHT - TOP - BOTTOM, visibility: "hidden" }, this.svg);
    this.legend = new Legend((name) => {
      if (!this.hidden.delete(name)) this.hidden.add(name);
      this.draw();
    });
    this.saving = exportButtons({
      title: () => this.label,
      svg: () => this.svg,
      legend: () => this.legend.shown(),
      columns: () => COLUMNS,
      rows: () => [...this.series].flatMap(([name, series]) => series.rows(name)),
    });
    followPointer(this, this.svg, band);
    followKeys(this, this.svg, () => this.legend.announce());
    this.parent.append(this.none);
  }

  /** Adds a point. `at` has `step`, and `epoch` and `time` if known. */
  add(name, at, value) {
    if (typeof value !== "number" || !Number.isFinite(value)) return;
    if (!this.series.has(name)) this.series.set(name, new Series());
    this.series.get(name).add(at, value);
    this.schedule();
  }

  /** Adds a vertical line, such as the start of an attempt. */
  mark(at, label, kind) {
    this.marks.push({ at, label, kind });
    this.schedule();
  }

  /** Removes all points. */
  clear() {
    this.series.clear();
    this.hidden.clear();
    this.schedule();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => { this.scheduled = false; this.draw(); });
  }

  /** The series with points on the axis, in the order of their colors. */
  lines() {
    const { axis, smoothing } = this.group;
    const names = [...this.series.keys()].sort((a, b) => (b === this.main) - (a === this.main) || a.localeCompare(b));
    return (this.order ?? names.map((name, index) => ({ name, color: `s${index % COLORS}` })))
      .map((line) => ({ ...line, points: this.series.get(line.name)?.points(axis, { smoothing, positive: this.logarithmic }) ?? [] }))
      .filter(({ points }) => points.length);
  }

  draw() {
    const all = this.lines();
    if (!all.length) return void (this.parent.contains(this.svg) && this.parent.replaceChildren(this.none));
    if (!this.parent.contains(this.svg)) this.parent.replaceChildren(this.svg, this.legend.list, this.legend.spoken, this.saving);
    const width = this.width = this.parent.clientWidth;
    // A chart in a hidden tab is drawn when the tab is shown.
    if (!width) return;
    this.shown = all.filter(({ name }) => !this.hidden.has(name));
    this.legend.show(all, this.hidden, this.reference && `${this.reference.name} ${this.precise(this.reference.value)}`);
    nameButtons(this.saving, this.label);
    const vertical = this.verticalScale(this.shown.length ? this.shown : all), left = labelMargin(vertical.ticks.map(({ text }) => text));
    const right = width - RIGHT, { first, last } = vertical;
    this.scale = { first, last, left, right, x: (at) => left + ((at - first) / (last - first || 1)) * (right - left) };
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.area.setAttribute("x", left);
    this.area.setAttribute("width", Math.max(right - left, 0));
    this.drawLabels(vertical.ticks, vertical.y);
    this.drawBehind(vertical.y);
    this.drawCurves(vertical.y);
    this.showCursor();
    this.svg.setAttribute("aria-label", `${this.label}: ${this.legend.text(this.reading(null))}`);
  }

  /** The visible part [first, last] of the x axis, and the y axis for what lies in it. */
  verticalScale(lines) {
    const ends = lines.flatMap(({ points }) => [points[0].x, points.at(-1).x]);
    const [first, last] = this.group.zoom ?? [Math.min(0, ...ends), Math.max(...ends, this.group.axis === "step" ? 1 : 1e-9)];
    const visible = lines.flatMap(({ points }) => points.filter(({ x }) => x >= first && x <= last).map(({ y }) => y));
    if (this.reference !== null) visible.push(this.reference.value);
    if (!visible.length) visible.push(...lines.map(({ points }) => points.at(-1).y));
    const up = this.logarithmic ? Math.log10 : (value) => value;
    let low = up(visible.reduce((a, b) => Math.min(a, b))), high = up(visible.reduce((a, b) => Math.max(a, b)));
    const margin = (high - low || Math.abs(high) || 1) * 0.06;
    low -= margin; high += margin;
    const step = tickStep(low, high, 4);
    const marks = ticks(low, high, 4).map((tick) => {
      const value = this.logarithmic ? 10 ** tick : tick;
      return { value, text: this.format(value, this.logarithmic ? value * (10 ** step - 1) : step) };
    });
    return { first, last, ticks: marks, y: (value) => TOP + ((high - up(value)) / (high - low)) * (HEIGHT - TOP - BOTTOM) };
  }

  drawLabels(marks, y) {
    const { first, last, left, right, x } = this.scale;
    this.labels.replaceChildren();
    for (const { value, text } of marks) {
      element("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }, this.labels);
      element("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, this.labels).textContent = text;
    }
    const axis = AXES[this.group.axis], unit = axis.unit(last);
    const range = [first / unit, last / unit, this.width / 100], step = tickStep(...range);
    const xTicks = ticks(...range).map((tick) => ({ at: x(tick * unit), text: axis.write(tick, unit, step) }));
    xLabels(this.labels, xTicks, { width: this.width, y: HEIGHT - 6 });
  }

  drawBehind(y) {
    const { first, last, left, right, x } = this.scale;
    this.behind.replaceChildren();
    for (const { at, label, kind } of this.marks) {
      const where = at[this.group.axis];
      if (where === undefined || where < first || where > last) continue;
      const line = element("line", { class: `mark ${kind}`, x1: x(where), x2: x(where), y1: TOP, y2: HEIGHT - BOTTOM }, this.behind);
      element("title", {}, line).textContent = label;
    }
    if (this.reference === null) return;
    const at = y(this.reference.value);
    element("line", { class: "reference", x1: left, x2: right, y1: at, y2: at }, this.behind);
  }

  drawCurves(y) {
    const { first, last, x } = this.scale;
    const known = new Map([...this.curves.children].map((node) => [node.dataset.name, node]));
    for (const { name, points, color } of this.shown) {
      const visible = points.filter((point, i) => (points[i + 1]?.x ?? point.x) >= first && (points[i - 1]?.x ?? point.x) <= last);
      const thin = Math.ceil(visible.length / MOST_POINTS);
      const drawn = visible.filter((_, i) => i % thin === 0 || i === visible.length - 1).map((point) => [x(point.x).toFixed(1), y(point.y).toFixed(1)]);
      // A line with a single point would be invisible: it gets a second one, and the round line caps make it a dot.
      const single = drawn.length === 1;
      if (single) drawn.push(drawn[0]);
      const line = known.get(name) ?? element("polyline", { "data-name": name }, this.curves);
      known.delete(name);
      line.setAttribute("class", single ? `line single ${color}` : `line ${color}`);
      line.setAttribute("points", drawn.map((pair) => pair.join(",")).join(" "));
    }
    for (const line of known.values()) line.remove();
  }

  /** The place and the formatted value of each drawn series at `at`, or at its last point with null. */
  reading(at) {
    const values = new Map(), steps = [], { axis } = this.group;
    for (const { name, points } of this.shown) {
      const point = at === null ? points.at(-1) : pointAt(points, at);
      if (point) steps.push(point.step);
      values.set(name, point ? this.precise(point.y) : "–");
    }
    const { first, last } = this.scale, unit = AXES[axis].unit(last), step = `step ${Math.max(0, ...steps).toLocaleString()}`;
    const place = axis === "step" || at === null ? step : `${axis === "epoch" ? "epoch " : ""}${AXES[axis].write(at / unit, unit, (last - first) / unit / 100)}, ${step}`;
    return { place, values };
  }

  /** Shows the values at the group's cursor, or the last values without one. */
  showCursor() {
    if (!this.scale) return;
    const { cursor } = this.group;
    this.cursor.setAttribute("visibility", cursor === null ? "hidden" : "visible");
    if (cursor !== null) for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, this.scale.x(cursor));
    this.legend.read(this.reading(cursor));
  }
}
