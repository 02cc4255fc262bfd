// Sends a file in parts, by tus 1.0: after a connection that broke it goes on where the service stands, and after a
// reload of the page as well.

const PART = 8 * 1024 * 1024, TRIES = 8;
const TUS = { "Tus-Resumable": "1.0.0" };
const pause = (seconds) => new Promise((done) => { setTimeout(done, seconds * 1000); });
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** What a refusal says. */
async function words(answer) {
  const problem = await answer.json().catch(() => null);
  return problem?.detail ?? `HTTP ${answer.status}`;
}

/** The bytes that are there of an upload; null where it is gone. */
async function standing(path) {
  const answer = await fetch(path, { method: "HEAD", headers: TUS, cache: "no-store" });
  return answer.ok ? Number(answer.headers.get("Upload-Offset")) : null;
}

async function begin(file) {
  const answer = await fetch("/uploads", {
    method: "POST",
    headers: { ...TUS, "Upload-Length": file.size, "Upload-Metadata": `filename ${base64(file.name)}` },
  });
  if (!answer.ok) throw new Error(await words(answer));
  return answer.headers.get("Location");
}

/** One part; the new offset, told as it goes by `tell(bytes)`. A request of its own kind, since fetch tells nothing. */
function append(path, blob, offset, tell) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", path);
    for (const [name, value] of Object.entries({ ...TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": offset })) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => tell(offset + event.loaded));
    request.addEventListener("load", () => {
      if (request.status === 204) return done(Number(request.getResponseHeader("Upload-Offset")));
      const problem = new Error(JSON.parse(request.responseText || "{}").detail ?? `HTTP ${request.status}`);
      // Of a wrong offset and a busy service more can be learnt by asking again.
      problem.final = request.status < 500 && ![409, 423, 429].includes(request.status);
      failed(problem);
    });
    request.addEventListener("error", () => failed(new Error("the connection broke")));
    request.send(blob.slice(offset, offset + PART));
  });
}

/** Send `file`; what the service has of it in the end. `tell(bytes)` as they go, `trouble(words)` while it waits to go on. */
export async function upload(file, tell, trouble) {
  const remembered = `upload:${file.name}:${file.size}:${file.lastModified}`;
  let path = localStorage.getItem(remembered), offset = path && await standing(path);
  if (offset === null || !path) {
    path = await begin(file);
    offset = 0;
    localStorage.setItem(remembered, path);
  }
  for (let failures = 0; offset < file.size;) {
    tell(offset);
    try {
      offset = await append(path, file, offset, tell);
      failures = 0;
    } catch (problem) {
      failures += 1;
      if (problem.final || failures === TRIES) throw problem;
      trouble(problem.message);
      await pause(Math.min(0.5 * 2 ** failures, 20));
      const stands = await standing(path).catch(() => offset);
      if (stands === null) throw new Error("the service has given the upload up; choose the file again");
      if (stands > offset) failures = 0;
      offset = stands;
    }
  }
  tell(file.size);
  localStorage.removeItem(remembered);
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await words(answer));
  return answer.json();
}
