// Accuracy against cost, and which jobs no other beats in both.

import { count, element, frame, ticks } from "./axes.js";

const HEIGHT = 300, LEFT = 52, RIGHT = 24, TOP = 16, BOTTOM = 40;

/** Of points with `cost` and `top1`, those to which no other is both at most as dear and at least as good. */
export function front(points) {
  const better = (a, b) => a.cost <= b.cost && a.top1 >= b.top1 && (a.cost < b.cost || a.top1 > b.top1);
  return points.filter((point) => !points.some((other) => better(other, point))).sort((a, b) => a.cost - b.cost);
}

/** 1, 2 and 5 times the powers of ten between two logarithms. */
function decades(left, right) {
  const found = [];
  for (let power = Math.floor(left); power <= right; power++) found.push(...[1, 2, 5].map((unit) => unit * 10 ** power));
  return found.filter((value) => Math.log10(value) >= left && Math.log10(value) <= right);
}

/** Draw points `{name, cost, top1, colour}` into `parent`; `unit` names what the cost is, `write` writes it, `teacher` is its top-1. */
export function scatter(parent, points, { unit, write = count, teacher = null }) {
  if (!points.length) {
    const none = document.createElement("p");
    none.className = "none";
    none.textContent = "None of these jobs has told it yet.";
    parent.replaceChildren(none);
    return;
  }
  const width = parent.clientWidth;
  const logs = points.map(({ cost }) => Math.log10(cost)), shares = points.map(({ top1 }) => top1).concat(teacher ?? []);
  const left = Math.min(...logs) - 0.15, right = Math.max(...logs) + 0.25;
  const margin = Math.max((Math.max(...shares) - Math.min(...shares)) * 0.15, 0.005);
  const low = Math.min(...shares) - margin, high = Math.max(...shares) + margin;
  const x = (cost) => LEFT + ((Math.log10(cost) - left) / (right - left)) * (width - LEFT - RIGHT);
  const y = (share) => TOP + ((high - share) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const svg = frame(width, HEIGHT);
  const best = front(points);
  svg.setAttribute("aria-label", `Top-1 against ${unit}. Best: ${best.map(({ name, cost, top1 }) => `${name} ${write(cost)} ${(top1 * 100).toFixed(2)} %`).join(", ")}`);
  for (const tick of ticks(low, high, 5)) {
    element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }, svg);
    element("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, svg).textContent = `${(tick * 100).toFixed(1)}%`;
  }
  for (const tick of decades(left, right)) {
    element("text", { x: x(tick), y: HEIGHT - 22, "text-anchor": "middle" }, svg).textContent = write(tick);
  }
  element("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, svg).textContent = `${unit} (logarithmic)`;
  if (teacher !== null) {
    element("line", { class: "reference", x1: LEFT, x2: width - RIGHT, y1: y(teacher), y2: y(teacher) }, svg);
    element("text", { x: LEFT + 6, y: y(teacher) - 5 }, svg).textContent = `teacher ${(teacher * 100).toFixed(2)}%`;
  }
  if (best.length > 1) element("polyline", { class: "front", points: best.map(({ cost, top1 }) => `${x(cost)},${y(top1)}`).join(" ") }, svg);
  for (const point of points) {
    const at = { cx: x(point.cost), cy: y(point.top1) };
    if (best.includes(point)) element("circle", { class: `ring ${point.colour}`, ...at, r: 9 }, svg);
    const dot = element("circle", { class: `dot ${point.colour}`, ...at, r: 5 }, svg);
    const said = `${point.name}: ${(point.top1 * 100).toFixed(2)}%, ${write(point.cost)}`;
    element("title", {}, dot).textContent = said;
    const end = at.cx > width * 0.7;
    element("text", { class: "name", x: at.cx + (end ? -13 : 13), y: at.cy + 4, "text-anchor": end ? "end" : "start" }, svg).textContent = point.name.length > 28 ? `${point.name.slice(0, 27)}…` : point.name;
  }
  parent.replaceChildren(svg);
}
