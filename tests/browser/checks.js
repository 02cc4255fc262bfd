// Checks that axe does not make. Evaluates to a list of messages.
(() => {
  const messages = [];
  if (document.querySelectorAll("h1").length !== 1) messages.push("not exactly one h1");
  if (document.documentElement.scrollWidth > innerWidth) messages.push(`wider than the viewport: ${document.documentElement.scrollWidth}`);
  return messages;
})()
