// Keeps a page fresh: the server renders, this swaps in what has changed.

/** Write every <time> below `root` in the reader's zone and language. */
export function localTimes(root = document) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  for (const time of root.querySelectorAll("time")) {
    time.title = time.textContent;
    time.textContent = format.format(new Date(time.dateTime));
  }
}

/** Ask for this page again and replace each section marked data-live whose content is new. */
export async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  localTimes(fresh);
  for (const section of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(section.id);
    // What the reader is in stays as it is until the next time.
    if (next && next.outerHTML !== section.outerHTML && !section.contains(document.activeElement)) {
      section.replaceWith(document.adoptNode(next));
    }
  }
  return fresh;
}

/** Show in the title that what is on the page may be old. */
export function markStale(stale) {
  document.title = document.title.replace(/^(⚠ offline · )?/, stale ? "⚠ offline · " : "");
}
