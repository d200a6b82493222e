// Physical memory and the kernel's window, one above the other, and how the heap's pages lead from one to the other.

import { sizeText } from "./figures.js";
import { build, fitted, headed } from "./dom.js";
import { hex, recordRows } from "./kernel_text.js";
import { svgNode, swatch, texture } from "./textures.js";

const FILLS = { heap: 0, mapping: 1, page: 2, dma: 3, device: 4, carved: 5, reserved: 6, firmware: 6, unlisted: 7 };
const [TOP, HIGH, GAP, PAD] = [18, 56, 74, 18];
const SMALLEST = 3; // pixels of a segment

export function memoryMap(page) {
  const told = page.data;
  const types = [...told.types, "unlisted", "unknown"];
  let [scale, marked, boxes] = ["even", 0, []];
  const legend = build("ul", { class: "chart-legend" });
  const says = build("output", { class: "chart-says" }, "Point at the map, or move over it by the arrow keys.");
  const record = build("div", { class: "record" });
  const choice = ["even", "to scale"].map((name) =>
    build("label", {}, build("input", { type: "radio", name: "scale", value: name, checked: name === scale, change: () => ((scale = name), drawing.again()) }), ` ${name}`),
  );
  const mark = svgNode("rect", { class: "chart-mark", y: TOP - 2, height: HIGH + 4 });

  const drawing = fitted({ class: "chart-drawing memory-map" }, (width) => {
    const state = page.state;
    if (!state) return [];
    const svg = svgNode("svg", { width, height: TOP + 2 * HIGH + GAP + PAD + 14, tabindex: 0, role: "group", "aria-label": "Physical memory above, the kernel's window below" });
    const places = placed(told.segments, scale, width);
    boxes = physical(svg, state, places);
    const window_ = windowPlaces(told.window, width);
    drawWindow(svg, window_);
    drawRuns(svg, state.runs, places, window_);
    drawDonation(svg, state.kern, places);
    svg.append(mark);
    svg.addEventListener("pointermove", (event) => {
      const [x, y] = d3.pointer(event, svg);
      if (y > TOP + HIGH) return;
      const found = boxes.findIndex((box) => x >= box.x && x < box.x + box.width);
      if (found >= 0) tell(found);
    });
    svg.addEventListener("click", () => decode(boxes[marked]));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (event.key === "Enter") decode(boxes[marked]);
      if (!step) return;
      event.preventDefault();
      tell(Math.min(Math.max(marked + step, 0), boxes.length - 1));
    });
    return svg;
  });

  // The physical map: a box for each cell of RAM and for each other segment. In a box of RAM each type has its share.
  function physical(svg, state, places) {
    const found = [];
    svg.append(svgNode("text", { x: 0, y: 12, class: "chart-text" }, "Physical memory"));
    told.segments.forEach((segment, at) => {
      const { x, width } = places[at];
      if (segment.kind !== "ram") {
        svg.append(svgNode("rect", { x, y: TOP, width, height: HIGH, ...fill(segment.kind) }));
        found.push({ x, width, segment, first: segment.first, frames: segment.frames, counts: null });
        return;
      }
      const cells = state.cells[at];
      const each = width / cells.length;
      cells.forEach((cell, number) => {
        let y = TOP;
        const box = { x: x + number * each, width: each, segment, ...cell };
        cell.counts.forEach((frames, type) => {
          if (!frames) return;
          const height = (HIGH * frames) / cell.frames;
          svg.append(svgNode("rect", { x: box.x, y, width: each + 0.3, height, ...fill(types[type]) }));
          y += height;
        });
        found.push(box);
      });
      svg.append(svgNode("rect", { x, y: TOP, width, height: HIGH, class: "outline" }));
    });
    return found;
  }

  function drawWindow(svg, places) {
    const y = TOP + HIGH + GAP;
    places.forEach(({ name, start, bytes, x, width }, number) => {
      const part = svgNode("rect", { x, y, width, height: HIGH, class: `window-part ${number % 2 ? "odd" : ""}` });
      part.append(svgNode("title", {}, `${name}: ${hex(start)}, ${sizeText(Number(bytes))}`));
      svg.append(part);
      if (width > 7 * name.length) svg.append(svgNode("text", { x: x + 4, y: y + 16, class: "chart-text" }, name));
    });
    svg.append(svgNode("text", { x: 0, y: y + HIGH + 14, class: "chart-text" }, `The kernel's window, from ${hex(told.window.start)}, ${sizeText(Number(told.window.bytes))}`));
  }

  // A band for each run of the heap whose VA is PA + one constant.
  function drawRuns(svg, runs, places, window_) {
    for (const run of runs) {
      const [a, b] = [windowX(window_, run.va), windowX(window_, run.va + run.bytes)];
      const [c, d] = [run.pa, run.pa + run.bytes].map((pa) => physicalX(told, places, pa));
      if (c === null || d === null) continue;
      const [low, high] = [TOP + HIGH, TOP + HIGH + GAP];
      const large = run.shift > told.pageShift;
      const band = svgNode("path", { d: `M${c},${low}L${Math.max(d, c + 1)},${low}L${Math.max(b, a + 1)},${high}L${a},${high}Z`, class: large ? "band large" : "band" });
      band.append(svgNode("title", {}, runText(run, large)));
      svg.append(band);
    }
  }

  function drawDonation(svg, kern, places) {
    if (!kern.donation_frames) return;
    const [low, high] = [kern.donation_pfn, kern.donation_pfn + kern.donation_frames].map((pfn) => physicalX(told, places, pfn << BigInt(told.pageShift)));
    svg.append(svgNode("rect", { x: low, y: TOP - 3, width: Math.max(high - low, 2), height: HIGH + 6, class: "donation" }));
  }

  function tell(number) {
    marked = number;
    const box = boxes[number];
    mark.setAttribute("x", box.x);
    mark.setAttribute("width", Math.max(box.width, 2));
    mark.classList.add("shown");
    const page = 2 ** told.pageShift;
    const where = `${hex(BigInt(box.first) * BigInt(page))}-${hex(BigInt(box.first + box.frames) * BigInt(page) - 1n)}`;
    const what = box.counts
      ? box.counts.map((frames, type) => (frames ? `${frames.toLocaleString("en")} ${types[type]}` : "")).filter(Boolean).join(", ")
      : `${box.segment.name} (${box.segment.kind})`;
    says.textContent = `${where}, ${sizeText(Number(box.frames * page))}: ${what}. Enter or a click decodes the first frame's entry.`;
  }

  async function decode(box) {
    const { region, va, entry } = await page.ask("frame", BigInt(box.first));
    record.replaceChildren(
      build("h4", {}, `Frame ${hex(box.first)}`),
      entry ? recordTable(told, "Frame", entry, va) : build("p", {}, region ? "Its region has no core table: nobody allocates here." : "No region holds it."),
    );
  }

  page.watch((state) => {
    drawing.again();
    const sums = new Map();
    state.cells.flat().forEach((cell) => cell.counts.forEach((frames, type) => frames && sums.set(types[type], (sums.get(types[type]) ?? 0) + frames)));
    const others = [...new Set(told.segments.filter((each) => each.kind !== "ram").map((each) => each.kind))];
    legend.replaceChildren(
      ...[...sums].map(([type, frames]) => build("li", {}, keyOf(type), ` ${type} `, build("b", {}, frames.toLocaleString("en")))),
      ...others.map((kind) => build("li", {}, keyOf(kind), ` ${kind}`)),
      build("li", {}, build("span", { class: "key-donation" }), " donated"),
    );
    runsList.replaceChildren(...state.runs.slice(0, 12).map((run) => build("li", {}, runText(run, run.shift > told.pageShift))));
    runsHead.textContent = runsText(state.runs, told.pageShift);
  });

  const runsHead = build("p", {});
  const runsList = build("ul", {});
  return headed(
    "Physical memory and the kernel's window",
    build("fieldset", { class: "choice" }, build("legend", {}, "Widths"), choice),
    drawing,
    says,
    legend,
    runsHead,
    build("details", {}, build("summary", {}, "The longest view of the heap: its first runs"), runsList),
    build("details", {}, build("summary", {}, "All ranges of the physical map"), segmentTable(told)),
    record,
  );
}

