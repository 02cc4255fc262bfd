// Resumable upload in parts (tus 1.0). After a lost connection or a reload of the page it resumes at the service's offset.

import { SIGNED_OUT, showSignedOut } from "./live.js";

const PART = 8 * 1024 * 1024, TRIES = 8;
const TUS = { "Tus-Resumable": "1.0.0" };
const pause = (seconds) => new Promise((done) => { setTimeout(done, seconds * 1000); });
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** The problem document in the text of a response; empty if it has none, such as that of a proxy. */
function problemOf(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/** The message of an error response. */
async function errorMessage(response) {
  if (response.status === 401 && showSignedOut(response.status)) return SIGNED_OUT;
  return problemOf(await response.text()).detail ?? `HTTP ${response.status}`;
}

/** An error after which sending the file again would not help. */
const final = (message) => Object.assign(new Error(message), { final: true });

/** The number of bytes that the service has received; null if the upload no longer exists. */
async function currentOffset(path) {
  const response = await fetch(path, { method: "HEAD", headers: TUS, cache: "no-store" });
  if (response.ok) return Number(response.headers.get("Upload-Offset"));
  if (response.status === 404 || response.status === 410) return null;
  throw new Error(response.status === 401 ? SIGNED_OUT : `HTTP ${response.status}`);
}

async function create(file) {
  const response = await fetch("/uploads", {
    method: "POST",
    headers: { ...TUS, "Upload-Length": file.size, "Upload-Metadata": `filename ${base64(file.name)}` },
  });
  if (!response.ok) throw response.status < 500 && response.status !== 429 ? final(await errorMessage(response)) : new Error(await errorMessage(response));
  return response.headers.get("Location");
}

/** Sends one part and returns the new offset. Uses XMLHttpRequest, because fetch reports no upload progress. */
function append(path, blob, offset, onProgress) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", path);
    for (const [name, value] of Object.entries({ ...TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": offset })) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => onProgress(offset + event.loaded));
    request.addEventListener("load", () => {
      if (request.status === 204) return done(Number(request.getResponseHeader("Upload-Offset")));
      const signedOut = request.status === 401 && showSignedOut(request.status);
      const problem = new Error(signedOut ? SIGNED_OUT : problemOf(request.responseText).detail ?? `HTTP ${request.status}`);
      // A wrong offset, a locked upload and a rate limit can be retried.
      problem.final = request.status < 500 && ![409, 423, 429].includes(request.status);
      failed(problem);
    });
    request.addEventListener("error", () => failed(new Error("connection lost")));
    request.send(blob.slice(offset, offset + PART));
  });
}

/** Uploads `file` and returns the upload. Calls `onProgress(bytes)`, and `onRetry(message)` before each retry. */
export async function upload(file, onProgress, onRetry) {
  const key = `upload:${file.name}:${file.size}:${file.lastModified}`;
  let path = localStorage.getItem(key), offset = path && await currentOffset(path);
  if (offset === null || !path) {
    path = await create(file);
    offset = 0;
    localStorage.setItem(key, path);
  }
  for (let failures = 0; offset < file.size;) {
    onProgress(offset);
    try {
      offset = await append(path, file, offset, onProgress);
      failures = 0;
    } catch (problem) {
      failures += 1;
      if (problem.final || failures === TRIES) throw problem;
      onRetry(problem.message);
      await pause(Math.min(0.5 * 2 ** failures, 20));
      const received = await currentOffset(path).catch(() => offset);
      if (received === null) throw new Error("the upload has expired");
      if (received > offset) failures = 0;
      offset = received;
    }
  }
  onProgress(file.size);
  for (;;) {
    const response = await fetch(path, { cache: "no-store" });
    if (!response.ok) throw new Error(await errorMessage(response));
    const uploaded = await response.json();
    if (uploaded.state === "complete") {
      localStorage.removeItem(key);
      return uploaded;
    }
    await pause(0.5);
  }
}
