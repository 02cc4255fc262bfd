// The header's menu of the person who signed in: the selected project, and the sign-out.

async function send(path, body) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  // The session has ended: the page asks to sign in.
  if (response.status === 401) location.assign("/sign-in");
  return response;
}

document.getElementById("project")?.addEventListener("change", async ({ target }) => {
  const response = await send("/session/project", { project: target.value });
  // What the page shows belongs to the other project.
  if (response.ok) location.assign("/");
});

document.getElementById("sign-out").addEventListener("click", async () => {
  const response = await send("/sign-out", {});
  if (response.ok) location.assign((await response.json()).location);
});