function runText(run, large) {
  return `VA ${hex(run.va)} = PA ${hex(run.pa)}, ${sizeText(Number(run.bytes))}, in pages of ${sizeText(Number(2 ** run.shift))}${large ? " (large)" : ""}`;
}

function runsText(runs, pageShift) {
  if (!runs.length) return "Nothing of the heap is mapped yet.";
  const bytes = runs.reduce((sum, run) => sum + run.bytes, 0n);
  const large = runs.filter((run) => run.shift > pageShift).reduce((sum, run) => sum + run.bytes, 0n);
  const one = runs.reduce((most, run) => (run.bytes > most ? run.bytes : most), 0n);
  return (
    `${sizeText(Number(bytes))} of the heap are mapped, in ${runs.length.toLocaleString("en")} runs where VA = PA + constant; the longest has ` +
    `${sizeText(Number(one))}; ${sizeText(Number(large))} are in large pages. A filled band is in large pages, a hatched one in single ones.`
  );
}

function segmentTable(told) {
  const page = BigInt(2 ** told.pageShift);
  const rows = told.segments.map((each) =>
    build("tr", {}, [`${hex(BigInt(each.first) * page)}`, sizeText(Number(BigInt(each.frames) * page)), each.kind, each.name].map((text) => build("td", {}, text))),
  );
  const heads = ["from", "length", "kind", "what"].map((text) => build("th", { scope: "col" }, text));
  return build("div", { class: "chart-scroll", tabindex: 0 }, build("table", { class: "chart-table" }, build("thead", {}, build("tr", {}, heads)), build("tbody", {}, rows)));
}

