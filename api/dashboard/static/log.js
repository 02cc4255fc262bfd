// The trainer's output: its end, searched, followed while the job runs, and paused.

const KEPT = 64 * 1024;
const CAUSE = /error|traceback|failed|killed/i;

/** Show the log of `panel`; `running` says whether more may come. `show(address)` is for when there is one. */
export function followLog(panel, running) {
  const lines = panel.querySelector("[data-lines]"), search = panel.querySelector("[data-search]"), pause = panel.querySelector("[data-pause]"), found = panel.querySelector("[data-found]");
  let text = "", paused = false;

  function draw() {
    if (!text) return;
    const word = search.value.toLowerCase();
    const all = text.trimEnd().split("\n"), seen = word ? all.filter((line) => line.toLowerCase().includes(word)) : all;
    found.textContent = word ? `${seen.length} of ${all.length} lines` : "";
    const cause = seen.findLastIndex((line) => CAUSE.test(line));
    // The line that most likely says why is marked, so that the failure above can lead to it.
    const mark = document.createElement("mark");
    mark.textContent = seen[cause] ?? "";
    const newline = (part) => (part.length ? `${part.join("\n")}\n` : "");
    lines.replaceChildren(...(cause < 0 ? [newline(seen)] : [newline(seen.slice(0, cause)), mark, `\n${newline(seen.slice(cause + 1))}`]));
    if (!paused) lines.scrollTop = lines.scrollHeight;
  }

  async function read() {
    const address = panel.dataset.logAt;
    if (!address || paused) return;
    const answer = await fetch(address, { headers: { Range: `bytes=-${KEPT}` } });
    if (!answer.ok) return;
    text = await answer.text();
    draw();
  }

  function show(address) {
    const another = Boolean(address) && address !== panel.dataset.logAt;
    panel.dataset.logAt = address;
    panel.hidden = !address && !running();
    panel.querySelector("[data-whole]").hidden = !address;
    pause.hidden = !running();
    if (another) read();
  }

  search.addEventListener("input", draw);
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    read();
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-cause]")) return;
    search.value = "";
    draw();
    (lines.querySelector("mark") ?? lines).scrollIntoView({ block: "center" });
    event.preventDefault();
    lines.focus({ preventScroll: true });
  });
  let last = true;
  setInterval(() => {
    // Once more after the end, since the whole of it is stored then.
    if ((running() || last) && !document.hidden) read().catch(() => {});
    last = running();
  }, 3000);
  read();
  return { show };
}
