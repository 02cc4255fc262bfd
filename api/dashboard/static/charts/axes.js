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

/** Three significant digits, without trailing zeros. */
export const round = (value) => Number(value.toPrecision(3)).toString();

/** A count with three significant digits and a unit. */
export function count(value) {
  for (const unit of ["", " k", " M", " G"]) {
    if (value < 999.5) return round(value) + unit;
    value /= 1000;
  }
  return `${round(value)} T`;
}

/** Bytes in decimal units with three significant digits; round numbers are also ticks of a logarithmic axis. */
export function size(bytes) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (bytes < 999.5) return `${round(bytes)} ${unit}`;
    bytes /= 1000;
  }
  return `${round(bytes)} TB`;
}

/** Round numbers in [low, high], about `wanted` of them. */
export function ticks(low, high, wanted) {
  const raw = (high - low || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((unit) => unit * power).find((unit) => unit >= raw);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) found.push(tick);
  return found;
}

/** 1, 2 and 5 times the powers of ten between two logarithms. */
export function decades(left, right) {
  const found = [];
  for (let power = Math.floor(left); power <= right; power++) found.push(...[1, 2, 5].map((unit) => unit * 10 ** power));
  return found.filter((value) => Math.log10(value) >= left && Math.log10(value) <= right);
}
