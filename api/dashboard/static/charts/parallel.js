// Parallel coordinates: one vertical axis for each field and result, one line for each candidate. A range that is brushed on an
// axis selects the lines that pass through it.

import { followHandle, followTrack } from "./brush.js";
import { element, frame, textWidth } from "./axes.js";
import { exportButtons, nameButtons } from "./export.js";
import { scaleOf } from "./scales.js";

const HEIGHT = 320, TOP = 34, BOTTOM = 34, RIGHT = 40, NARROWEST = 96, TRACK = 24, HANDLE = 14, WIDEST_NAME = 150;

/** A text that is cut to a width in pixels. */
function cut(text, width) {
  if (textWidth(text) <= width) return text;
  let length = text.length;
  while (length > 1 && textWidth(`${text.slice(0, length)}…`) > width) length -= 1;
  return `${text.slice(0, length)}…`;
}

export class Parallel {
  /** `onBrush(selected)` is called after each change with the ids of the selected rows, or null without a brush. */
  constructor(parent, { label, onBrush }) {
    Object.assign(this, { parent, label, onBrush, axes: [], rows: [], brushes: new Map(), dragging: false });
    this.scroll = document.createElement("div");
    this.scroll.className = "wide-table";
    this.saving = exportButtons({
      title: () => this.label,
      svg: () => this.svg,
      columns: () => ["name", ...this.axes.map(({ name }) => name)],
      rows: () => this.rows.map(({ name, values }) => [name, ...this.axes.map((axis) => values[axis.name])]),
    });
    new ResizeObserver(() => {
      if (parent.clientWidth !== this.width) this.draw();
    }).observe(parent);
  }

  /** Shows `rows` of `{id, name, color, values}` on `axes` of `{name, title, write, log}`; see `scaleOf`. */
  show(axes, rows) {
    Object.assign(this, { axes, rows });
    this.draw();
  }

  /** Emphasizes the line of a row, or of none with null. */
  point(id) {
    for (const line of this.svg?.querySelectorAll("polyline[data-id]") ?? []) line.classList.toggle("pointed", line.dataset.id === id);
  }

  clear() {
    this.brushes.clear();
    this.update();
  }

  /** Selects the part [low, high] of an axis, as shares of its length; everything with null. */
  brush(name, range) {
    if (range === null || (range[0] <= 0 && range[1] >= 1)) this.brushes.delete(name);
    else this.brushes.set(name, range);
    this.update();
  }

  selects({ values }) {
    return [...this.brushes].every(([name, [low, high]]) => {
      const at = this.scales.get(name)?.at(values[name]);
      return at !== undefined && at !== null && at >= low - 1e-9 && at <= high + 1e-9;
    });
  }

  /** Draws the lines and brushes, and reports the selection. */
  update() {
    this.drawLines();
    this.placeBrushes();
    this.onBrush(this.brushes.size ? new Set(this.rows.filter((row) => this.selects(row)).map(({ id }) => id)) : null);
  }

