// The header's menu of the person who signed in: the selected project, and the sign-out.

async function send(path, body) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  // The session has ended: the page asks to sign in.
  if (response.status === 401) location.assign("/sign-in");
  return response;
}

const choice = document.getElementById("project");
if (choice) {
  // The project is that of the session, so other tabs show, and would change, another project than the selected one.
  const tabs = new BroadcastChannel("project"), notice = document.getElementById("other-project"), own = choice.value;
  const follow = (project) => {
    const differs = project !== own;
    notice.hidden = !differs;
    document.querySelector("main").inert = differs;
    notice.querySelector("[data-selected]").textContent = project;
  };
  const select = async (project) => {
    const response = await send("/session/project", { project });
    if (response.ok) tabs.postMessage(project);
    return response.ok;
  };
  tabs.addEventListener("message", ({ data }) => follow(data));
  notice.querySelector("button").addEventListener("click", async () => { if (await select(own)) follow(own); });
  choice.addEventListener("change", async () => {
    // What the page shows belongs to the other project.
    if (await select(choice.value)) location.assign("/");
  });
}

document.getElementById("sign-out").addEventListener("click", async () => {
  const response = await send("/sign-out", {});
  if (response.ok) location.assign((await response.json()).location);
});
