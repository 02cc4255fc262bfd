// Saves a chart as a PNG image or its values as a CSV file.

import { image } from "./png.js";

/** Buttons that save the chart in `svg()` as `title`, and its values `rows()` under the header `columns()`. */
export function exportButtons({ title, svg, columns, rows, legend = () => [] }) {
  const buttons = document.createElement("div");
  buttons.className = "export";
  const add = (kind, make) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = kind;
    button.addEventListener("click", async () => save(await make(), `${fileName(title())}.${kind.toLowerCase()}`));
    buttons.append(button);
  };
  add("PNG", () => image(svg(), title(), legend()));
  add("CSV", () => new Blob([csv([columns(), ...rows()])], { type: "text/csv" }));
  nameButtons(buttons, title());
  return buttons;
}

/** Names the buttons after the chart, whose title may change. */
export function nameButtons(buttons, title) {
  for (const button of buttons.children) button.setAttribute("aria-label", `Save ${title} as ${button.textContent}`);
}

const fileName = (title) => title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "chart";

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** RFC 4180. A text that a spreadsheet would run as a formula is preceded by an apostrophe. */
function csv(rows) {
  const cell = (value) => {
    if (typeof value !== "string") return value === undefined || value === null ? "" : String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}
