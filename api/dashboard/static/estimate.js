// Shows the result of a dry run: the models, and the time, memory and disk space of the most recent similar job.

import { count, size } from "./charts/axes.js";
import { duration } from "./live.js";

/** A compression ratio, teacher over student: "3.1× smaller" above 1, "larger" below. */
function compression(ratio) {
  const text = ratio < 9.95 ? ratio.toFixed(1) : Math.round(ratio).toLocaleString("en");
  if (text === "1.0") return "same size";
  return ratio > 1 ? `${text}× smaller` : "larger";
}

function put(parent, name, text = "", className = "") {
  const node = document.createElement(name);
  node.textContent = text;
  if (className) node.className = className;
  parent.append(node);
  return node;
}

/** Shows the response of POST /jobs/validate in `place`. */
export function showEstimate(place, result) {
  place.replaceChildren();
  put(place, "h2", "The spec is valid");
  const list = put(place, "dl", "", "models");
  const large = result.teachers.reduce((sum, { parameters }) => sum + (parameters ?? NaN), 0);
  for (const [role, model] of [...result.teachers.map((model) => ["Teacher", model]), ["Student", result.student]]) {
    const { architecture, parameters, macs } = model, about = put(list, "div");
    put(about, "dt", role);
    const ratio = role === "Student" && large > 0 && parameters ? compression(large / parameters) : null;
    const facts = [parameters !== null && `${count(parameters)} parameters`, macs !== null && `${count(macs)} MACs`, ratio].filter(Boolean);
    const text = put(about, "dd", architecture);
    if (facts.length) put(text, "p", facts.join(", "), "about");
  }
  if (result.teacher_store_bytes_per_image !== null) put(place, "p", `The teacher store takes ${size(result.teacher_store_bytes_per_image)} per view of an image.`, "about");
  const { similar_job: similar, seconds, memory_bytes: memory, disk_bytes: disk } = result;
  if (!similar) return void put(place, "p", "No similar job has succeeded yet, so time and memory are unknown. The job page shows an estimate before the first training step.", "about");
  const parts = [seconds != null && duration(seconds), memory != null && `${size(memory)} of memory`, disk != null && `${size(disk)} of disk`].filter(Boolean);
  const line = put(place, "p", `About ${parts.join(", ")}, based on `);
  put(line, "a", "a similar job").href = `/ui/jobs/${similar}`;
  line.append(".");
}
