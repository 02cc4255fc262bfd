// What the forms of jobs and studies share: fields addressed by JSON pointers, errors next to them, files and names.

import { size } from "./charts/axes.js";
import { SIGNED_OUT, showMessage, showSignedOut } from "./live.js";
import { upload } from "./upload.js";

/** Sets `value` at a JSON pointer of `spec`, creating the objects on the way. */
export function put(spec, pointer, value) {
  const parts = pointer.slice(1).split("/"), last = parts.pop();
  let at = spec;
  for (const part of parts) {
    if (typeof at[part] !== "object" || at[part] === null) at[part] = {};
    at = at[part];
  }
  at[last] = value;
}

/** Sends a request with a JSON body. */
export const post = (path, body) => fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Removes the field at a JSON pointer from `spec`. */
function remove(spec, pointer) {
  const parts = pointer.slice(1).split("/"), last = parts.pop();
  const parent = parts.reduce((at, part) => at?.[part], spec);
  if (Array.isArray(parent)) parent.splice(Number(last), 1);
  else if (typeof parent === "object" && parent !== null) delete parent[last];
}

/** The object in the field *Other fields as JSON*. Without one, adds an error to `faults` and returns an empty object. */
export function otherFields(faults) {
  const field = document.getElementById("rest");
  try {
    const given = JSON.parse(field.value.trim() || "{}");
    if (typeof given !== "object" || given === null || Array.isArray(given)) throw new Error("it must be an object: {…}");
    return given;
  } catch (error) {
    faults.push({ pointer: "", at: field, detail: `Not valid JSON: ${error.message}` });
    return {};
  }
}

const below = (pointer, other) => `${pointer}/`.startsWith(`${other}/`);

/** Removes the invalid fields from `spec`. Sets those of `required`, which maps pointers to values, and returns the pointers of these. */
function mend(spec, errors, required) {
  const replaced = [];
  // The last element of a list first, so that the other pointers stay valid.
  for (const pointer of errors.map((error) => error.pointer).sort((one, other) => other.localeCompare(one, undefined, { numeric: true }))) {
    if (pointer) remove(spec, pointer);
    for (const [at, value] of Object.entries(required)) {
      if (below(at, pointer) && at.slice(1).split("/").reduce((part, name) => part?.[name], spec) === undefined) {
        put(spec, at, value);
        replaced.push(at);
      }
    }
  }
  return replaced;
}

/**
 * Adds to the errors `found` in a spec those that the service would report only after they are corrected: it checks a spec in stages,
 * and a stage starts when the spec passes the ones before it. So the mended spec is validated until no other error appears.
 */
async function allErrors(spec, found, validate, required) {
  const rest = structuredClone(spec), errors = [...found], ignored = found.map(({ pointer }) => pointer);
  for (let last = found, before; before !== JSON.stringify(rest);) {
    before = JSON.stringify(rest);
    ignored.push(...mend(rest, last, required));
    const response = await post(validate, rest);
    if (response.ok) break;
    last = (await response.json()).errors ?? [];
    // An error above or below a mended field may come from the mending.
    const further = last.filter(({ pointer, detail }) => !errors.some((one) => one.detail === detail) && !(pointer && ignored.some((at) => at && (below(at, pointer) || below(pointer, at)))));
    errors.push(...further);
    ignored.push(...further.map(({ pointer }) => pointer));
  }
  return errors;
}

/**
 * Submits a form's spec to `path` and returns the response's body. If there are errors, shows all of them and returns null.
 * `faults` are the errors that the form has found itself; if there are any, nothing is submitted.
 */
export async function send(form, path, spec, { faults = [], validate, required }) {
  clearErrors(form);
  let problem = { errors: faults };
  if (!faults.length) {
    const response = await post(path, spec), body = await response.json();
    const signedOut = showSignedOut(response.status);
    if (response.ok) return body;
    problem = signedOut ? { detail: SIGNED_OUT } : body;
  }
  const found = problem.errors ?? [];
  showErrors(form, { ...problem, errors: found.length ? await allErrors(spec, found, validate, required) : [] });
  return null;
}

