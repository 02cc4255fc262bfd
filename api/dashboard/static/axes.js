// What charts have in common.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent.append(node);
  return node;
}

/** An empty drawing. */
export function frame(width, height) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  return svg;
}

/** Three digits, without trailing zeros. */
export const round = (value) => Number(value.toPrecision(3)).toString();

/** A count with three digits and its unit. */
export function count(value) {
  for (const unit of ["", " k", " M", " G"]) {
    if (value < 999.5) return round(value) + unit;
    value /= 1000;
  }
  return `${round(value)} T`;
}

/** Bytes in the largest unit that leaves at least 1. */
export function size(bytes) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (bytes < 1024) return unit === "B" ? `${Math.round(bytes)} B` : `${bytes.toFixed(1)} ${unit}`;
    bytes /= 1024;
  }
  return `${bytes.toFixed(1)} TiB`;
}

/** Round numbers that cover [low, high] in about `wanted` steps. */
export function ticks(low, high, wanted) {
  const raw = (high - low || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((unit) => unit * power).find((unit) => unit >= raw);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) found.push(tick);
  return found;
}
