import { every, refresh } from "../live.js";

// The time of the previous visit, in this browser only.
const KEY = "ttm.home.visited";
const last = localStorage.getItem(KEY);
localStorage.setItem(KEY, new Date().toISOString());

/** Marks the jobs that finished after the previous visit, and counts them. */
function markNew() {
  if (!last) return;
  const fresh = [...document.querySelectorAll("[data-finished]")].filter((row) => row.dataset.finished && Date.parse(row.dataset.finished) > Date.parse(last));
  for (const row of fresh) row.classList.add("new");
  document.querySelector("[data-since]").textContent = fresh.length ? `${fresh.length} since your last visit` : "";
}

markNew();
every(3, async () => {
  await refresh();
  markNew();
});
