// The values of a line chart: one series per name, over steps, epochs and time.

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

export class Series {
  at = [];
  values = [];

  /** Adds a point. `at` has `step`, and `epoch` and `time` if known. */
  add(at, value) {
    // A resumed attempt reports some steps again. The later values replace the earlier ones.
    if (this.at.length && at.step <= this.at.at(-1).step) {
      this.at.length = this.values.length = this.at.findIndex((known) => known.step >= at.step);
    }
    this.at.push(at);
    this.values.push(value);
  }

  /** The points `{x, y, value, step}` on an axis: `y` is smoothed, `value` is not. */
  points(axis, { smoothing, positive }) {
    const shown = smoothed(this.values, smoothing);
    return this.at
      .map((at, i) => ({ x: at[axis], y: shown[i], value: this.values[i], step: at.step }))
      .filter(({ x, y }) => x !== undefined && (!positive || y > 0));
  }

  /** The points as rows of a CSV file, without smoothing. */
  rows(name) {
    return this.at.map(({ step, epoch, time }, i) => [name, step, epoch, time, this.values[i]]);
  }
}

export const COLUMNS = ["series", "step", "epoch", "seconds", "value"];

/** The last of `points`, in order of x, that is at or before `x`. Undefined if there is none. */
export function pointAt(points, x) {
  let low = 0, high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].x <= x) low = middle + 1;
    else high = middle;
  }
  return points[low - 1];
}
