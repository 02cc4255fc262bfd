import { localTimes, markStale, refresh } from "./live.js";

const SECONDS = 3;

localTimes();
setInterval(async () => {
  if (document.hidden) return;
  try {
    await refresh();
    markStale(false);
  } catch {
    markStale(true);
  }
}, SECONDS * 1000);
