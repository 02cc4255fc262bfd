// Scatter plot of accuracy against cost, with the Pareto front.

import { count, decades, element, frame, labelMargin, percent, textWidth, tickStep, ticks, xLabels } from "./axes.js";
import { exportButtons } from "./export.js";

const HEIGHT = 300, RIGHT = 24, TOP = 16, BOTTOM = 40;
const DOT = 5, LINE_HEIGHT = 13, NEAR = 8, MAX_NAME = 28, MOST_NAMES = 12;

/** The Pareto front: the points that no other point beats in cost and top-1. */
export function front(points) {
  const dominates = (a, b) => a.cost <= b.cost && a.top1 >= b.top1 && (a.cost < b.cost || a.top1 > b.top1);
  return points.filter((point) => !points.some((other) => dominates(other, point))).sort((a, b) => a.cost - b.cost);
}

const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** Cuts a name after MAX_NAME characters, and before it is wider than `most` pixels. */
function shortened(name, most) {
  const characters = [...name];
  if (characters.length <= MAX_NAME && textWidth(name) <= most) return name;
  let kept = Math.min(characters.length, MAX_NAME) - 1;
  const cut = () => `${characters.slice(0, kept).join("")}…`;
  while (kept > 1 && textWidth(cut()) > most) kept -= 1;
  return cut();
}

/** The first free position of a label next to a point: right, left, then moved up and down in steps. Undefined if there is none. */
function placeLabel(text, { cx, cy }, taken, area) {
  const width = textWidth(text);
  const boxes = [];
  for (let step = 0; step <= 12; step++) {
    for (const dy of step ? [-step * LINE_HEIGHT, step * LINE_HEIGHT] : [0]) {
      for (const left of [cx + 13, cx - 13 - width]) boxes.push({ left, right: left + width, top: cy + dy - 7, bottom: cy + dy + 6, dy });
    }
  }
  const inside = boxes.filter((box) => box.left >= area.left && box.right <= area.right && box.top >= area.top && box.bottom <= area.bottom);
  return inside.find((box) => !taken.some((other) => overlap(box, other)));
}

/** Shades what the limits exclude, and writes each limit at its edge. Returns the boxes of the texts. */
function shade(svg, { cost = null, top1 = null }, { x, y, left, right, top, bottom, write }) {
  const boxes = [];
  const label = (text, right, baseline) => {
    element("text", { x: right, y: baseline, "text-anchor": "end" }, svg).textContent = text;
    boxes.push({ left: right - textWidth(text), right, top: baseline - 10, bottom: baseline + 3 });
  };
  if (cost !== null) {
    const edge = Math.min(Math.max(x(cost), left), Math.max(left, right));
    element("rect", { class: "excluded", x: edge, y: top, width: right - edge, height: bottom - top }, svg);
    label(`limit ${write(cost)}`, edge - 4, top + 10);
  }
  if (top1 !== null) {
    // At least a strip at the bottom: a limit that is lower than the plot keeps its label.
    const edge = Math.min(Math.max(y(top1), top), bottom - 16);
    element("rect", { class: "excluded", x: left, y: edge, width: right - left, height: bottom - edge }, svg);
    label(`limit ${(top1 * 100).toFixed(1)}%`, right - 4, edge + 12);
  }
  return boxes;
}

/**
 * Draws points `{name, cost, top1, color}` into `parent`. `unit` is the label of the cost axis, `write` formats a cost,
 * `teacher` is the teacher's top-1 or null. With `ranked` false the front is left out. `none` is shown without points.
 * `limits` are `{cost, top1}`, each a number or null: what exceeds the cost or falls below the accuracy is shaded. Points
 * with top1 null stand at the bottom. A point may have a `note`, with which its tooltip ends and which keeps it off the
 * front, and a `sign`, a character before its name.
 */
