// The log panel: shows the end of the trainer's output, with search, live updates and pause.

const TAIL_BYTES = 64 * 1024;
const CAUSE = /error(?!=None)|traceback|failed|killed/i;

/** Shows the log in `panel`. `running()` returns whether more output may follow. The returned `show(url)` sets the log's URL. */
export function followLog(panel, running) {
  const lines = panel.querySelector("[data-lines]"), search = panel.querySelector("[data-search]"), pause = panel.querySelector("[data-pause]"), found = panel.querySelector("[data-found]");
  let text = "", paused = false;

  function draw() {
    if (!text) return;
    const word = search.value.toLowerCase();
    const all = text.trimEnd().split("\n"), matching = word ? all.filter((line) => line.toLowerCase().includes(word)) : all;
    found.textContent = word ? `${matching.length} of ${all.length} lines` : "";
    const cause = matching.findLastIndex((line) => CAUSE.test(line));
    // The last line that looks like an error is highlighted. The failure section links to it.
    const mark = document.createElement("mark");
    mark.textContent = matching[cause] ?? "";
    const newline = (part) => (part.length ? `${part.join("\n")}\n` : "");
    lines.replaceChildren(...(cause < 0 ? [newline(matching)] : [newline(matching.slice(0, cause)), mark, `\n${newline(matching.slice(cause + 1))}`]));
    if (!paused) lines.scrollTop = lines.scrollHeight;
  }

  async function read() {
    const url = panel.dataset.logUrl;
    if (!url || paused) return;
    const response = await fetch(url, { headers: { Range: `bytes=-${TAIL_BYTES}` } });
    if (!response.ok) return;
    text = await response.text();
    draw();
  }

  function show(url) {
    const changed = Boolean(url) && url !== panel.dataset.logUrl;
    panel.dataset.logUrl = url;
    panel.hidden = !url && !running();
    panel.querySelector("[data-full-log]").hidden = !url;
    pause.hidden = !running();
    if (changed) read();
  }

  search.addEventListener("input", draw);
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    read();
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-cause]")) return;
    event.preventDefault();
    history.replaceState(null, "", "#log");
    dispatchEvent(new Event("hashchange"));
    search.value = "";
    draw();
    (lines.querySelector("mark") ?? lines).scrollIntoView({ block: "center" });
    lines.focus({ preventScroll: true });
  });
  let last = true;
  setInterval(() => {
    // Once more after the end, when the complete log is stored.
    if ((running() || last) && !document.hidden) read().catch(() => {});
    last = running();
  }, 3000);
  read();
  return { show };
}
