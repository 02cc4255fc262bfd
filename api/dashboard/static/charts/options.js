// The options above the curves: x axis, smoothing and logarithmic scale.

const KEY = "chart options";

/** Applies the options to a group of charts, and the scale to one of them. A window keeps the options until it is closed. */
export function followOptions(group, scaled) {
  const [axis, smoothing, log] = ["axis", "smoothing", "log"].map((name) => document.querySelector(`[data-${name}]`));
  const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  if (kept) [axis.value, smoothing.value, log.checked] = kept;
  const apply = () => {
    sessionStorage.setItem(KEY, JSON.stringify([axis.value, smoothing.value, log.checked]));
    group.set({ axis: axis.value, smoothing: Number(smoothing.value) });
    scaled.logarithmic = log.checked;
    scaled.schedule();
  };
  for (const option of [axis, smoothing, log]) option.addEventListener("input", apply);
  if (kept) apply();
}
