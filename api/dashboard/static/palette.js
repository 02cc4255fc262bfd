// The command palette: Ctrl-K or ⌘K opens a dialog that finds pages by title, saved views by name, and what has a page by its name or id.

const PAUSE = 150;
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

/** Studies, jobs, models, workers and devices by a part of their name or the start of their id. */
async function find(text) {
  const answer = await fetch(`/ui/search?q=${encodeURIComponent(text)}`);
  return answer.ok ? answer.json() : [];
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
    this.dialog.setAttribute("aria-label", "Go to");
    this.input = document.createElement("input");
    Object.assign(this.input, { type: "text", placeholder: "Go to a page, study, job, teacher, worker…", maxLength: 200, autocomplete: "off" });
    for (const [name, value] of Object.entries({ role: "combobox", "aria-label": "Page, name or id", "aria-expanded": "true", "aria-controls": "palette-list", "aria-autocomplete": "list" })) {
      this.input.setAttribute(name, value);
    }
    this.list = document.createElement("ul");
    Object.assign(this.list, { id: "palette-list", role: "listbox", ariaLabel: "Results" });
    this.dialog.append(this.input, this.list);
    document.body.append(this.dialog);
    this.input.addEventListener("input", () => this.search());
    this.input.addEventListener("keydown", (event) => this.press(event));
    // The whole option is a link. One to a row of this page loads no other page.
    this.list.addEventListener("click", ({ target }) => {
      const link = target.closest("li")?.querySelector("a");
      if (link && !link.contains(target)) link.click();
      this.dialog.close();
    });
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
      const others = await find(text);
      if (this.input.value.trim().toLowerCase() === text) this.show([...found, ...others]);
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
