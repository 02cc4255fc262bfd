// Pointer and keyboard on an axis of parallel coordinates. A chart has `y(share)`, `brushes`, `brush(name, range)` and `dragging`.

const SHORTEST = 0.02;

/** The share of the axis under the pointer. */
function under(chart, { clientY }) {
  const box = chart.svg.getBoundingClientRect(), at = ((clientY - box.top) / box.height) * chart.svg.viewBox.baseVal.height;
  return Math.min(Math.max((at - chart.y(0)) / (chart.y(1) - chart.y(0)), 0), 1);
}

/** Calls `move(share)` while the pointer is down on a node, and `end()` after it. */
function drag(chart, node, { start, move, end }) {
  let down = false;
  const stop = () => {
    if (!down) return;
    down = chart.dragging = false;
    end?.();
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    down = chart.dragging = true;
    node.setPointerCapture(event.pointerId);
    start?.(under(chart, event));
  });
  node.addEventListener("pointermove", (event) => { if (down) move(under(chart, event)); });
  node.addEventListener("pointerup", stop);
  node.addEventListener("pointercancel", stop);
}

/** Dragging along an axis brushes it; a click resets it. */
export function followTrack(chart, name, track) {
  let from = 0, moved = false;
  drag(chart, track, {
    start: (share) => { [from, moved] = [share, false]; },
    move: (share) => {
      moved ||= Math.abs(share - from) > SHORTEST;
      if (moved) chart.brush(name, [Math.min(from, share), Math.max(from, share)]);
    },
    end: () => { if (!moved) chart.brush(name, null); },
  });
}

/** A handle moves an end of the brush: with the pointer, the arrow keys, Home and End. Escape resets the axis. */
export function followHandle(chart, name, handle, end) {
  const place = (share) => {
    const range = [...(chart.brushes.get(name) ?? [0, 1])];
    range[end] = end ? Math.min(Math.max(share, range[0]), 1) : Math.max(Math.min(share, range[1]), 0);
    chart.brush(name, range);
  };
  drag(chart, handle, { start: () => handle.focus(), move: place });
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key], bound = { Home: 0, End: 1 }[event.key];
    if (!step && bound === undefined && event.key !== "Escape") return;
    event.preventDefault();
    if (event.key === "Escape") return chart.brush(name, null);
    place(bound ?? (chart.brushes.get(name) ?? [0, 1])[end] + step * chart.scales.get(name).step);
  });
}
