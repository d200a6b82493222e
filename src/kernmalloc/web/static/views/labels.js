// Names that stand at the ends of lines, instead of a legend.

import { svgNode } from "./textures.js";

const APART = 15;

// Writes texts into a plot at points of its scales: {x, y, text, ink}. They stand right of the points, or, where the
// plot is narrow, above and before them; no two on top of each other.
export function endLabels(plot, labels, narrow) {
  const svg = plot.tagName === "svg" ? plot : plot.querySelector("svg");
  const [x, y] = [plot.scale("x"), plot.scale("y")];
  let floor = Infinity;
  const placed = labels
    .map((label) => ({ ...label, left: x.apply(label.x), top: y.apply(label.y) }))
    .sort((a, b) => b.top - a.top);
  for (const label of placed) {
    floor = Math.min(label.top + (narrow ? -8 : 4), floor);
    if (!narrow) svg.append(leader(label, floor - 4));
    svg.append(
      svgNode(
        "text",
        {
          x: label.left + (narrow ? 0 : 20),
          y: floor,
          "text-anchor": narrow ? "end" : "start",
          class: "chart-label",
          style: `fill: ${label.ink}`,
        },
        label.text,
      ),
    );
    floor -= APART;
  }
}

// The line that leads from the end of a line to its name.
function leader({ left, top, ink }, at) {
  return svgNode("path", { d: `M${left + 2},${top}L${left + 17},${at}`, style: `stroke: ${ink}`, class: "chart-leader" });
}
