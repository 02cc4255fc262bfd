// What a person without a mouse, without colours or on a small screen would trip over; a list of sentences.
(() => {
  const faults = [];
  const visible = (node) => node.checkVisibility({ visibilityProperty: true });
  const named = (node) =>
    (node.getAttribute("aria-label") ?? "").trim() || (node.labels && [...node.labels].some((label) => label.textContent.trim())) ||
    node.getAttribute("aria-labelledby") || (["A", "BUTTON", "SUMMARY"].includes(node.tagName) && node.textContent.trim());
  for (const node of document.querySelectorAll("a[href], button, summary, input:not([type=hidden]), select, textarea, progress")) {
    if (visible(node) && !named(node)) faults.push(`no name: ${node.outerHTML.slice(0, 120)}`);
  }
  for (const image of document.querySelectorAll("img:not([alt]), svg[role=img]:not([aria-label])")) faults.push(`no text: ${image.outerHTML.slice(0, 80)}`);
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of new Set(ids)) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`id twice: ${id}`);
  for (const node of document.querySelectorAll("[aria-describedby]")) {
    for (const id of node.getAttribute("aria-describedby").split(" ")) if (!document.getElementById(id)) faults.push(`describes nothing: ${id}`);
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  if (!document.documentElement.lang || !document.title) faults.push("no language or title");
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`wider than the screen: ${document.documentElement.scrollWidth}`);

  const parse = (colour) => { const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number); return { r, g, b, a }; };
  const luminance = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((part) => { const c = part / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.a === 1) return colour;
    }
    return { r: 255, g: 255, b: 255 };
  };
  const poor = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !visible(node) || node.closest("svg, [aria-hidden], option, :disabled")) continue;
    const [one, two] = [luminance(parse(getComputedStyle(node).color)), luminance(ground(node))];
    const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (contrast < 4.5) poor.add(`contrast ${contrast.toFixed(2)}: ${node.tagName.toLowerCase()}.${node.className}`);
  }
  return [...faults, ...poor];
})()
