import { request } from "../live.js";

const form = document.querySelector("form"), button = form.querySelector("button");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  const answer = await request("POST", "/sign-in/key", Object.fromEntries(new FormData(form)));
  button.disabled = false;
  if (answer) location.assign(form.dataset.next);
});

button.disabled = false;