// A record, decoded: its fields, and what they mean.
export function recordTable(told, name, values, va) {
  const rows = recordRows(told, name, values).map((row) =>
    build("tr", {}, build("th", { scope: "row" }, row.name), build("td", { class: "number" }, row.shown), build("td", { class: "prose" }, row.meaning)),
  );
  const doc = told.records[name].doc.split("\n")[0];
  return build("div", { class: "chart-scroll", tabindex: 0 }, build("table", { class: "chart-table" }, build("caption", {}, `${name} at ${hex(va)}: ${doc}`), build("tbody", {}, rows)));
}

function fill(type) {
  return type in FILLS ? { fill: texture(FILLS[type]) } : { class: type === "free" ? "chart-free" : "chart-nothing" };
}

function keyOf(type) {
  if (type in FILLS) return swatch(FILLS[type]);
  return svgNode("svg", { width: 14, height: 14, class: "chart-swatch" }, svgNode("rect", { width: 14, height: 14, ...fill(type) }));
}

// Where segments are drawn: even, each by the logarithm of its length, or to scale.
function placed(segments, scale, width) {
  const weights = segments.map((each) => (scale === "even" ? Math.log2(each.frames + 1) * (each.kind === "ram" ? 4 : 1) : each.frames));
  const sum = weights.reduce((total, each) => total + each, 0);
  const spare = width - SMALLEST * segments.length;
  let x = 0;
  return weights.map((weight) => {
    const place = { x, width: SMALLEST + (Math.max(spare, 0) * weight) / sum };
    x += place.width;
    return place;
  });
}

function physicalX(told, places, pa) {
  const frame = Number(pa) / 2 ** told.pageShift;
  const at = told.segments.findIndex((each) => frame >= each.first && frame <= each.first + each.frames);
  if (at < 0) return null;
  return places[at].x + (places[at].width * (frame - told.segments[at].first)) / told.segments[at].frames;
}

function windowPlaces({ parts }, width) {
  const weights = parts.map(([, , bytes]) => (bytes > 0 ? Math.log2(bytes) ** 2 : 0));
  const sum = weights.reduce((total, each) => total + each, 0);
  let x = 0;
  return parts.map(([name, start, bytes], at) => {
    const place = { name, start: BigInt(start), bytes, x, width: (width * weights[at]) / sum };
    x += place.width;
    return place;
  });
}

function windowX(places, va) {
  const place = places.find(({ start, bytes }) => va >= start && va <= start + BigInt(bytes)) ?? places[0];
  return place.x + (place.width * Number(va - place.start)) / place.bytes;
}
