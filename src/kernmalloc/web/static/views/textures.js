// Fills that are told apart without colour: each is a colour of the page's and a texture of its own.

const NAMESPACE = "http://www.w3.org/2000/svg";
const LINES = [
  "",
  "M-1,1 l2,-2 M0,8 l8,-8 M7,9 l2,-2",
  "M4,3 a1,1 0 1,0 0.01,0 z",
  "M-1,7 l2,2 M0,0 l8,8 M7,-1 l2,2",
  "M0,4 h8",
  "M4,0 v8",
  "M0,4 h8 M4,0 v8",
  "M0,8 l8,-8 M0,0 l8,8",
];
const DASHES = ["", "6 3", "2 2", "10 3 2 3", "1 4", "12 4"];

// The nth fill, for the attribute of that name; there are eight.
export function texture(number) {
  if (!document.getElementById("chart-texture-0")) document.body.append(patterns());
  return `url(#chart-texture-${number % LINES.length})`;
}

// The nth colour of lines and text.
export function ink(number) {
  return `var(--chart-${number % LINES.length})`;
}

// The nth dash pattern of lines, for stroke-dasharray; there are six, the first of which is whole.
export function dash(number) {
  return DASHES[number % DASHES.length];
}

function patterns() {
  const svg = svgNode("svg", { width: 0, height: 0, class: "chart-textures", "aria-hidden": "true" });
  LINES.forEach((line, number) => {
    const pattern = svgNode("pattern", {
      id: `chart-texture-${number}`,
      width: 8,
      height: 8,
      patternUnits: "userSpaceOnUse",
    });
    pattern.append(svgNode("rect", { width: 8, height: 8, fill: ink(number) }));
    pattern.append(svgNode("path", { d: line, fill: "none", stroke: "var(--chart-ground)", "stroke-width": 1.2 }));
    svg.append(pattern);
  });
  return svg;
}

// An SVG element with attributes and children.
export function svgNode(tag, attributes, ...children) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// A square that shows the nth fill, for legends and tables.
export function swatch(number) {
  const svg = svgNode("svg", { width: 14, height: 14, class: "chart-swatch", "aria-hidden": "true" });
  svg.append(svgNode("rect", { width: 14, height: 14, fill: texture(number) }));
  return svg;
}