  draw() {
    const width = (this.width = this.parent.clientWidth);
    if (!width || !this.axes.length) return;
    // A redrawn handle keeps the focus.
    const focused = this.svg?.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.scales = new Map(this.axes.map((axis) => [axis.name, scaleOf(axis, this.rows.map(({ values }) => values[axis.name]))]));
    const first = this.scales.get(this.axes[0].name).marks.map(({ text }) => textWidth(text));
    const left = Math.min(Math.max(...first, 24), WIDEST_NAME) + 20;
    this.gap = Math.max((width - left - RIGHT) / Math.max(this.axes.length - 1, 1), NARROWEST);
    this.left = left;
    const whole = left + this.gap * (this.axes.length - 1) + RIGHT;
    if (!this.svg) this.build();
    this.svg.setAttribute("viewBox", `0 0 ${whole} ${HEIGHT}`);
    this.svg.style.width = `${whole}px`;
    this.svg.setAttribute("aria-label", `${this.label}: ${this.rows.length} lines over ${this.axes.map(({ title }) => title).join(", ")}`);
    if (!this.dragging) this.drawAxes();
    this.update();
    nameButtons(this.saving, this.label);
    if (focused) this.svg.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  build() {
    this.svg = frame(0, HEIGHT);
    this.svg.setAttribute("role", "group");
    this.lines = element("g", {}, this.svg);
    this.over = element("g", {}, this.svg);
    this.scroll.append(this.svg);
    this.parent.replaceChildren(this.scroll, this.saving);
  }

  x(index) {
    return this.left + this.gap * index;
  }

  /** The height of a share of an axis; what has no value stands below the axes. */
  y(share) {
    return share === null ? HEIGHT - BOTTOM + 18 : TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
  }

  drawLines() {
    this.lines.replaceChildren();
    const drawn = this.rows.map((row) => ({ row, selected: this.selects(row) })).sort((a, b) => a.selected - b.selected);
    for (const { row, selected } of drawn) {
      const points = this.axes.map(({ name }, index) => `${this.x(index).toFixed(1)},${this.y(this.scales.get(name).at(row.values[name])).toFixed(1)}`);
      const line = element("polyline", { class: selected ? `line ${row.color}` : "line faded", "data-id": row.id, points: points.join(" ") }, this.lines);
      const values = this.axes.filter(({ name }) => this.scales.get(name).at(row.values[name]) !== null).map(({ name, title, write }) => `${title}: ${write(row.values[name])}`);
      element("title", {}, line).textContent = [row.name, ...values].join("\n");
    }
  }

  drawAxes() {
    this.over.replaceChildren();
    this.parts = new Map();
    this.axes.forEach((axis, index) => {
      const x = this.x(index), scale = this.scales.get(axis.name), group = element("g", {}, this.over);
      const room = index ? this.gap - 14 : this.left - 14;
      element("line", { class: "axis", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }, group);
      const title = element("text", { class: "name", x, y: 12, "text-anchor": "middle" }, group);
      title.textContent = cut(axis.title, Math.min(this.gap - 8, 2 * (index ? RIGHT + this.gap * (this.axes.length - 1 - index) : this.left)));
      for (const { share, text } of scale.marks) {
        const mark = element("text", { class: "name", x: x - 9, y: this.y(share) + 4, "text-anchor": "end" }, group);
        mark.textContent = cut(text, room);
        if (mark.textContent !== text) element("title", {}, mark).textContent = text;
      }
      if (this.rows.some(({ values }) => scale.at(values[axis.name]) === null)) element("text", { class: "name", x: x - 9, y: this.y(null) + 4, "text-anchor": "end" }, group).textContent = "none";
      const track = element("rect", { class: "track", x: x - TRACK / 2, y: TOP, width: TRACK, height: HEIGHT - TOP - BOTTOM }, group);
      const band = element("rect", { class: "band", x: x - HANDLE / 2, width: HANDLE }, group);
      const handles = ["lowest", "highest"].map((end) => element("rect", { class: "handle", x: x - HANDLE / 2, width: HANDLE, height: 6, rx: 2, tabindex: 0, role: "slider", "aria-orientation": "vertical", "aria-label": `${axis.title}, ${end}`, "aria-valuemin": 0, "aria-valuemax": 100, "data-key": `${axis.name} ${end}` }, group));
      this.parts.set(axis.name, { band, handles });
      followTrack(this, axis.name, track);
      handles.forEach((handle, end) => followHandle(this, axis.name, handle, end));
    });
  }

  placeBrushes() {
    for (const { name } of this.axes) {
      const range = this.brushes.get(name), [low, high] = range ?? [0, 1], { band, handles } = this.parts.get(name), scale = this.scales.get(name);
      band.setAttribute("y", this.y(high));
      band.setAttribute("height", this.y(low) - this.y(high));
      band.setAttribute("visibility", range ? "visible" : "hidden");
      handles.forEach((handle, end) => {
        const share = end ? high : low;
        handle.setAttribute("y", this.y(share) - (end ? 6 : 0));
        handle.setAttribute("aria-valuenow", Math.round(100 * share));
        handle.setAttribute("aria-valuetext", scale.text(share));
      });
    }
  }
}
