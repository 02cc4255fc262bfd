// Keeps a page fresh: the server renders, this swaps in what has changed.

const thisYear = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const brief = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const before = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** Seconds as 12 s, 3 min 05 s, or 2 h 07 min. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(Math.round(seconds), 0);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

/** Write every <time> below `root` in the reader's zone and language, or as how long ago it was, or without seconds within data-brief; its title has all of it. */
export function localTimes(root = document) {
  for (const time of root.querySelectorAll("time")) {
    if (!time.title) time.title = time.textContent;
    const at = new Date(time.dateTime);
    const late = Number(time.dataset.late ?? Infinity) * 1000 < Date.now() - at;
    time.classList.toggle("late", late);
    time.textContent = "age" in time.dataset ? `${duration((Date.now() - at) / 1000)} ago` : (at.getFullYear() !== new Date().getFullYear() ? before : time.closest("[data-brief]") ? brief : thisYear).format(at);
  }
}

/** This page as it is now, as a document. */
export async function fetchPage() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  localTimes(fresh);
  return fresh;
}

/** Replace what differs between a node that is shown and a fresh one; what the reader is in stays as it is. */
export function swap(shown, fresh) {
  if (!fresh || fresh.outerHTML === shown.outerHTML || shown.contains(document.activeElement)) return;
  shown.replaceWith(document.adoptNode(fresh));
}

/** Ask for this page again and replace each section marked data-live whose content is new. */
export async function refresh() {
  const fresh = await fetchPage();
  // A folded part that the reader opened stays open.
  for (const open of document.querySelectorAll("[data-live] details[open]")) {
    const section = fresh.getElementById(open.closest("[data-live]").id);
    const at = [...open.closest("[data-live]").querySelectorAll("details")].indexOf(open);
    section?.querySelectorAll("details")[at]?.setAttribute("open", "");
  }
  for (const section of document.querySelectorAll("[data-live]")) swap(section, fresh.getElementById(section.id));
  return fresh;
}

/** Show that what is on the page may be old. */
export function markStale(stale) {
  document.title = document.title.replace(/^(⚠ offline · )?/, stale ? "⚠ offline · " : "");
  document.body.classList.toggle("is-stale", stale);
  document.getElementById("stale").hidden = !stale;
}

/** Call `update` every so many seconds while the page is seen, and at once when it is seen again. */
export function every(seconds, update) {
  let running = false;
  const run = async () => {
    if (document.hidden || running) return;
    running = true;
    try {
      await update();
      markStale(false);
    } catch {
      markStale(true);
    } finally {
      running = false;
    }
  };
  setInterval(run, seconds * 1000);
  document.addEventListener("visibilitychange", run);
}

/** The answer to a request, with `json` as its body; null, and the problem's own words shown, if it is refused. */
export async function ask(method, path, json) {
  const content = json && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(json) };
  const answer = await fetch(path, { method, ...content });
  const body = answer.status === 204 ? {} : await answer.json();
  tell(answer.ok ? "" : [body.detail, ...(body.errors ?? []).map(({ detail }) => detail)].join("\n"));
  return answer.ok ? { status: answer.status, body } : null;
}

/** Show a message on top of the page; an empty one takes it away. */
export function tell(text) {
  const message = document.getElementById("message");
  message.textContent = text;
  message.hidden = !text;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy], button[data-copy-text]");
  if (!button) return;
  const pre = button.parentElement.querySelector("pre"), before = button.textContent;
  if (before === "Copied" || before === "Marked") return;
  try {
    await navigator.clipboard.writeText(button.dataset.copyText ?? pre.textContent);
    button.textContent = "Copied";
  } catch {
    // Without the right to the clipboard the text is shown and marked, so that one key copies it.
    const shown = pre ?? document.createElement("pre");
    if (!pre) { shown.textContent = button.dataset.copyText; shown.tabIndex = 0; button.parentElement.after(shown); }
    getSelection().selectAllChildren(shown);
    button.textContent = "Marked";
  }
  setTimeout(() => { button.textContent = before; }, 2000);
});

localTimes();
