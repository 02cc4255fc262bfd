// Charts that share an axis, a zoom, a smoothing and a cursor.

export class Group {
  /** `onZoom(zoomed)` is called when the zoom is set or reset. */
  constructor({ onZoom } = {}) {
    Object.assign(this, { charts: [], axis: "step", smoothing: 0, zoom: null, cursor: null, onZoom });
  }

  /** Sets `axis` (step, epoch or time) or `smoothing` (0 to 1). Another axis resets the zoom. */
  set(options) {
    const moved = options.axis !== undefined && options.axis !== this.axis;
    Object.assign(this, options);
    if (moved) this.setZoom(null);
    for (const chart of this.charts) chart.schedule();
  }

  /** Shows the part [first, last] of the axis in all charts, or everything with null. */
  setZoom(range) {
    Object.assign(this, { zoom: range, cursor: null });
    for (const chart of this.charts) chart.schedule();
    this.onZoom?.(range !== null);
  }

  /** Moves the cursor of all charts to a place on the axis, or hides it with null. */
  setCursor(at) {
    this.cursor = at;
    for (const chart of this.charts) chart.showCursor();
  }
}
