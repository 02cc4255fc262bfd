// What the forms of jobs and studies share: fields addressed by JSON pointers, errors next to them, files and names.

import { size } from "./charts/axes.js";
import { showMessage } from "./live.js";
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

/** Removes all errors from a form. */
export function clearErrors(form) {
  showMessage("");
  for (const fault of form.querySelectorAll(".fault")) fault.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Shows each error next to its field, or next to the first field below its pointer; all others at the top. */
export function showErrors(form, problem) {
  const others = [];
  let first = null;
  for (const { pointer, detail } of problem.errors ?? []) {
    const visible = (at) => [...form.querySelectorAll(`[name="${CSS.escape(at)}"]`)].find((field) => !field.closest("[data-method][hidden]"));
    const field = visible(pointer) ?? visible(pointer.replace(/\/\d+$/, "")) ?? [...form.querySelectorAll("[name]")].find((other) => pointer && other.name.startsWith(`${pointer}/`) && !other.closest("[data-method][hidden]"));
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
  const messages = first ? ["Correct the highlighted fields.", ...others] : others.length ? others : [problem.detail];
  showMessage(messages.join("\n"));
  (first ?? document.getElementById("message")).focus();
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

/** Uploads a file and enters its URI into the field. */
async function uploadInto(drop, file) {
  const bar = drop.querySelector("progress"), status = drop.querySelector("[data-upload]"), field = drop.querySelector("[name]");
  const onProgress = (bytes) => {
    bar.value = bytes / Math.max(file.size, 1);
    status.textContent = `${file.name}: ${size(bytes)} of ${size(file.size)}`;
  };
  bar.hidden = false;
  try {
    const uploaded = await upload(file, onProgress, (why) => { status.textContent = `${file.name}: ${why}; resuming at ${(100 * bar.value).toFixed(0)}% shortly`; });
    const others = field.dataset.kind === "list" ? field.value.trim() : "";
    field.value = others ? `${others} ${uploaded.uri}` : uploaded.uri;
    status.textContent = `${file.name} uploaded: ${size(uploaded.size)}, SHA-256 ${uploaded.sha256.slice(0, 12)}…`;
  } catch (problem) {
    status.textContent = `${file.name}: ${problem.message}. Choose the file again to resume the upload.`;
  } finally {
    bar.hidden = true;
  }
}

/** Uploads files that are dropped on, or chosen in, the fields with data-drop. */
export function acceptFiles(form) {
  for (const drop of form.querySelectorAll("[data-drop]")) {
    drop.querySelector("[data-file]").addEventListener("change", ({ target }) => { if (target.files.length) uploadInto(drop, target.files[0]); });
    drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      if (event.dataTransfer.files.length) uploadInto(drop, event.dataTransfer.files[0]);
    });
  }
}

/** Enables the submit button. It is disabled until the script handles the form. */
export function enableSubmit(form) {
  form.querySelector("button.primary").disabled = false;
}
