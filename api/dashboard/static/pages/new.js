import { count, round } from "../charts/axes.js";
import { showEstimate } from "../estimate.js";
import { acceptFiles, enableButtons, enableSubmit, followPreview, otherFields, put, send, suggestNames } from "../forms.js";
import { showMessage } from "../live.js";

const form = document.getElementById("new");
const method = document.getElementById("method");
const place = document.getElementById("estimate");

const isObject = (value) => typeof value === "object" && value !== null;

/** The value of a field. Text in a number field is sent unchanged, so that the service returns the error. */
function valueOf(field) {
  const text = field.value.trim();
  if (field.dataset.kind === "boolean") return { true: true, false: false }[text] ?? text;
  if (field.dataset.kind === "json") return JSON.parse(text);
  // A path may contain spaces, so URIs are split only before a scheme.
  if (field.dataset.kind === "list") return text.split(/\s+(?=[a-z][a-z0-9+.-]*:)/);
  if (["number", "integer"].includes(field.dataset.kind) && Number.isFinite(Number(text))) return Number(text);
  return text;
}

// Valid values of the fields that a spec must have, with which the form validates the others while these are missing or invalid.
const REQUIRED = { "/student/architecture": "resnet18", "/teacher/checkpoint": "file:///", "/dataset/uri": "file:///" };

/** The spec, and the errors that are found without the service. */
function read() {
  const faults = [], body = otherFields(faults);
  // A name stands for a method or an optimizer with that name, to which the fields above are added.
  if (typeof body.method === "string") body.method = { kind: body.method };
  if (typeof body.training?.optimizer === "string") body.training.optimizer = { name: body.training.optimizer };
  for (const field of form.querySelectorAll("[name]")) {
    if (field.value.trim() && !field.closest("[data-method][hidden]")) put(body, field.name, valueOf(field));
  }
  // Fields of a method and of an optimizer need its name, which a recipe may contain.
  if (!body.recipe) {
    if (isObject(body.method)) body.method.kind ??= "wttm";
    if (isObject(body.training?.optimizer)) body.training.optimizer.name ??= "sgd";
  }
  return { body, faults };
}

/** Sends the spec to `path` and returns the response's body. Shows errors, or `unreachable` without a response, and returns null. */
async function submitTo(path, unreachable) {
  try {
    const { body, faults } = read();
    return await send(form, path, body, { faults, validate: "/jobs/validate", required: REQUIRED });
  } catch {
    showMessage(unreachable);
    return null;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  enableButtons(form, false);
  const job = await submitTo("/jobs", "The service could not be reached, so the job may not have been submitted. Check the jobs list, then try again.");
  // The buttons stay disabled until the job's page opens: a second click would submit the job again.
  if (job) location.href = job.links.page;
  else enableButtons(form, true);
});

form.querySelector("[data-validate]").addEventListener("click", async ({ target }) => {
  const result = await submitTo(target.dataset.validate, "The service could not be reached. Try again later.");
  if (result) showEstimate(place, result);
});

const estimate = followPreview(form, place, {
  path: "/jobs/validate",
  delay: 1000,
  read,
  isComplete: (body) => body.dataset && (body.student || body.recipe),
  show: (result) => showEstimate(place, result),
});

function showMethod() {
  const shown = method.value || "wttm";
  for (const part of form.querySelectorAll("[data-method]")) part.hidden = part.dataset.method !== shown;
}
method.addEventListener("change", showMethod);
// Going back and reloading restore what was entered after this script has run.
addEventListener("pageshow", () => {
  if (method.value) showMethod();
  if (recipe.value) showRecipe();
  estimate();
});

/** Suggests architectures with their parameters and MACs, and shows the ratio to the teacher once both are known. */
const sizes = new Map();
for (const input of form.querySelectorAll('[data-search="architectures"]')) {
  const about = input.closest(".field").querySelector("[data-size]");
  let latest = 0;
  const search = async () => {
    const number = (latest += 1);
    const response = await fetch(`/architectures?limit=20&q=${encodeURIComponent(input.value.trim())}`);
    // A slower response to an earlier input is ignored.
    if (!response.ok || number !== latest) return;
    const { items } = await response.json();
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
    const ratio = found && teacher && found !== teacher ? `; the teacher has ${round(teacher.parameters / found.parameters)} times as many` : "";
    about.textContent = found ? `${count(found.parameters)} parameters${ratio}${found.macs ? `, ${count(found.macs)} MACs` : ""}` : "";
  }
}

suggestNames(form);
acceptFiles(form);
enableSubmit(form);

/** Shows the values of the chosen recipe as placeholders. */
const recipe = document.getElementById("recipe");
async function showRecipe() {
  const about = form.querySelector("[data-recipe]");
  const restorePlaceholders = () => form.querySelectorAll("[data-placeholder]").forEach((field) => { field.placeholder = field.dataset.placeholder; delete field.dataset.placeholder; });
  restorePlaceholders();
  if (!recipe.value) return void (about.textContent = "Fields that the recipe sets are optional below.");
  const response = await fetch(`/recipes/${recipe.value}`);
  if (!response.ok) return;
  const found = await response.json();
  about.textContent = `${found.title}. ${found.source}`;
  const walk = (value, pointer) => {
    if (value !== null && typeof value === "object") return Object.entries(value).forEach(([name, part]) => walk(part, `${pointer}/${name}`));
    const field = [...form.querySelectorAll("input[name]")].find((one) => one.name === pointer && !one.closest("[data-method][hidden]"));
    if (field) { field.dataset.placeholder = field.placeholder; field.placeholder = String(value); }
  };
  if (found.spec.method?.kind) { method.value = ""; for (const part of form.querySelectorAll("[data-method]")) part.hidden = part.dataset.method !== found.spec.method.kind; }
  walk(found.spec, "");
}
recipe.addEventListener("change", showRecipe);
