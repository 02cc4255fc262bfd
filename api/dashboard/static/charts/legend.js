// The legend of a line chart: a button for each series that shows or hides it, with the values at the cursor.

export class Legend {
  /** `toggle(name)` shows or hides a series. */
  constructor(toggle) {
    this.toggle = toggle;
    this.entries = new Map();
    this.list = document.createElement("ul");
    this.list.className = "legend";
    this.place = document.createElement("li");
    this.place.className = "place";
    // Read out after a key press; a pointer would make a screen reader speak without end.
    this.spoken = document.createElement("p");
    this.spoken.className = "hidden";
    this.spoken.setAttribute("role", "status");
    this.reference = document.createElement("li");
  }

  /** Shows these `lines` of `{name, color}`. `hidden` are the names that are not drawn; `reference` is a text or null. */
  show(lines, hidden, reference) {
    const names = lines.map(({ name }) => name);
    if (names.join("\n") !== [...this.entries.keys()].join("\n")) this.build(names);
    for (const { name, color } of lines) {
      const { item, button } = this.entries.get(name);
      item.className = color;
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
    }
    this.reference.hidden = reference === null;
    this.reference.textContent = reference ?? "";
  }

  /** Entries that stay keep their elements, and with them the focus and a click in progress. */
  build(names) {
    for (const [name, { item }] of this.entries) {
      if (!names.includes(name)) item.remove();
    }
    this.entries = new Map(names.map((name) => [name, this.entries.get(name) ?? this.entry(name)]));
    if (!this.list.firstChild) this.list.append(this.place, this.reference);
    let next = this.place.nextSibling;
    for (const { item } of this.entries.values()) {
      if (item === next) next = item.nextSibling;
      else this.list.insertBefore(item, next);
    }
  }

  entry(name) {
    const item = document.createElement("li"), button = document.createElement("button"), series = document.createElement("span"), value = document.createElement("b");
    button.type = "button";
    button.title = `Show or hide ${name}`;
    series.className = "series";
    series.textContent = name;
    button.append(series, " ", value);
    button.addEventListener("click", () => this.toggle(name));
    item.append(button);
    return { item, button, value };
  }

  /** Writes the formatted values of the drawn series at a place. */
  read(reading) {
    this.reading = reading;
    this.place.textContent = reading.place;
    for (const [name, { value }] of this.entries) value.textContent = reading.values.get(name) ?? "";
  }

  /** A reading in one line. */
  text({ place, values }) {
    return [place, ...[...values].map((pair) => pair.join(" ")), this.reference.textContent].filter(Boolean).join(", ");
  }

  /** Lets a screen reader speak the values that are shown. */
  announce() {
    this.spoken.textContent = this.text(this.reading);
  }

  /** The drawn series as `{text, color}`. */
  shown() {
    return [...this.entries.values()]
      .filter(({ button }) => button.getAttribute("aria-pressed") === "true")
      .map(({ item, button }) => ({ text: button.textContent.trim(), color: getComputedStyle(item, "::before").backgroundColor }));
  }
}