/** Removes all errors from a form. */
function clearErrors(form) {
  showMessage("");
  for (const fault of form.querySelectorAll(".fault")) fault.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** The visible field of a JSON pointer: its own, that of the object or list around it, or the first one inside it. */
function fieldAt(form, pointer) {
  const fields = [...form.querySelectorAll("[name]")].filter((field) => !field.closest("[data-method][hidden]"));
  for (let at = pointer; at; at = at.slice(0, at.lastIndexOf("/"))) {
    const field = fields.find(({ name }) => name === at);
    if (field) return field;
  }
  return fields.find(({ name }) => pointer && name.startsWith(`${pointer}/`));
}

/** Shows each error next to its field; all others at the top. */
function showErrors(form, problem) {
  const others = [], shown = new Map();
  for (const { pointer, detail, at } of problem.errors) {
    const field = at ?? fieldAt(form, pointer);
    if (field) shown.set(field, [...(shown.get(field) ?? []), detail]);
    else others.push(pointer ? `${pointer}: ${detail}` : detail);
  }
  for (const [field, details] of shown) {
    const fault = document.createElement("p");
    fault.className = "fault";
    fault.id = `${field.id}-fault`;
    fault.textContent = details.join("\n");
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", `${fault.id} ${field.id}-about`);
    field.closest(".field").append(fault);
    field.closest("details")?.setAttribute("open", "");
  }
  const messages = shown.size ? ["Correct the highlighted fields.", ...others] : others.length ? others : [problem.detail];
  showMessage(messages.join("\n"));
  (form.querySelector("[aria-invalid]") ?? document.getElementById("message")).focus();
}

/** Suggests the project's named teachers and datasets in the fields with data-names. */
export function suggestNames(form) {
  for (const input of form.querySelectorAll("[data-names]")) {
    input.addEventListener("focus", async () => {
      const response = await fetch(`${input.dataset.names}?limit=200`);
      if (!response.ok) return;
      input.list.replaceChildren(...(await response.json()).items.map(({ uri, description }) => new Option(description ?? "", uri.replace(/@\d+$/, ""))));
    }, { once: true });
  }
}

// The last file that was chosen for each field.
const latest = new WeakMap();

/** Uploads a file and enters its URI into the field. Of several files that are uploaded into it at once, the last one is entered. */
async function uploadInto(drop, file) {
  const bar = drop.querySelector("progress"), status = drop.querySelector("[data-upload]"), field = drop.querySelector("[name]");
  const isLatest = () => latest.get(drop) === file;
  latest.set(drop, file);
  const onProgress = (bytes) => {
    if (!isLatest()) return;
    bar.value = bytes / Math.max(file.size, 1);
    status.textContent = `${file.name}: ${size(bytes)} of ${size(file.size)}`;
  };
  bar.hidden = false;
  try {
    const uploaded = await upload(file, onProgress, (why) => { if (isLatest()) status.textContent = `${file.name}: ${why}; resuming at ${(100 * bar.value).toFixed(0)}% shortly`; });
    const isList = field.dataset.kind === "list", others = isList ? field.value.trim() : "";
    if (!isLatest() && !isList) return;
    field.value = others ? `${others} ${uploaded.uri}` : uploaded.uri;
    // The preview follows what is entered by a script, too.
    field.dispatchEvent(new Event("input", { bubbles: true }));
    status.textContent = `${file.name} uploaded: ${size(uploaded.size)}, SHA-256 ${uploaded.sha256.slice(0, 12)}…`;
  } catch (problem) {
    if (!isLatest()) return;
    // Without a response, fetch fails with a TypeError.
    const message = problem instanceof TypeError ? "the service could not be reached" : problem.message.replace(/\.$/, "");
    status.textContent = `${file.name}: ${message}.${problem.final ? "" : " Choose the file again to resume the upload."}`;
  } finally {
    if (isLatest()) bar.hidden = true;
  }
}

/** Uploads what was dropped: one file, or into a list all files, one after the other. */
async function uploadDropped(drop, { files, items }) {
  const status = drop.querySelector("[data-upload]"), isList = drop.querySelector("[name]").dataset.kind === "list";
  if ([...items].some((item) => item.webkitGetAsEntry?.()?.isDirectory)) {
    status.textContent = "Folders cannot be uploaded. Drop a tar or zip archive, or enter the URI of the folder.";
  } else if (files.length > 1 && !isList) {
    status.textContent = `${files.length} files were dropped. Drop one file.`;
  } else {
    for (const file of [...files]) await uploadInto(drop, file);
  }
}

/** Uploads files that are dropped on, or chosen in, the fields with data-drop. */
export function acceptFiles(form) {
  for (const drop of form.querySelectorAll("[data-drop]")) {
    drop.querySelector("[data-file]").addEventListener("change", ({ target }) => {
      const [file] = target.files;
      // Without this, choosing the same file again would be no change.
      target.value = "";
      if (file) uploadInto(drop, file);
    });
    drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      uploadDropped(drop, event.dataTransfer);
    });
  }
}

/**
 * Shows what `path` answers about the entries of a form while it is filled in. Errors wait for the buttons, because fields
 * are still incomplete. `isComplete(body)` returns whether the entries can be sent. Returns a function that updates it.
 */
export function followPreview(form, place, { path, delay, read, isComplete, show }) {
  let typed;
  async function update() {
    const sent = (typed = Symbol(path));
    await new Promise((done) => { setTimeout(done, delay); });
    const { body, faults } = read();
    if (sent !== typed) return;
    if (faults.length || !isComplete(body)) {
      // A preview of earlier entries would be taken for that of these.
      if (place.querySelector("h2")) showIncomplete(place);
      return;
    }
    const response = await post(path, body).catch(() => null);
    if (sent !== typed) return;
    if (response?.ok) show(await response.json());
    else if (response?.status === 422) showIncomplete(place);
  }
  form.addEventListener("input", update);
  return update;
}

/** Says in a form's preview that the entries are no valid spec, in place of what it shows for earlier ones. */
function showIncomplete(place) {
  const text = document.createElement("p");
  text.className = "quiet";
  text.textContent = "Some fields are missing or not valid yet. The buttons below the form show which.";
  place.replaceChildren(text);
}

/** Enables or disables the buttons below a form. */
export function enableButtons(form, enabled) {
  for (const button of form.querySelectorAll(".actions > button")) button.disabled = !enabled;
}

/** Enables the buttons: *Submit* is disabled until this script handles the form, and again when the browser goes back to a submitted form. */
export function enableSubmit(form) {
  enableButtons(form, true);
  addEventListener("pageshow", () => enableButtons(form, true));
}
