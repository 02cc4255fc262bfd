// Filters apply as soon as they are changed. Without scripts, the button applies them.
const form = document.querySelector("#images form");
form?.addEventListener("change", () => form.requestSubmit());
