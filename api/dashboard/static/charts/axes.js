// Shared by the charts: SVG elements, number formats, ticks and text measurement.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent.append(node);
  return node;
}

/** An empty SVG image. */
export function frame(width, height) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  return svg;
}

let clips = 0;
/** A group that hides everything outside the plot area. */
export function clippedGroup(svg, area) {
  const id = `clip-${(clips += 1)}`;
  element("rect", area, element("clipPath", { id }, svg));
  return element("g", { "clip-path": `url(#${id})` }, svg);
}

const canvas = document.createElement("canvas").getContext("2d");
/** Width in pixels of a text in a chart; the size is that of `.charts text` in style.css. */
export function textWidth(text) {
  canvas.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  return canvas.measureText(text).width;
}

/** The space that labels left of an axis need. */
export const labelMargin = (labels) => Math.ceil(Math.max(...labels.map(textWidth), 24)) + 12;

/** Labels below an x axis. They stay inside [0, width], and labels that would overlap are left out. */
export function xLabels(svg, ticks, { width, y }) {
  let end = -Infinity;
  for (const { at, text } of ticks) {
    const half = textWidth(text) / 2;
    const center = Math.min(Math.max(at, half + 1), width - half - 1);
    if (center - half < end + 6) continue;
    end = center + half;
    element("text", { x: center, y, "text-anchor": "middle" }, svg).textContent = text;
  }
}

/** The exponent of the first digit. */
const exponent = (value) => Math.floor(Math.log10(Math.abs(value)) + 1e-9);

/** Three significant digits, without trailing zeros; more where values that are `step` apart would become equal. */
export function round(value, step = Infinity) {
  const digits = value && Number.isFinite(step) ? exponent(value) - exponent(step) + 1 : 3;
  return Number(value.toPrecision(Math.min(Math.max(digits, 3), 15))).toString();
}

/** A share as a percentage, with as many decimals as values that are `step` apart need to differ. */
export const percent = (share, step = 1) => `${(share * 100).toFixed(Math.min(Math.max(-exponent(step) - 2, 0), 10))}%`;

/** How a chart formats shares, on its axis and in its readout. */
export const SHARES = { format: percent, precise: (share) => percent(share, 0.0001) };

/** A count with three significant digits and a unit. */
export function count(value) {
  for (const unit of ["", " k", " M", " G"]) {
    if (value < 999.5) return round(value) + unit;
    value /= 1000;
  }
  return `${round(value)} T`;
}

/** Bytes in decimal units, rounded like `round`; round numbers are also ticks of a logarithmic axis. */
export function size(bytes, step = Infinity) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (bytes < 999.5) return `${round(bytes, step)} ${unit}`;
    bytes /= 1000;
    step /= 1000;
  }
  return `${round(bytes, step)} TB`;
}

/** The distance of `ticks`. */
export function tickStep(low, high, wanted) {
  const raw = (high - low || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((unit) => unit * power).find((unit) => unit >= raw);
}

/** Round numbers in [low, high], about `wanted` of them. */
export function ticks(low, high, wanted) {
  const step = tickStep(low, high, wanted), found = [];
  // Sums of steps would miss zero by rounding errors.
  for (let number = Math.ceil(low / step); number * step <= high + step / 1e6; number += 1) found.push(number * step);
  return found;
}

/** 1, 2 and 5 times the powers of ten between two logarithms. */
export function decades(left, right) {
  const found = [];
  for (let power = Math.floor(left); power <= right; power++) found.push(...[1, 2, 5].map((unit) => unit * 10 ** power));
  return found.filter((value) => Math.log10(value) >= left && Math.log10(value) <= right);
}
