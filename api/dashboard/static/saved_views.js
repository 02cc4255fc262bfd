// The menu of saved views: saves the address of the page under a name, and deletes views.

import { fetchPage, request } from "./live.js";

/** Shows the current views; the menu stays open. */
async function update() {
  const menu = document.getElementById("views"), fresh = await fetchPage();
  menu.querySelector("div").replaceWith(document.adoptNode(fresh.querySelector("#views > div")));
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-save]");
  if (!form) return;
  event.preventDefault();
  const name = new FormData(form).get("name").trim();
  if (await request("PUT", form.dataset.save + encodeURIComponent(name), { query: location.search.slice(1) })) await update();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-delete-view]");
  if (button && (await request("DELETE", button.dataset.deleteView))) await update();
});
