// The trainer's output: its end, searched, and followed while the job runs.

const KEPT = 64 * 1024;

/** Show the log named by `panel`'s data-log-at; `running` says whether more may come. */
export function followLog(panel, running) {
  const lines = panel.querySelector("[data-lines]"), search = panel.querySelector("[data-search]"), follow = panel.querySelector("[data-follow]");
  let text = "";

  function show() {
    const word = search.value.toLowerCase();
    lines.textContent = word ? text.split("\n").filter((line) => line.toLowerCase().includes(word)).join("\n") : text;
    if (follow.checked) lines.scrollTop = lines.scrollHeight;
  }

  async function read() {
    const address = panel.dataset.logAt;
    panel.hidden = !address;
    if (!address || !follow.checked) return;
    const answer = await fetch(address, { headers: { Range: `bytes=-${KEPT}` } });
    if (answer.ok) {
      text = await answer.text();
      show();
    }
  }

  search.addEventListener("input", show);
  follow.addEventListener("change", read);
  setInterval(() => { if (running() && !document.hidden) read(); }, 3000);
  read();
}
