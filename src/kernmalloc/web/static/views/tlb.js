// What TLBs miss: by structure and way of mapping the heap, and by entries of a TLB.

import { build, fitted, headed } from "./dom.js";
import { grouped, rateText } from "./figures.js";
import { dash, ink, texture } from "./textures.js";
import { sortedTable } from "./sorted_table.js";
import { endLabels } from "./labels.js";

const MISS_TICKS = [0, 0.1, 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000];

export function tlbCounts(root, data, page) {
  const { compared } = data;
  root.append(
    build("p", {}, `${compared.machine || compared.file}: kernel ${compared.kernel}, load ${compared.load}.`),
    build("p", {}, `${data.processor}.`),
    sideTable(data),
    missBars(`Misses ${data.unit}, by what was accessed`, data.load, data),
    missBars("Misses of the boot, in all, by what was accessed", data.boot, data),
    missCurve(data, "heap", `Misses on the heap ${data.unit}, by entries of a TLB that is fully associative`),
    missCurve(data, "all", `Misses on all of the kernel's data ${data.unit}, by entries of such a TLB`),
    curveTable(data),
    growthTable(compared),
    headed("What it means", build("ul", {}, data.notes.map((note) => build("li", {}, note)))),
  );
}

function ways(data) {
  return data.sides.map((side) => side.way);
}

function sideTable(data) {
  const count = (title, key, text = grouped, meaning = null) => ({
    title,
    number: true,
    value: (side) => side[key],
    text: (side) => text(side[key]),
    meaning,
  });
  const columns = [
    { title: "the heap is mapped", value: (side) => side.way },
    { title: "strategy", value: (side) => side.strategy },
    count("entries", "entries", grouped, "that map the kernel's window after the boot"),
    count("large", "large"),
    count("single", "small"),
    count("grown", "grown", grouped, "entries that the load adds at most"),
    count("fixed", "fixed", grouped, "entries that the TLB keeps"),
    count("misses at boot", "boot"),
    count("misses", "misses", rateText, data.unit),
    count("walks", "walks", rateText, data.unit),
    count("cycles", "cycles", rateText, data.unit),
  ];
  return headed(
    `How the heap is mapped, and misses ${data.unit}`,
    sortedTable(`Misses, walks and cycles of the load are ${data.unit}`, columns, data.sides),
    data.unmeasured.map((line) => build("p", {}, `${line}.`)),
  );
}

// A bar for each structure and way, and the figures in a table.
function missBars(title, rows, data) {
  if (!rows.length) return null;
  const order = ways(data).filter((way) => rows.some((row) => row.way === way));
  const structures = [...new Set(rows.map((row) => row.structure))];
  const drawing = fitted({ class: "chart-drawing" }, (width) =>
    Plot.plot({
      width,
      height: 50 + structures.length * (order.length * 20 + 28),
      marginLeft: 8,
      marginRight: 140,
      marginTop: 8,
      marginBottom: 36,
      ariaLabel: title,
      x: { label: "misses", nice: true, ticks: width / 110 },
      y: { domain: order, axis: null, padding: 0.15 },
      fy: { domain: structures, axis: null, padding: 0.25 },
      marks: [
        Plot.text(structures, {
          fy: (name) => name,
          text: (name) => name,
          frameAnchor: "top-left",
          dy: -14,
          fontWeight: 600,
        }),
        Plot.barX(rows, { fy: "structure", y: "way", x: "misses", fill: (row) => texture(order.indexOf(row.way)) }),
        Plot.text(rows, {
          fy: "structure",
          y: "way",
          x: "misses",
          text: (row) => `${rateText(row.misses)} ${row.way}`,
          textAnchor: "start",
          dx: 6,
          className: "chart-label",
          fill: "currentColor",
        }),
        Plot.ruleX([0]),
      ],
    }),
  );
  const columns = [
    { title: "accessed", value: (row) => row.structure },
    { title: "the heap is mapped", value: (row) => row.way },
    ...["misses", "walks", "accesses"].map((key) => ({
      title: key,
      number: true,
      value: (row) => row[key],
      text: (row) => rateText(row[key]),
    })),
  ];
  return headed(title, drawing, sortedTable(title, columns, rows));
}

function missCurve(data, what, title) {
  const order = ways(data);
  const { compared } = data;
  const top = MISS_TICKS.find((tick) => tick >= d3.max(data.curve, (point) => point.all));
  const height = 340;
  const drawing = fitted({ class: "chart-drawing" }, (width) => {
    const narrow = width < 600;
    const right = narrow ? 12 : 120;
    const plot = Plot.plot({
      width,
      height,
      marginLeft: 70,
      marginRight: right,
      marginBottom: 40,
      ariaLabel: title,
      x: { type: "log", base: 2, label: "entries of the TLB", ticks: [1, 4, 16, 64, 256, 1024], tickFormat: "d" },
      y: {
        type: "symlog",
        constant: 0.1,
        domain: [0, top],
        ticks: MISS_TICKS.filter((tick) => tick <= top),
        tickFormat: (tick) => rateText(tick),
        grid: true,
        label: "misses",
      },
      marks: [
        Plot.ruleY([0]),
        compared.tlb_entries
          ? Plot.ruleX([compared.tlb_entries], { stroke: "currentColor", strokeDasharray: "1 3" })
          : null,
        compared.tlb_entries
          ? Plot.text([compared.tlb_entries], {
              x: (x) => x,
              frameAnchor: "top-left",
              dx: 4,
              text: (x) => `${compared.title}: ${x}`,
              className: "chart-label",
              fill: "currentColor",
            })
          : null,
        order.map((way, at) =>
          Plot.line(
            data.curve.filter((point) => point.way === way),
            { x: "entries", y: what, stroke: ink(at), strokeWidth: 2, strokeDasharray: dash(at) },
          ),
        ),
        Plot.dot(data.curve, { x: "entries", y: what, symbol: "way", stroke: (point) => ink(order.indexOf(point.way)) }),
      ],
      symbol: { domain: order, range: ["circle", "square", "triangle"] },
    });
    const last = order.map((way) => d3.greatest(data.curve.filter((point) => point.way === way), (p) => p.entries));
    endLabels(plot, last.map((point, at) => ({ x: point.entries, y: point[what], text: point.way, ink: ink(at) })), narrow);
    return plot;
  });
  return headed(title, drawing);
}

function curveTable(data) {
  const number = (key) => ({ title: key, number: true, value: (row) => row[key], text: (row) => rateText(row[key]) });
  const columns = [
    { title: "the heap is mapped", value: (row) => row.way },
    { ...number("entries"), title: "entries of the TLB" },
    { ...number("heap"), title: "misses on the heap" },
    { ...number("all"), title: "on all data" },
  ];
  const table = sortedTable(`Misses ${data.unit}, by entries of a TLB`, columns, data.curve);
  return build("details", { class: "chart-part" }, build("summary", {}, "The curves in figures"), table);
}

function growthTable(compared) {
  const columns = [
    { title: "strategy", value: (row) => row.strategy },
    {
      title: "entries",
      number: true,
      value: (row) => (row.reason ? -1 : row.entries),
      text: (row) => (row.reason ? "-" : grouped(row.entries)),
    },
    { title: "requests not served in full", number: true, value: (row) => row.refused, text: (row) => grouped(row.refused) },
    { title: "why not", prose: true, value: (row) => row.reason },
  ];
  const title = "Entries that the load adds to the kernel's window";
  return headed(title, sortedTable(title, columns, compared.growth));
}
