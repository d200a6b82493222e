// The panels of a run over time: which figures stand in which, and how one is drawn.

import { build, fitted } from "./dom.js";
import { grouped, percent, sizeText } from "./figures.js";
import { dash, ink, svgNode, texture } from "./textures.js";

export const MARGINS = { left: 76, right: 32 };

const PANELS = [
  { title: "Live and backed", unit: "bytes", names: { live: "live", heap_used: "heap used", heap_backed: "heap backed" } },
  { title: "Free frames by order", unit: "frames", stacked: true },
  { title: "Hit rate", unit: "share", names: { hit_rate: "hit rate" }, domain: [0, 1] },
  { title: "Stalls", unit: "callers", names: { waiting: "waiting" }, steps: true },
  { title: "Ledger", unit: "frames", names: { promised: "promised", available: "available" }, close: true },
  { title: "Fragmentation", unit: "share", names: { fragmentation: "fragmentation" }, domain: [0, 1] },
];

const SHORT = { bytes: sizeText, share: percent, frames: grouped, callers: grouped };

// The panels whose figures there are, each with its series: {name, label, values}.
export function panelFigures({ columns }) {
  return PANELS.map((panel) => ({
    ...panel,
    series: panel.stacked
      ? orders(columns)
      : Object.entries(panel.names)
          .filter(([name]) => columns[name])
          .map(([name, label]) => ({ name, label, values: rated(name, columns[name].values) })),
  })).filter((panel) => panel.series.length);
}

// A figure's values: before the first touch there is no hit rate.
function rated(name, values) {
  return name === "hit_rate" ? [NaN, ...values.slice(1)] : values;
}

// Free frames that lie in blocks of each order that occurs.
function orders(columns) {
  return Object.keys(columns)
    .map((name) => [name, /^blocks_(\d+)$/.exec(name)])
    .filter(([name, found]) => found && d3.some(columns[name].values, Boolean))
    .map(([name, found]) => ({
      name,
      label: `order ${found[1]}`,
      values: columns[name].values.map((count) => count * 2 ** Number(found[1])),
    }));
}

// Panels as {element, again: draw anew, mark(at): the figures of a moment, follow(state, point): draw the span of a
// state, and tell which moment is pointed at}.
export function timePanels(data) {
  const done = data.columns.done.values;
  const found = panelFigures(data);
  return found.map((panel, place) => timePanel(panel, done, place === found.length - 1 ? data.unit : null));
}

function timePanel(panel, done, unit) {
  const said = panel.series.map(() => build("b", {}));
  const legend = panel.series.map((series, at) =>
    build("span", { class: "chart-named" }, key(panel, at), ` ${series.label} `, said[at]),
  );
  const cursor = build("div", { class: "chart-cursor" });
  const height = (panel.stacked ? 150 : 96) + (unit ? 34 : 0);
  let [state, point, plot, at] = [{ from: 0, to: done.length - 1 }, () => {}, null, 0];
  const stack = panel.stacked ? stacked(panel.series) : [];

  const drawing = fitted({ class: "chart-drawing chart-under" }, (width) => {
    const [low, high] = [state.from, state.to + 1];
    const x = done.slice(low, high);
    const part = (values) => values.slice(low, high);
    const every = Math.max(Math.round((2 * (high - low)) / width), 1); // of layers: two pixels or more for a moment
    const thin = (values) => part(values).filter((_, at) => at % every === 0 || at === high - low - 1);
    plot = Plot.plot({
      width,
      height,
      marginLeft: MARGINS.left,
      marginRight: MARGINS.right,
      marginTop: 8,
      marginBottom: unit ? 40 : 6,
      ariaLabel: `${panel.title} over time`,
      x: {
        domain: [done[state.from], done[state.to]],
        axis: unit ? "bottom" : null,
        label: unit,
        ticks: Math.max(Math.floor(width / 130), 2),
        tickFormat: (value) => grouped(value),
      },
      y: {
        domain: panel.domain ?? extent(panel, stack, part),
        ticks: panel.unit === "bytes" ? byteTicks(panel, part) : panel.stacked ? 4 : 3,
        tickFormat: axisText(panel.unit),
        grid: true,
        label: null,
        nice: !panel.domain && panel.unit !== "bytes",
      },
      marks: [
        stack.map((layer, order) =>
          Plot.areaY(thin(x), {
            x: thin(x),
            y1: thin(layer.low),
            y2: thin(layer.high),
            fill: texture(order),
            stroke: "var(--chart-ground)",
            strokeWidth: 0.5,
          }),
        ),
        panel.stacked ? thickest(stack, state, done) : null,
        panel.stacked
          ? null
          : panel.series.map((series, order) =>
              Plot.lineY(x, {
                x,
                y: part(series.values),
                stroke: ink(order),
                strokeDasharray: dash(order),
                strokeWidth: 1.75,
                curve: panel.steps ? "step-after" : "linear",
                clip: true,
              }),
            ),
      ],
    });
    cursor.style.blockSize = `${height - (unit ? 40 : 6)}px`;
    move();
    plot.addEventListener("pointermove", (event) => {
      const [left] = d3.pointer(event, plot);
      point(d3.bisectCenter(done, plot.scale("x").invert(left)));
    });
    return [plot, cursor];
  });

  function move() {
    if (plot) cursor.style.transform = `translateX(${plot.scale("x").apply(done[at])}px)`;
  }

  return {
    element: build("div", { class: "chart-panel" }, build("h3", {}, panel.title), build("p", {}, legend), drawing),
    again: drawing.again,
    mark(moment) {
      at = moment;
      move();
      panel.series.forEach((series, order) => {
        const value = series.values[at];
        said[order].textContent = Number.isNaN(value) ? "-" : SHORT[panel.unit](value);
      });
    },
    follow(shared, pointed) {
      state = shared;
      point = pointed;
    },
  };
}

