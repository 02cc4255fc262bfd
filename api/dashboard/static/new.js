import { count, size } from "./axes.js";
import { showEstimate } from "./estimate.js";
import { tell } from "./live.js";
import { upload } from "./upload.js";

const form = document.getElementById("new");
const method = document.getElementById("method");

/** Put `value` at a JSON pointer of `spec`, making the objects on the way. */
function put(spec, pointer, value) {
  const parts = pointer.slice(1).split("/"), last = parts.pop();
  let at = spec;
  for (const part of parts) {
    if (typeof at[part] !== "object" || at[part] === null) at[part] = {};
    at = at[part];
  }
  at[last] = value;
}

/** The value of a field; what is no number is sent as it is, so that the service says what is wrong with it. */
function read(field) {
  const text = field.value.trim();
  if (field.dataset.kind === "boolean") return text === "true";
  if (["number", "integer"].includes(field.dataset.kind) && Number.isFinite(Number(text))) return Number(text);
  return text;
}

function spec() {
  const rest = document.getElementById("rest").value.trim();
  const made = rest ? JSON.parse(rest) : {};
  for (const field of form.querySelectorAll("[name]")) {
    if (field.value.trim() && !field.closest("[data-method][hidden]")) put(made, field.name, read(field));
  }
  // What only a chosen method has needs its kind beside it.
  if (made.method && !made.method.kind && !made.recipe) made.method.kind = "wttm";
  return made;
}

function clearFaults() {
  tell("");
  for (const fault of form.querySelectorAll(".fault")) fault.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Each fault at the field whose pointer it is about, or at the one above that is there; the others on top. */
function showFaults(problem) {
  const others = [];
  let first = null;
  for (const { pointer, detail } of problem.errors ?? []) {
    const visible = (at) => [...form.querySelectorAll(`[name="${CSS.escape(at)}"]`)].find((field) => !field.closest("[data-method][hidden]"));
    const field = visible(pointer) ?? [...form.querySelectorAll("[name]")].find((other) => pointer && other.name.startsWith(`${pointer}/`) && !other.closest("[data-method][hidden]"));
    if (!field) {
      others.push(pointer ? `${pointer}: ${detail}` : detail);
      continue;
    }
    const fault = document.createElement("p");
    fault.className = "fault";
    fault.id = `${field.id}-fault`;
    fault.textContent = detail;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", `${fault.id} ${field.id}-about`);
    field.closest(".field").append(fault);
    field.closest("details")?.setAttribute("open", "");
    first ??= field;
  }
  tell([problem.detail, ...others].join("\n"));
  (first ?? document.getElementById("message")).focus();
}

async function send(path) {
  clearFaults();
  let body;
  try {
    body = JSON.stringify(spec());
  } catch (error) {
    return void showFaults({ detail: `The JSON below cannot be read: ${error.message}`, errors: [] });
  }
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const told = await answer.json();
  if (answer.ok) return told;
  showFaults(told);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button.primary");
  button.disabled = true;
  try {
    const job = await send("/jobs");
    if (job) location.href = job.links.page;
  } catch {
    tell("The service does not answer. Nothing was submitted; try again.");
  } finally {
    button.disabled = false;
  }
});

form.querySelector("[data-validate]").addEventListener("click", async ({ target }) => {
  const told = await send(target.dataset.validate);
  const place = document.getElementById("estimate");
  place.hidden = !told;
  if (told) showEstimate(place, told);
});

function showMethod() {
  const shown = method.value || "wttm";
  for (const part of form.querySelectorAll("[data-method]")) part.hidden = part.dataset.method !== shown;
}
method.addEventListener("change", showMethod);

