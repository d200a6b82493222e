// The frames of RAM at a moment: a cell for a run of them, drawn as the type that most of them are of.

import { build, fitted, headed } from "./dom.js";
import { grouped, percent, several } from "./figures.js";
import { svgNode, texture } from "./textures.js";
import { unpack } from "../unpack.js";

const TYPE_FILLS = { heap: 0, mapping: 1, page: 2, dma: 3, device: 4, reserved: 6 };
const LEAST = 5; // pixels of a cell

// {element, show(at): the map at a moment of the samples, or the last one taken before it}.
export function frameMap({ map, columns, unit }) {
  const done = columns.done.values;
  if (!map.moments.length) return { element: build("p", {}, "No map of the frames was taken."), show: () => {} };
  const legend = map.types.map((type) => ({ type, said: build("b", {}) }));
  const when = build("p", {});
  const says = build("output", { class: "chart-says" }, "Point at a cell, or move over the cells by the arrow keys.");
  let [cells, taken, marked, across] = [null, 0, 0, 1];
  const paths = new Map();
  const mark = svgNode("rect", { class: "chart-mark" });

  const drawing = fitted({ class: "chart-drawing chart-map" }, (width) => {
    across = Math.max(Math.min(64, Math.floor(width / LEAST)), 1);
    const size = Math.min(Math.floor(width / across), 12);
    const height = Math.ceil(map.cells / across) * size;
    const svg = svgNode("svg", { width: across * size, height, tabindex: 0, role: "img", "aria-label": spoken() });
    for (const type of map.types) {
      const path = svgNode("path", type in TYPE_FILLS ? { fill: texture(TYPE_FILLS[type]) } : { class: "chart-free" });
      paths.set(type, path);
      svg.append(path);
    }
    svg.append(mark);
    for (const [name, value] of Object.entries({ width: size, height: size })) mark.setAttribute(name, value);
    svg.addEventListener("pointermove", (event) => {
      const [x, y] = d3.pointer(event, svg);
      tell(Math.floor(y / size) * across + Math.floor(x / size), size);
    });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
      if (!step) return;
      event.preventDefault();
      tell(marked + step, size);
    });
    paint(size);
    drawing.size = size;
    return svg;
  });

  function spoken() {
    return `Map of the frames: ${several(map.cells, "cell")} of ${several(map.frames_per_cell, "frame")}`;
  }

  // The cells of each type, as one path; the area of a cell is the share of its frames that are of the type.
  function paint(size) {
    if (!cells) return;
    const lines = new Map(map.types.map((type) => [type, []]));
    const start = taken * map.cells;
    for (let cell = 0; cell < map.cells; cell++) {
      const side = Math.max((size - 0.5) * Math.sqrt(cells.shares[start + cell] / 255), 1).toFixed(1);
      const inset = (size - side) / 2;
      const [x, y] = [(cell % across) * size + inset, Math.floor(cell / across) * size + inset];
      lines.get(map.types[cells.dominant[start + cell]]).push(`M${x},${y}h${side}v${side}h-${side}z`);
    }
    for (const [type, path] of paths) path.setAttribute("d", lines.get(type).join(""));
  }

  function tell(cell, size) {
    if (!cells || cell < 0 || cell >= map.cells) return;
    marked = cell;
    mark.setAttribute("x", (cell % across) * size);
    mark.setAttribute("y", Math.floor(cell / across) * size);
    mark.classList.add("shown");
    const [type, share] = [cells.dominant, cells.shares].map((each) => each[taken * map.cells + cell]);
    says.textContent = `Cell ${cell}, ${place(map, cell)}: ${percent(share / 255)} ${map.types[type]}.`;
  }

  unpacked(map).then((found) => {
    cells = found;
    paint(drawing.size ?? LEAST);
  });

  return {
    element: headed(
      "Frames at the moment",
      when,
      drawing,
      says,
      build(
        "ul",
        { class: "chart-legend" },
        legend.map(({ type, said }) => build("li", {}, mapSwatch(type), ` ${type} `, said)),
      ),
      build("p", {}, ranges(map)),
    ),
    show(at) {
      const found = Math.max(d3.bisectRight(map.moments, at) - 1, 0);
      when.textContent = `Map taken at ${grouped(done[map.moments[found]])} ${unit}; frames by type at ${grouped(done[at])}:`;
      for (const { type, said } of legend) said.textContent = grouped(columns[`frames_${type}`].values[at]);
      if (found === taken && at !== 0) return;
      taken = found;
      if (drawing.size) paint(drawing.size);
      if (mark.classList.contains("shown")) tell(marked, drawing.size);
    },
  };
}

function mapSwatch(type) {
  const svg = svgNode("svg", { width: 14, height: 14, class: "chart-swatch", "aria-hidden": "true" });
  svg.append(svgNode("rect", { width: 14, height: 14, ...(type in TYPE_FILLS ? { fill: texture(TYPE_FILLS[type]) } : { class: "chart-free" }) }));
  return svg;
}

function ranges(map) {
  const told = map.spans.map(([pfn, frames]) => `${hexadecimal(pfn)}-${hexadecimal(pfn + frames - 1)}`);
  return (
    `A cell is ${several(map.frames_per_cell, "frame")} of RAM, drawn as the type of most of them; the larger its square, ` +
    `the more of them. Cells follow each other through the ranges of RAM, by frame number: ${told.join(", ")}.`
  );
}

function hexadecimal(pfn) {
  return pfn.toString(16);
}

// Frame numbers of a cell: cells run through the ranges of RAM, one behind the other.
function place(map, cell) {
  let [first, left] = [cell * map.frames_per_cell, map.frames_per_cell];
  const found = [];
  for (const [pfn, frames] of map.spans) {
    if (first < frames && left > 0) {
      const count = Math.min(left, frames - first);
      found.push(`${hexadecimal(pfn + first)}-${hexadecimal(pfn + first + count - 1)}`);
      left -= count;
    }
    first = Math.max(first - frames, 0);
  }
  return `frames ${found.join(" and ")}`;
}

// The cells of all maps: {dominant, shares}, arrays of bytes, map by map.
async function unpacked(map) {
  const bytes = await unpack(map.data);
  const half = map.moments.length * map.cells;
  return { dominant: bytes.subarray(0, half), shares: bytes.subarray(half) };
}
