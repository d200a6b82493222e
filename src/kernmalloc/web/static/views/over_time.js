// A run or replay over time: figures one below the other on one axis, a span of it, and the frame map at a moment.

import { build, fitted, headed, oncePerFrame } from "./dom.js";
import { grouped, sizeText, valueText } from "./figures.js";
import { svgNode } from "./textures.js";
import { sortedTable } from "./sorted_table.js";
import { MARGINS, panelFigures, timePanels } from "./time_panels.js";
import { frameMap } from "./frame_map.js";

const STRIP = 56; // height of the picture of the whole, in which the span is chosen

export function overTime(root, data, page) {
  const { columns, unit } = data;
  const done = columns.done.values;
  const last = done.length - 1;
  if (last < 1) {
    root.append(build("p", {}, "Nothing was seen over time: fewer than two moments."));
    return;
  }
  const state = { from: 0, to: last, at: last };
  const panels = timePanels(data);
  const map = frameMap(data);
  const title = build("output", { class: "chart-says" });
  const [moment, from, to] = [
    slider("Moment", last, last, (at) => set({ at })),
    slider("Span from", 0, last, (at) => set({ from: Math.min(at, state.to - 1) })),
    slider("to", last, last, (at) => set({ to: Math.max(at, state.from + 1) })),
  ];
  const table = figuresTable(columns);
  const strip = overview(data, (span) => set(span, true));

  const drawSpan = oncePerFrame(() => panels.forEach((panel) => panel.again()));
  const drawMoment = oncePerFrame(() => {
    const { at } = state;
    panels.forEach((panel) => panel.mark(at));
    table.show(at);
    map.show(at);
    const seconds = columns.seconds ? `, ${grouped(columns.seconds.values[at], 2)} s` : "";
    const ticks = columns.ticks ? `, tick ${grouped(columns.ticks.values[at])}` : "";
    title.textContent =
      `At ${grouped(done[at])} of ${grouped(done[last])} ${unit}${ticks}${seconds}. ` +
      `Drawn: ${grouped(done[state.from])} to ${grouped(done[state.to])}.`;
  });

  // Change the state; `brushed`: by the brush, which then stands where it should.
  function set(change, brushed = false) {
    const span = "from" in change || "to" in change;
    Object.assign(state, change);
    state.at = Math.min(Math.max(state.at, state.from), state.to);
    moment.input.min = state.from;
    moment.input.max = state.to;
    for (const [control, at] of [[moment, state.at], [from, state.from], [to, state.to]]) {
      control.input.value = at;
      control.input.setAttribute("aria-valuetext", `${grouped(done[at])} ${unit}`);
    }
    if (span && !brushed) strip.span(state.from, state.to);
    if (span) drawSpan();
    drawMoment();
  }

  panels.forEach((panel) => panel.follow(state, (at) => set({ at })));
  const drawing = build("div", { class: "chart-time" }, panels.map((panel) => panel.element));
  root.append(
    build("p", {}, explained(data)),
    build("div", { class: "chart-controls chart-sliders" }, moment.element, from.element, to.element, whole()),
    title,
    build("div", { class: "chart-beside" }, build("div", {}, strip.element, drawing), map.element),
    headed("Every figure at the moment", table.element),
  );
  set({});

  function whole() {
    return build("button", { type: "button", click: () => set({ from: 0, to: last }) }, "Whole");
  }
}

function explained(data) {
  return (
    `${grouped(data.columns.done.values.length)} moments of ${grouped(data.total)} ${data.unit}. ` +
    "Drag over the upper strip, or move the two ends of the span, to look at a part; point at a panel, or move the " +
    "moment by the arrow keys, to read the figures of one."
  );
}

// A range input for the number of a moment, with its label.
function slider(label, value, max, change) {
  const input = build("input", { type: "range", min: 0, max, step: 1, value, input: () => change(Number(input.value)) });
  return { input, element: build("label", {}, `${label} `, input) };
}

// The whole of the first figure that changes, with a brush that selects the span; `span` sets it.
function overview(data, change) {
  const done = data.columns.done.values;
  const all = panelFigures(data).flatMap((panel) => panel.series);
  const { values } = all.find((series) => d3.min(series.values) < d3.max(series.values)) ?? all[0];
  const brush = d3.brushX();
  let [x, group, chosen, silent] = [null, null, null, false];
  const place = () => {
    silent = true;
    group.call(brush.move, chosen && chosen.map((at) => x(done[at])));
    silent = false;
  };
  const element = fitted({ class: "chart-drawing chart-strip" }, (width) => {
    x = d3.scaleLinear([done[0], done[done.length - 1]], [MARGINS.left, width - MARGINS.right]);
    const y = d3.scaleLinear([0, d3.max(values) || 1], [STRIP, 2]);
    const area = d3.area((_, at) => x(done[at]), STRIP, (value) => y(value));
    const svg = svgNode("svg", { width, height: STRIP, "aria-hidden": "true" });
    svg.append(svgNode("path", { d: area(values), class: "chart-whole" }));
    brush.extent([[MARGINS.left, 0], [width - MARGINS.right, STRIP]]).on("brush end", (event) => {
      if (silent || !event.sourceEvent) return;
      const near = (pixel) => d3.bisectCenter(done, x.invert(pixel));
      const [from, to] = (event.selection ?? [MARGINS.left, width - MARGINS.right]).map(near);
      if (to > from) change({ from, to });
    });
    group = d3.select(svg).append("g").call(brush);
    place();
    return svg;
  });
  const span = (from, to) => {
    chosen = from === 0 && to === done.length - 1 ? null : [from, to];
    if (group) place();
  };
  return { element, span };
}

// All figures with what they mean; `show(at)` puts in those of a moment.
function figuresTable(columns) {
  const cells = new Map(Object.keys(columns).map((name) => [name, build("span", { "data-figure": name })]));
  const rows = Object.entries(columns).map(([name, column]) => ({ name, ...column }));
  const element = sortedTable(
    "Figures at the moment",
    [
      { title: "figure", value: (row) => row.name },
      { title: "at the moment", number: true, value: (row) => row.values[shown], text: (row) => cells.get(row.name) },
      { title: "what it is", prose: true, value: (row) => row.meaning },
    ],
    rows,
  );
  let shown = 0;
  const show = (at) => {
    shown = at;
    for (const row of rows) cells.get(row.name).textContent = valueText(row.values[at], row.unit);
  };
  return { element, show };
}
