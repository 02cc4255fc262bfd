// The command palette: Ctrl-K or ⌘K opens a dialog that finds pages by title, saved views by name, and jobs by a part of their name or an id.

const MOST_JOBS = 8, PAUSE = 150;
const pages = () => JSON.parse(document.querySelector("[data-palette]").dataset.palette);

function option({ href, text, note }, index) {
  const item = document.createElement("li"), link = document.createElement("a"), kind = document.createElement("span");
  Object.assign(item, { role: "option", id: `palette-${index}` });
  link.href = href;
  link.tabIndex = -1;
  link.textContent = text;
  kind.className = "quiet";
  kind.textContent = note;
  item.append(link, " ", kind);
  return item;
}

async function findJobs(text) {
  const answer = await fetch(`/jobs?limit=${MOST_JOBS}&name=${encodeURIComponent(text)}`);
  if (!answer.ok) return [];
  const { items } = await answer.json();
  return items.map(({ id, name, state, student }) => ({ href: `/ui/jobs/${id}`, text: name ?? id, note: `${state} · ${student}` }));
}

/** The project's saved views. */
async function findViews() {
  const answer = await fetch("/views");
  if (!answer.ok) return [];
  const { items } = await answer.json();
  return items.map(({ href, name, page }) => ({ href, text: name, note: `view of ${page}` }));
}

class Palette {
  constructor() {
    this.dialog = document.createElement("dialog");
    this.dialog.className = "palette";
    this.dialog.setAttribute("aria-label", "Go to a page or a job");
    this.input = document.createElement("input");
    Object.assign(this.input, { type: "text", placeholder: "Go to a page or a job", maxLength: 200, autocomplete: "off" });
    for (const [name, value] of Object.entries({ role: "combobox", "aria-label": "Page or job", "aria-expanded": "true", "aria-controls": "palette-list", "aria-autocomplete": "list" })) {
      this.input.setAttribute(name, value);
    }
    this.list = document.createElement("ul");
    Object.assign(this.list, { id: "palette-list", role: "listbox", ariaLabel: "Results" });
    this.dialog.append(this.input, this.list);
    document.body.append(this.dialog);
    this.input.addEventListener("input", () => this.search());
    this.input.addEventListener("keydown", (event) => this.press(event));
    // A click on the backdrop has the dialog itself as its target.
    this.dialog.addEventListener("click", ({ target }) => { if (target === this.dialog) this.dialog.close(); });
  }

  open() {
    this.input.value = "";
    this.views = [];
    this.dialog.showModal();
    this.search();
    findViews().then((views) => {
      this.views = views;
      if (views.length) this.search();
    });
  }

  search() {
    const text = this.input.value.trim().toLowerCase();
    const found = [...pages(), ...this.views].filter(({ text: title, note }) => `${title} ${note}`.toLowerCase().includes(text));
    this.show(found);
    clearTimeout(this.waiting);
    if (text) this.waiting = setTimeout(async () => {
      const jobs = await findJobs(text);
      if (this.input.value.trim().toLowerCase() === text) this.show([...found, ...jobs]);
    }, PAUSE);
  }

  show(found) {
    this.list.replaceChildren(...found.map(option));
    this.choose(0);
  }

  choose(index) {
    const items = [...this.list.children];
    this.chosen = items.length ? (index + items.length) % items.length : -1;
    items.forEach((item, at) => item.setAttribute("aria-selected", String(at === this.chosen)));
    this.input.setAttribute("aria-activedescendant", items[this.chosen]?.id ?? "");
    items[this.chosen]?.scrollIntoView({ block: "nearest" });
  }

  press(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      this.choose(this.chosen + step);
    }
    if (event.key === "Enter") this.list.children[this.chosen]?.querySelector("a").click();
  }
}

let palette = null;
function open() {
  palette ??= new Palette();
  if (!palette.dialog.open) palette.open();
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    open();
  }
});
document.querySelector("[data-palette]")?.addEventListener("click", open);
