// Scales of parallel coordinates: numbers, also logarithmic, and categories. Positions are shares of the axis, 0 at its bottom.

import { decades, ticks } from "./axes.js";

const known = (value) => value !== undefined && value !== null && value !== "";

/**
 * The scale of an axis of `{write, log}` for these values, which may be missing: `at(value)` is a position or null, `marks` are
 * labelled positions, `step` is the distance of a key press, and `text(share)` describes a position.
 */
export function scaleOf({ write, log = false }, values) {
  const shown = values.filter(known);
  return shown.every((value) => typeof value === "number") ? numbers(shown, write, log) : categories([...new Set(shown)], write);
}

function numbers(values, write, log) {
  const least = Math.min(...values), most = Math.max(...values), logarithmic = log && least > 0 && most / least >= 5;
  const up = logarithmic ? Math.log10 : (value) => value, down = logarithmic ? (value) => 10 ** value : (value) => value;
  let low = values.length ? up(least) : 0, high = values.length ? up(most) : 1;
  // A few values, such as those of a list, are marked themselves.
  const distinct = [...new Set(values)];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const at = (value) => (known(value) ? (up(value) - low) / (high - low) : null);
  const round = logarithmic ? decades(low, high) : ticks(low, high, 5);
  const marked = distinct.length <= 6 ? distinct : round.length > 1 ? round : [down(low), down(high)];
  return { at, step: 0.05, marks: apart(marked.map((value) => ({ share: at(value), text: write(value) }))), text: (share) => write(down(low + share * (high - low))) };
}

function categories(values, write) {
  const at = (value) => (known(value) ? (values.indexOf(value) + 0.5) / values.length : null);
  const text = (share) => write(values[Math.min(Math.floor(share * values.length), values.length - 1)]);
  return { at, step: 1 / values.length, marks: apart(values.map((value) => ({ share: at(value), text: write(value) }))), text };
}

/** Marks whose labels do not overlap. */
function apart(marks) {
  let last = -Infinity;
  return [...marks].sort((a, b) => a.share - b.share).filter(({ share }) => share - last >= 0.05 && ((last = share), true));
}