function key(panel, order) {
  const svg = svgNode("svg", { width: 22, height: 12, class: "chart-swatch", "aria-hidden": "true" });
  svg.append(
    panel.stacked
      ? svgNode("rect", { width: 22, height: 12, fill: texture(order) })
      : svgNode("line", {
          x2: 22,
          y1: 6,
          y2: 6,
          stroke: ink(order),
          "stroke-width": 2.5,
          "stroke-dasharray": dash(order),
        }),
  );
  return svg;
}

// Series one upon the other: where each begins and ends.
function stacked(series) {
  let low = series[0].values.map(() => 0);
  return series.map(({ label, values }) => {
    const layer = { label, low, high: values.map((value, at) => low[at] + value) };
    low = layer.high;
    return layer;
  });
}

// The range of the y axis: from 0, or, for figures that are to be told from each other, as close as they are.
function extent(panel, stack, part) {
  if (panel.stacked) return [0, d3.max(part(stack[stack.length - 1].high)) || 1];
  const [least, most] = d3.extent(panel.series.flatMap((series) => part(series.values)));
  if (!panel.close) return [0, most || 1];
  return least === most ? [least - 1, most + 1] : [least, most];
}

// Round numbers of bytes, as people write them: in powers of 1024.
function byteTicks(panel, part) {
  const [, most] = extent(panel, [], part);
  const unit = 1024 ** Math.floor(Math.log2(Math.max(most, 1)) / 10);
  return d3.ticks(0, most / unit, 3).map((tick) => tick * unit);
}

function axisText(unit) {
  if (unit === "bytes") return sizeText;
  return unit === "share" ? (value) => `${Math.round(value * 100)}%` : (value) => grouped(value, 1);
}

// The name of each layer, where it is thickest, if it is thick enough there.
function thickest(stack, { from, to }, done) {
  const most = d3.max(stack[stack.length - 1].high.slice(from, to + 1)) || 1;
  const margin = Math.max(Math.floor((to - from) / 16), 0);
  const inner = d3.range(from + margin, to + 1 - margin);
  const names = stack
    .map((layer) => {
      const at = d3.greatest(inner, (moment) => layer.high[moment] - layer.low[moment]);
      return { x: done[at], y: (layer.high[at] + layer.low[at]) / 2, thick: layer.high[at] - layer.low[at], text: layer.label };
    })
    .filter((name) => name.thick > most / 9);
  return Plot.text(names, { x: "x", y: "y", text: "text", className: "chart-label", fill: "currentColor" });
}