export function scatter(parent, points, { unit, write = count, teacher = null, ranked = true, limits = {}, none = "None of these jobs has reported this yet." }) {
  if (!points.length) {
    const text = document.createElement("p");
    text.className = "none";
    text.textContent = none;
    parent.replaceChildren(text);
    return;
  }
  const width = parent.clientWidth;
  // Before the layout, and in a hidden tab, there is no width to draw into.
  if (!width) return;
  const trained = points.filter(({ top1 }) => top1 !== null);
  const logs = points.map(({ cost }) => cost).concat(limits.cost ?? []).map(Math.log10);
  const shares = trained.map(({ top1 }) => top1).concat(teacher ?? []);
  if (!shares.length) shares.push(...(limits.top1 === undefined || limits.top1 === null ? [0, 1] : [limits.top1, 1]));
  // A limit far from the points would press them together; then only its distance is cut.
  const spread = Math.max(Math.max(...shares) - Math.min(...shares), 0.01);
  if (limits.top1) shares.push(Math.min(Math.max(limits.top1, Math.min(...shares) - spread / 2), Math.max(...shares) + spread / 2));
  const left = Math.min(...logs) - 0.15, right = Math.max(...logs) + 0.25;
  const padding = Math.max((Math.max(...shares) - Math.min(...shares)) * 0.15, 0.005);
  const low = Math.min(...shares) - padding, high = Math.max(...shares) + padding;
  const step = Math.min(tickStep(low, high, 5), 0.001);
  const yTicks = ticks(low, high, 5).map((share) => ({ share, text: percent(share, step) }));
  const margin = labelMargin(yTicks.map(({ text }) => text));
  const x = (cost) => margin + ((Math.log10(cost) - left) / (right - left)) * (width - margin - RIGHT);
  const y = (share) => TOP + ((high - share) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const svg = frame(width, HEIGHT);
  const best = ranked ? front(trained.filter(({ note }) => !note)) : [];
  const describe = ({ name, cost, top1, note }) => `${name}: ${top1 === null ? "" : `${(top1 * 100).toFixed(2)}%, `}${write(cost)}${note ? `, ${note}` : ""}`;
  svg.setAttribute("aria-label", `Top-1 against ${unit}. ${ranked ? `Pareto front: ${best.map(describe).join("; ")}` : points.map(describe).join("; ")}`);
  const written = shade(svg, limits, { x, y, left: margin, right: width - RIGHT, top: TOP, bottom: HEIGHT - BOTTOM, write });
  for (const { share, text } of yTicks) {
    element("line", { class: "grid", x1: margin, x2: width - RIGHT, y1: y(share), y2: y(share) }, svg);
    element("text", { x: margin - 6, y: y(share) + 4, "text-anchor": "end" }, svg).textContent = text;
  }
  xLabels(svg, decades(left, right).map((cost) => ({ at: x(cost), text: write(cost) })), { width, y: HEIGHT - 22 });
  element("text", { x: (margin + width - RIGHT) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, svg).textContent = `${unit} (logarithmic)`;
  const area = { left: margin, right: width - 2, top: 2, bottom: HEIGHT - BOTTOM };
  const placed = points.map((point) => ({ point, cx: x(point.cost), cy: point.top1 === null ? HEIGHT - BOTTOM - DOT : y(point.top1) }));
  const taken = placed.map(({ cx, cy }) => ({ left: cx - DOT - 5, right: cx + DOT + 5, top: cy - DOT - 3, bottom: cy + DOT + 3 })).concat(written);
  if (teacher !== null) {
    const text = `teacher ${(teacher * 100).toFixed(2)}%`;
    element("line", { class: "reference", x1: margin, x2: width - RIGHT, y1: y(teacher), y2: y(teacher) }, svg);
    element("text", { x: margin + 6, y: y(teacher) - 5 }, svg).textContent = text;
    taken.push({ left: margin + 6, right: margin + 6 + textWidth(text), top: y(teacher) - 16, bottom: y(teacher) });
  }
  if (best.length > 1) element("polyline", { class: "front", points: best.map(({ cost, top1 }) => `${x(cost)},${y(top1)}`).join(" ") }, svg);
  for (const { point, cx, cy } of placed) {
    if (best.includes(point)) element("circle", { class: `outline ${point.color}`, cx, cy, r: 9 }, svg);
    const dot = element("circle", { class: `dot ${point.color}`, cx, cy, r: DOT }, svg);
    // Points that cover each other share a tooltip.
    const near = placed.filter((other) => Math.hypot(other.cx - cx, other.cy - cy) <= NEAR);
    element("title", {}, dot).textContent = near.map((other) => describe(other.point)).join("\n");
  }
  // Of many points, only those of the front are labelled, as far as there is space; tooltips name the others.
  const labelled = placed
    .filter(({ point }) => point.top1 !== null && (trained.length <= MOST_NAMES || !best.length || best.includes(point)))
    .sort((a, b) => best.includes(b.point) - best.includes(a.point));
  for (const { point, cx, cy } of labelled) {
    const name = shortened(point.name, (area.right - area.left) * 0.6);
    const text = point.sign ? `${point.sign} ${name}` : name;
    const box = placeLabel(text, { cx, cy }, taken, area);
    if (!box) continue;
    taken.push(box);
    if (box.dy) element("line", { class: "leader", x1: cx, y1: cy, x2: box.left > cx ? box.left - 2 : box.right + 2, y2: cy + box.dy }, svg);
    element("text", { class: "name", x: box.left, y: cy + box.dy + 4 }, svg).textContent = text;
  }
  const rows = () => points.map(({ name, cost, top1, note }) => [name, cost, top1 ?? undefined, note ?? ""]);
  parent.replaceChildren(svg, exportButtons({ title: () => `Top-1 against ${unit}`, svg: () => svg, columns: () => ["name", unit, "top1", "note"], rows }));
}
