import { count } from "../charts/axes.js";
import { acceptFiles, enableButtons, enableSubmit, followPreview, otherFields, put, send, suggestNames } from "../forms.js";
import { showMessage } from "../live.js";

const form = document.getElementById("new-study");
const place = document.getElementById("candidates");
const LIMITS = ["retention", "accuracy", "bytes", "latency_ms", "macs", "parameters"];
const INTEGERS = ["/training/epochs", "/budget/candidates", "/seeds"];

// Valid values of the fields that a spec must have, with which the form validates the others while these are missing or invalid.
const REQUIRED = { "/teacher/checkpoint": "file:///", "/dataset/uri": "file:///", "/limits/retention": 0.9 };

/** The spec, and the errors that are found without the service. */
function read() {
  const faults = [], body = otherFields(faults);
  for (const field of form.querySelectorAll("[name]")) {
    const text = field.value.trim(), limit = field.closest("[data-limit]");
    if (limit && !limit.querySelector("[data-use]").checked) continue;
    if (limit && !text) faults.push({ pointer: field.name, detail: "Enter a number, or clear the check box." });
    if (!text) continue;
    if (limit) put(body, field.name, limit.dataset.factor === "1" ? Number(text) : Number((Number(text) * Number(limit.dataset.factor)).toPrecision(12)));
    else if (field.name === "/students") body.students = text.split(/[\s,]+/).map((name) => (name.includes("*") ? { family: name } : name));
    else put(body, field.name, INTEGERS.includes(field.name) && Number.isFinite(Number(text)) ? Number(text) : text);
  }
  if (body.limits?.bytes) body.limits.bytes = Math.round(body.limits.bytes);
  // A device without a limit on latency has no effect.
  if (body.limits && !("latency_ms" in body.limits)) delete body.limits.device;
  if (!LIMITS.some((name) => body.limits?.[name] !== undefined) && !form.querySelector("[data-use]:checked")) faults.push({ pointer: "/limits", at: form.querySelector("[data-use]"), detail: "Choose at least one limit." });
  return { body, faults };
}

/** Shows the candidates that a study would try, with the cost of each from the catalogue. */
function showCandidates({ goal, candidates, rungs, most_epochs: most }) {
  const heading = document.createElement("h2"), list = document.createElement("ul"), costs = document.createElement("p");
  heading.textContent = `${candidates.length} candidate${candidates.length === 1 ? "" : "s"}`;
  costs.className = "quiet";
  costs.textContent = `Goal: ${goal.replace("_", " ")}. At most ${most} epochs of training${rungs.length > 1 ? `, in rungs that end after epochs ${rungs.join(", ")}` : ""}. Each candidate is measured before any is trained.`;
  list.className = "cards";
  for (const { label, parameters, macs } of candidates) {
    const item = document.createElement("li"), about = document.createElement("span");
    about.className = "quiet";
    about.textContent = parameters === null ? "" : ` ${count(parameters)} parameters${macs === null ? "" : `, ${count(macs)} MACs`}`;
    item.append(label, about);
    list.append(item);
  }
  place.replaceChildren(heading, costs, list);
}

const preview = followPreview(form, place, {
  path: "/studies/validate",
  delay: 800,
  read,
  isComplete: (body) => body.teacher && body.dataset,
  show: showCandidates,
});

async function submit(changes) {
  enableButtons(form, false);
  let study = null;
  try {
    const { body, faults } = read();
    study = await send(form, "/studies", { ...body, ...changes }, { faults, validate: "/studies/validate", required: REQUIRED });
  } catch {
    showMessage("The service could not be reached, so the study may not have been submitted. Check the list of studies, then try again.");
  }
  // The buttons stay disabled until the study's page opens: a second click would start another study.
  if (study) location.href = study.links.page;
  else enableButtons(form, true);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit({});
});
form.querySelector("[data-screen]").addEventListener("click", () => submit({ screen_only: true }));

for (const limit of form.querySelectorAll("[data-limit]")) {
  const range = limit.querySelector("[data-range]"), value = limit.querySelector("[data-value]"), use = limit.querySelector("[data-use]");
  const enable = () => { range.disabled = value.disabled = !use.checked; };
  range.addEventListener("input", () => { value.value = range.value; });
  value.addEventListener("input", () => { range.value = value.value; });
  use.addEventListener("change", enable);
  // Going back and reloading restore what was entered after this script has run.
  addEventListener("pageshow", enable);
}

document.getElementById("device").addEventListener("focus", async ({ target }) => {
  const response = await fetch("/devices");
  if (response.ok) target.list.replaceChildren(...(await response.json()).items.map(({ name, cpu }) => new Option(cpu ?? "", name)));
}, { once: true });
suggestNames(form);
acceptFiles(form);
enableSubmit(form);
addEventListener("pageshow", preview);
