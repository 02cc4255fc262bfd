// What a dry run says, for people: the models beside one another, and what the job would take.

import { count, size } from "./axes.js";
import { duration } from "./live.js";

function put(parent, name, text = "", className = "") {
  const node = document.createElement(name);
  node.textContent = text;
  if (className) node.className = className;
  parent.append(node);
  return node;
}

/** Show the answer of POST /jobs/validate in `place`. */
export function showEstimate(place, told) {
  place.replaceChildren();
  put(place, "h2", "This job can run");
  const table = put(place, "table"), head = put(put(table, "thead"), "tr"), body = put(table, "tbody");
  for (const [title, kind] of [["", ""], ["Architecture", ""], ["Parameters", "number"], ["MACs", "number"], ["Smaller", "number"]]) put(head, "th", title, kind).scope = "col";
  const large = told.teachers.reduce((sum, { parameters }) => sum + (parameters ?? NaN), 0);
  for (const [role, model] of [...told.teachers.map((model) => ["Teacher", model]), ["Student", told.student]]) {
    const row = put(body, "tr");
    put(row, "th", role).scope = "row";
    put(row, "td", model.architecture);
    put(row, "td", model.parameters === null ? "–" : count(model.parameters), "number");
    put(row, "td", model.macs === null ? "–" : count(model.macs), "number");
    put(row, "td", role === "Student" && large > 0 && model.parameters ? `${(large / model.parameters).toPrecision(3)}×` : "", "number");
  }
  if (told.teacher_store_bytes_per_image !== null) put(place, "p", `Kept answers of the teacher take ${size(told.teacher_store_bytes_per_image)} for each view of an image.`, "about");
  const { like, seconds, memory_bytes: memory, disk_bytes: disk } = told;
  if (!like) return void put(place, "p", "No job of this kind has succeeded yet: time and memory are measured before the first step, and stand on the job's page then.", "about");
  const parts = [seconds != null && duration(seconds), memory != null && `${size(memory)} of memory`, disk != null && `${size(disk)} of disk`].filter(Boolean);
  const line = put(place, "p", `About ${parts.join(", ")}, as `);
  put(line, "a", "a job like it").href = `/ui/jobs/${like}`;
  line.append(" took.");
}
