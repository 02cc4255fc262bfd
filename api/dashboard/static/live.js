// Live updates: the server renders the page again, and this module replaces the sections that changed.

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

/** An age with one unit, which is as exact as a list needs: 12 s, 3 min, 2 h, or 5 days. */
function age(seconds) {
  const whole = Math.max(Math.round(seconds), 0);
  const [size, unit] = [[172_800, 86_400, "days"], [3600, 3600, "h"], [60, 60, "min"]].filter(([from]) => whole >= from).map(([, ...rest]) => rest)[0] ?? [1, "s"];
  return `${Math.floor(whole / size)} ${unit}`;
}

/** Formats every <time> below `root` in the user's time zone and language, as an age with data-age, or without seconds inside data-brief. The title keeps the full time. */
export function localTimes(root = document) {
  for (const time of root.querySelectorAll("time")) {
    if (!time.title) time.title = time.textContent;
    const at = new Date(time.dateTime);
    const late = Number(time.dataset.late ?? Infinity) * 1000 < Date.now() - at;
    time.classList.toggle("late", late);
    time.textContent = "age" in time.dataset ? `${age((Date.now() - at) / 1000)} ago` : (at.getFullYear() !== new Date().getFullYear() ? before : time.closest("[data-brief]") ? brief : thisYear).format(at);
  }
}

/** Fetches the current version of this page and returns it as a document. */
export async function fetchPage() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  showSignedOut(response.status);
  if (!response.ok) throw Object.assign(new Error(`HTTP ${response.status}`), { status: response.status });
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  localTimes(fresh);
  return fresh;
}

/** Replaces a node by its current version if they differ. A node that has the focus is not replaced. */
export function swap(shown, fresh) {
  if (!fresh || fresh.outerHTML === shown.outerHTML || shown.contains(document.activeElement)) return;
  shown.replaceWith(document.adoptNode(fresh));
}

/** Fetches this page again and replaces each changed section that is marked data-live. Returns the fetched document. */
export async function refresh() {
  const fresh = await fetchPage();
  // Open <details> elements stay open.
  for (const open of document.querySelectorAll("[data-live] details[open]")) {
    const section = fresh.getElementById(open.closest("[data-live]").id);
    const at = [...open.closest("[data-live]").querySelectorAll("details")].indexOf(open);
    section?.querySelectorAll("details")[at]?.setAttribute("open", "");
  }
  // Its name may have changed.
  document.title = fresh.title;
  for (const section of document.querySelectorAll("[data-live]")) swap(section, fresh.getElementById(section.id));
  return fresh;
}

/** Shows or hides the notice that the page may be out of date. `error` is that of `fetchPage`, if it failed. */
export function markStale(stale, error = {}) {
  const { status } = error;
  // The notice about the session says it already.
  if (status === 401 && document.getElementById("signed-out")) return;
  const cause = status === undefined ? "Connection lost." : status === 404 ? "What this page shows no longer exists." : `The service answered with HTTP ${status}.`;
  document.title = document.title.replace(/^(⚠ offline · )?/, stale ? "⚠ offline · " : "");
  document.body.classList.toggle("is-stale", stale);
  const notice = document.getElementById("stale");
  if (stale) notice.textContent = `${cause} This page may be out of date.`;
  notice.hidden = !stale;
}

/** What a request without a valid session fails with. */
export const SIGNED_OUT = "Your session has ended. Sign in again, then repeat this.";

/**
 * Shows the notice that the session has ended after a response with status 401, and hides it after others. Its link leads back to
 * this page; on a form it opens another tab, because what has been entered would be lost. Returns whether the session has ended,
 * which it does not on pages that need none.
 */
export function showSignedOut(status) {
  const notice = document.getElementById("signed-out"), ended = status === 401;
  if (!notice) return false;
  const link = notice.querySelector("a"), entered = document.querySelector("form.with-aside") !== null;
  link.href = `/sign-in?next=${encodeURIComponent(entered ? "/" : location.pathname + location.search)}`;
  link.target = entered ? "_blank" : "";
  notice.hidden = !ended;
  return ended;
}

/** Calls `update` every `seconds` while the page is visible, and immediately when it becomes visible again. */
export function every(seconds, update) {
  let running = false;
  const run = async () => {
    if (document.hidden || running) return;
    running = true;
    try {
      await update();
      markStale(false);
    } catch (error) {
      markStale(true, error);
    } finally {
      running = false;
    }
  };
  setInterval(run, seconds * 1000);
  document.addEventListener("visibilitychange", run);
}

/** Sends a request with a JSON body. Returns `{status, body}`; on an error, shows what went wrong and returns null. */
export async function request(method, path, json) {
  const content = json && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(json) };
  let response, body;
  try {
    response = await fetch(path, { method, ...content });
    body = response.status === 204 ? {} : await response.json();
  } catch {
    // No response, or one of a proxy.
    showMessage("The service could not be reached, so the change may not have been made. Reload the page to check.");
    return null;
  }
  const signedOut = showSignedOut(response.status);
  showMessage(response.ok ? "" : signedOut ? SIGNED_OUT : problemText(body));
  return response.ok ? { status: response.status, body } : null;
}

/** Lets the button with data-delete ask `question`, delete what the page shows, and open the list `then`. */
export function deletes(question, then) {
  document.addEventListener("click", async ({ target }) => {
    const button = target.closest("button[data-delete]");
    if (!button || !confirm(question)) return;
    if (await request("DELETE", button.dataset.delete)) location.href = then;
  });
}

/** The text of a problem document: its detail and the field errors that the detail does not already contain. */
function problemText({ detail, errors = [] }) {
  const contained = (error) => detail.toLowerCase().includes(error.detail.toLowerCase());
  return [detail, ...errors.filter((error) => !contained(error)).map((error) => error.detail)].join("\n");
}

/** Shows a message at the top of the page. An empty message hides it. */
export function showMessage(text) {
  const message = document.getElementById("message");
  message.textContent = text;
  message.hidden = !text;
}

document.addEventListener("keydown", ({ key, target }) => {
  const menu = key === "Escape" && target.closest?.("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy], button[data-copy-text]");
  if (!button) return;
  const pre = button.parentElement.querySelector("pre"), before = button.textContent;
  if (before === "Copied" || before === "Selected") return;
  try {
    await navigator.clipboard.writeText(button.dataset.copyText ?? pre.textContent);
    button.textContent = "Copied";
  } catch {
    // Without permission to use the clipboard, the text is shown and selected, so that it can be copied by hand.
    const shown = pre ?? document.createElement("pre");
    if (!pre) { shown.textContent = button.dataset.copyText; shown.tabIndex = 0; button.parentElement.after(shown); }
    getSelection().selectAllChildren(shown);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = before; }, 2000);
});

localTimes();
// Ages grow on pages that are not updated, too.
setInterval(localTimes, 5000);
