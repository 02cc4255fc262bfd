// Pointer and keyboard on a line chart: readout, zoom and its reset. Listeners are added once.

const SHORTEST_DRAG = 8;

/** Dragging zooms, a double click resets, and moving shows the values under the pointer. */
export function followPointer(chart, svg, band) {
  let from = null;
  const under = ({ clientX }) => {
    const { first, last, left, right } = chart.scale, box = svg.getBoundingClientRect();
    const share = (((clientX - box.left) / box.width) * chart.width - left) / (right - left);
    return Math.min(Math.max(first + share * (last - first), first), last);
  };
  const stop = () => {
    from = null;
    band.setAttribute("visibility", "hidden");
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" || event.button) return;
    from = under(event);
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    const at = under(event), { x } = chart.scale;
    if (from !== null) {
      band.setAttribute("x", Math.min(x(from), x(at)));
      band.setAttribute("width", Math.abs(x(at) - x(from)));
      band.setAttribute("visibility", "visible");
    }
    chart.group.setCursor(at);
  });
  svg.addEventListener("pointerup", (event) => {
    const start = from, to = under(event), { x } = chart.scale;
    stop();
    if (start !== null && Math.abs(x(to) - x(start)) > SHORTEST_DRAG) chart.group.setZoom([Math.min(start, to), Math.max(start, to)]);
  });
  svg.addEventListener("pointercancel", stop);
  svg.addEventListener("pointerleave", () => { if (from === null) chart.group.setCursor(null); });
  svg.addEventListener("dblclick", () => chart.group.setZoom(null));
}

/** Arrow keys move the readout, plus and minus zoom around it, Escape resets the zoom. `announce` reads the values out. */
export function followKeys(chart, svg, announce) {
  svg.tabIndex = 0;
  svg.setAttribute("aria-keyshortcuts", "ArrowLeft ArrowRight + - Escape");
  svg.addEventListener("keydown", (event) => {
    const { group, scale: { first, last } } = chart;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    if (!step && !factor && event.key !== "Escape") return;
    event.preventDefault();
    const at = Math.min(Math.max((group.cursor ?? last) + ((step ?? 0) * (last - first)) / 50, first), last);
    if (step) {
      group.setCursor(at);
      return announce();
    }
    const reach = ((last - first) * (factor ?? 1)) / 2;
    group.setZoom(factor === 0.5 || (factor && group.zoom) ? [at - reach, at + reach] : null);
    if (factor) group.setCursor(at);
  });
  svg.addEventListener("blur", () => chart.group.setCursor(null));
}
