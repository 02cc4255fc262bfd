import { every, refresh, request } from "../live.js";

const shown = document.getElementById("inspection");

function line(text) {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}

/** What an inspection found, as sentences. */
function sentences({ kind, problem, parameters, architecture, pruned, candidates, onnx, checkpoint_keys: keys }) {
  if (problem) return [problem];
  const found = [`${kind === "archive" ? "An archive, such as a dataset" : `A file of kind ${kind}`}${parameters ? ` with ${parameters.toLocaleString()} parameters` : ""}${architecture ? `, ${pruned ? "pruned from " : ""}${architecture}` : ""}.`];
  if (keys.length) found.push(`It has several models. This is ${keys[0]}; teacher.checkpoint_key selects another: ${keys.slice(1).join(", ")}.`);
  for (const each of candidates.slice(0, 5)) {
    found.push(`${each.architecture}: ${(each.score * 100).toFixed(1)}% of the tensors match${each.num_classes ? `, ${each.num_classes} classes` : ""}${each.loads ? `; loads${each.key_map ? " with the proposed key map" : ""}` : `; ${each.missing_count} missing, ${each.unexpected_count} unexpected, ${each.mismatched_count} of another shape`}.`);
  }
  if (onnx) found.push(`Input ${onnx.input} (${onnx.layout}${onnx.image_size ? `, ${onnx.image_size} pixels` : ""}), output ${onnx.output}${onnx.num_classes ? `, ${onnx.num_classes} classes` : ""}.`);
  return found;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-inspect]");
  if (!button) return;
  button.disabled = true;
  const answer = await request("POST", button.dataset.inspect);
  button.disabled = false;
  if (!answer) return;
  const heading = document.createElement("h2");
  heading.textContent = button.getAttribute("aria-label").replace("Inspect ", "");
  shown.replaceChildren(heading, ...sentences(answer.body).map(line));
  shown.hidden = false;
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-delete]");
  if (!button || !confirm(`${button.getAttribute("aria-label")}? This cannot be undone.`)) return;
  if (!(await request("DELETE", button.dataset.delete))) return;
  button.blur();
  await refresh();
});

every(5, refresh);
