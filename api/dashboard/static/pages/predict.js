// Classifies an image that is dropped, chosen, or picked from the gallery, with the models of a job.

const SVG = "http://www.w3.org/2000/svg";
const SIDE = 96, BAR = 120;
const TITLES = { student: "Student", student_fp16: "Student, float16", student_int8: "Student, int8", teacher: "Teacher" };
const zone = document.getElementById("predict");
const input = zone.querySelector("input");
const status = zone.querySelector("[data-status]");
const canvas = zone.querySelector("canvas");
const answers = zone.querySelector("[data-answers]");
let latest = 0;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function bar(share) {
  const svg = document.createElementNS(SVG, "svg"), rect = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ class: "bar", width: BAR, height: 10, "aria-hidden": "true" })) svg.setAttribute(name, value);
  rect.setAttribute("width", Math.max(BAR * share, 1));
  rect.setAttribute("height", 10);
  svg.append(rect);
  return svg;
}

/** A table of the most probable classes of one model. */
function table({ model, file, top, latency_ms: ms, runs }) {
  const made = element("table");
  const caption = element("caption", TITLES[model] ?? model);
  caption.append(" ", element("span", `${Number(ms.toPrecision(3))} ms`, "quiet"));
  caption.title = `${file}: median of ${runs} runs in ONNX Runtime on one thread of the service`;
  made.append(caption);
  const body = made.createTBody();
  for (const { name, probability } of top) {
    const row = body.insertRow();
    const head = element("th", name);
    head.scope = "row";
    row.append(head);
    row.insertCell().append(bar(probability));
    row.append(element("td", `${(100 * probability).toFixed(1)}%`, "number"));
  }
  return made;
}

/** Shows the center square. A canvas, because the content security policy blocks images from memory. */
async function preview(blob) {
  canvas.hidden = true;
  try {
    const image = await createImageBitmap(blob);
    const side = Math.min(image.width, image.height);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = side > SIDE / 2;
    context.clearRect(0, 0, SIDE, SIDE);
    context.drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
    canvas.hidden = false;
  } catch {
    // The browser cannot show every format that the service reads.
  }
}

/** Predicts an image. `side` is given for a thumbnail that is smaller than its original. */
async function predict(blob, side) {
  const request = ++latest;
  status.textContent = "Running the models …";
  answers.replaceChildren();
  zone.setAttribute("aria-busy", "true");
  await preview(blob);
  try {
    const response = await fetch(zone.dataset.predict, { method: "POST", body: blob, headers: { "Content-Type": blob.type || "application/octet-stream" } });
    const answer = await response.json();
    if (request !== latest) return;
    if (!response.ok) throw new Error(answer.detail);
    const [student] = answer.models;
    const from = side ? ` The image is the report's thumbnail of ${side} × ${side} pixels, so the probabilities differ from those of the evaluation.` : "";
    status.textContent = `${TITLES[student.model] ?? student.model}: ${student.top[0].name}.${from}`;
    answers.replaceChildren(...answer.models.map(table));
  } catch (error) {
    if (request === latest) status.textContent = `The image was not classified: ${error.message}`;
  } finally {
    if (request === latest) zone.removeAttribute("aria-busy");
  }
}

input.addEventListener("change", () => {
  if (input.files.length) predict(input.files[0]);
  input.value = "";
});
zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
zone.addEventListener("dragleave", (event) => { if (!zone.contains(event.relatedTarget)) zone.classList.remove("over"); });
zone.addEventListener("drop", (event) => {
  event.preventDefault();
  zone.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) predict(file);
});
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-image]");
  if (!button) return;
  const response = await fetch(button.dataset.image);
  if (!response.ok) return;
  zone.scrollIntoView({ block: "nearest" });
  predict(await response.blob(), button.dataset.approximate);
});