/** Names as they are typed, with parameters and MACs; the ratio to the teacher once both are known. */
const sizes = new Map();
for (const input of form.querySelectorAll('[data-search="architectures"]')) {
  const about = input.closest(".field").querySelector("[data-size]");
  let asked = 0;
  const search = async () => {
    const turn = ++asked;
    const answer = await fetch(`/architectures?limit=20&q=${encodeURIComponent(input.value.trim())}`);
    if (!answer.ok || turn !== asked) return;
    const { items } = await answer.json();
    input.list.replaceChildren(...items.map((item) => {
      sizes.set(item.name, item);
      const option = document.createElement("option");
      option.value = item.name;
      option.label = `${item.name}: ${count(item.parameters)} parameters${item.macs ? `, ${count(item.macs)} MACs` : ""}`;
      return option;
    }));
    showSizes();
  };
  input.addEventListener("input", search);
  input.addEventListener("focus", search, { once: true });
  if (input.value) search();
  about.dataset.of = input.id;
}

function showSizes() {
  const teacher = sizes.get(document.getElementById("teacher-architecture").value.trim());
  for (const about of form.querySelectorAll("[data-size]")) {
    const found = sizes.get(document.getElementById(about.dataset.of).value.trim());
    const ratio = found && teacher && found !== teacher ? `; the teacher has ${(teacher.parameters / found.parameters).toPrecision(3)} times as many` : "";
    about.textContent = found ? `${count(found.parameters)} parameters${ratio}${found.macs ? `, ${count(found.macs)} MACs` : ""}` : "";
  }
}

// The project's own names, the newest version of each.
for (const input of form.querySelectorAll("[data-names]")) {
  input.addEventListener("focus", async () => {
    const answer = await fetch(`${input.dataset.names}?limit=200`);
    if (!answer.ok) return;
    input.list.replaceChildren(...(await answer.json()).items.map(({ uri, description }) => new Option(description ?? "", uri.replace(/@\d+$/, ""))));
  }, { once: true });
}

/** Send a file in parts, and put its address into the field. */
async function take(drop, file) {
  const bar = drop.querySelector("progress"), said = drop.querySelector("[data-upload]"), field = drop.querySelector("[name]");
  const tell = (bytes) => {
    bar.value = bytes / Math.max(file.size, 1);
    said.textContent = `${file.name}: ${size(bytes)} of ${size(file.size)}`;
  };
  bar.hidden = false;
  try {
    const there = await upload(file, tell, (why) => { said.textContent = `${file.name}: ${why}; going on from ${(100 * bar.value).toFixed(0)} % in a moment`; });
    field.value = there.uri;
    said.textContent = `${file.name} is there: ${size(there.size)}, SHA-256 ${there.sha256.slice(0, 12)}…`;
  } catch (problem) {
    said.textContent = `${file.name}: ${problem.message}. What arrived is kept for a while: choose the file again to go on.`;
  } finally {
    bar.hidden = true;
  }
}

for (const drop of form.querySelectorAll("[data-drop]")) {
  drop.querySelector("[data-file]").addEventListener("change", ({ target }) => { if (target.files.length) take(drop, target.files[0]); });
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) take(drop, event.dataTransfer.files[0]);
  });
}

/** What a recipe says takes the place of the fields' examples. */
const recipe = document.getElementById("recipe");
async function showRecipe() {
  const about = form.querySelector("[data-recipe]");
  const examples = () => form.querySelectorAll("[data-was]").forEach((field) => { field.placeholder = field.dataset.was; delete field.dataset.was; });
  examples();
  if (!recipe.value) return void (about.textContent = "What it says need not be said below.");
  const answer = await fetch(`/recipes/${recipe.value}`);
  if (!answer.ok) return;
  const told = await answer.json();
  about.textContent = `${told.title}. ${told.source}`;
  const walk = (value, pointer) => {
    if (value !== null && typeof value === "object") return Object.entries(value).forEach(([name, part]) => walk(part, `${pointer}/${name}`));
    const field = [...form.querySelectorAll("input[name]")].find((one) => one.name === pointer && !one.closest("[data-method][hidden]"));
    if (field) { field.dataset.was = field.placeholder; field.placeholder = String(value); }
  };
  if (told.spec.method?.kind) { method.value = ""; for (const part of form.querySelectorAll("[data-method]")) part.hidden = part.dataset.method !== told.spec.method.kind; }
  walk(told.spec, "");
}
recipe.addEventListener("change", showRecipe);
if (recipe.value) showRecipe();
