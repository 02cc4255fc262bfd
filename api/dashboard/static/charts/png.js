// Paints an SVG chart on a canvas.

const SCALE = 2, MARGIN = 16, LINE = 18;

/**
 * A PNG image of an SVG chart with its title and a legend of `{text, color}`. The elements are painted one by one, because the
 * content security policy blocks the usual way, an image element with the SVG text as its source.
 */
export function image(svg, title, legend) {
  const { width, height } = svg.viewBox.baseVal, style = getComputedStyle(document.body);
  const canvas = document.createElement("canvas");
  canvas.width = (width + 2 * MARGIN) * SCALE;
  canvas.height = (height + 2 * MARGIN + (1 + legend.length) * LINE) * SCALE;
  const context = canvas.getContext("2d");
  context.scale(SCALE, SCALE);
  context.fillStyle = getComputedStyle(svg.closest("figure")).backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.translate(MARGIN, MARGIN);
  context.fillStyle = style.color;
  context.font = `600 13px ${style.fontFamily}`;
  context.fillText(title, 0, 10);
  context.save();
  context.translate(0, LINE);
  paint(context, svg);
  context.restore();
  context.font = `12px ${style.fontFamily}`;
  legend.forEach(({ text, color }, i) => {
    const y = LINE + height + (i + 1) * LINE - 6;
    context.fillStyle = color;
    context.fillRect(0, y - 5, 16, 3);
    context.fillStyle = style.color;
    context.fillText(text, 22, y);
  });
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

/** Paints the elements that the charts use, with their computed styles. */
function paint(context, parent) {
  for (const node of parent.children) {
    const style = getComputedStyle(node);
    if (style.visibility === "hidden" || node.tagName === "clipPath") continue;
    context.save();
    context.globalAlpha *= Number(style.opacity);
    if (node.tagName === "g") {
      clip(context, node);
      paint(context, node);
    } else if (node.tagName === "text") paintText(context, node, style);
    else {
      const path = outline(node);
      if (path) fillAndStroke(context, path, style);
    }
    context.restore();
  }
}

function clip(context, group) {
  const id = /#([^)"]+)/.exec(group.getAttribute("clip-path") ?? "")?.[1];
  if (id) context.clip(outline(document.getElementById(id).firstElementChild));
}

function outline(node) {
  const path = new Path2D(), number = (name) => Number(node.getAttribute(name));
  if (node.tagName === "line") {
    path.moveTo(number("x1"), number("y1"));
    path.lineTo(number("x2"), number("y2"));
  } else if (node.tagName === "rect") path.rect(number("x"), number("y"), number("width"), number("height"));
  else if (node.tagName === "circle") path.arc(number("cx"), number("cy"), number("r"), 0, 2 * Math.PI);
  else if (node.tagName === "polyline") {
    for (const point of node.getAttribute("points").split(" ")) path.lineTo(...point.split(",").map(Number));
  } else return null;
  return path;
}

function fillAndStroke(context, path, style) {
  const alpha = context.globalAlpha;
  if (style.fill !== "none") {
    context.globalAlpha = alpha * Number(style.fillOpacity);
    context.fillStyle = style.fill;
    context.fill(path);
  }
  if (style.stroke === "none") return;
  context.globalAlpha = alpha * Number(style.strokeOpacity);
  context.strokeStyle = style.stroke;
  context.lineWidth = parseFloat(style.strokeWidth);
  context.lineJoin = context.lineCap = "round";
  context.setLineDash(style.strokeDasharray === "none" ? [] : style.strokeDasharray.split(",").map(parseFloat));
  context.stroke(path);
}

function paintText(context, node, style) {
  context.font = `${style.fontSize} ${style.fontFamily}`;
  context.textAlign = { middle: "center", end: "right" }[style.textAnchor] ?? "left";
  const at = [node.textContent, Number(node.getAttribute("x")), Number(node.getAttribute("y"))];
  if (style.stroke !== "none") {
    context.strokeStyle = style.stroke;
    context.lineWidth = parseFloat(style.strokeWidth);
    context.lineJoin = "round";
    context.strokeText(...at);
  }
  context.fillStyle = style.fill;
  context.fillText(...at);
}
