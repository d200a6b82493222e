// Strategies compared: machines covered against device frames reserved, and the table of figures.

import { build, fitted, headed } from "./dom.js";
import { grouped, sizeText } from "./figures.js";
import { endLabels } from "./labels.js";
import { sortedTable } from "./sorted_table.js";
import { dash, ink } from "./textures.js";

const TICKS = [0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
const SYMBOLS = ["circle", "square", "triangle", "diamond", "times", "asterisk"];
const GLYPHS = ["○", "□", "△", "◇", "×", "✳"];
const ASKED = [0, 1 << 12, 1 << 16, 1 << 18, 1 << 23, 1 << 26]; // device frames that the table of curves tells of

export function coverage(root, data, page) {
  const cards = [...new Set(data.curves.map((curve) => curve.card))];
  root.append(
    build(
      "p",
      {},
      "A machine is covered when every device range that can exist on it has entries for all its frames. What a strategy " +
        "sets aside for them is swept from nothing upwards; too much of it, and a machine does not hold the kernel any more.",
    ),
    ...cards.map((card) => coverageCurves(data, card)),
    ...cards.map((card) => comparedTable(data.found.filter((row) => row.card === card), card)),
    build("p", {}, data.meaning),
  );
}

function named(card) {
  return card ? `With a ${card} card added` : "As they are";
}

function coverageCurves(data, card) {
  const curves = data.curves
    .filter((curve) => curve.card === card)
    .map((curve) => ({ ...curve, firsts: curve.steps.map(([frames]) => frames) }));
  const at = (curve, frames) => curve.steps[d3.bisectRight(curve.firsts, frames) - 1][1];
  const machines = curves[0].machines;
  const end = Math.min(1.6 * d3.max(curves, (curve) => curve.firsts[curve.firsts.length - 1]) || 1e6, data.most);
  const title = `${named(card)}: machines covered, by device frames reserved`;
  const drawing = fitted({ class: "chart-drawing" }, (width) => {
    const narrow = width < 600;
    const plot = Plot.plot({
      width,
      height: 380,
      marginLeft: 50,
      marginRight: narrow ? 12 : 150,
      marginTop: 24,
      marginBottom: 40,
      ariaLabel: title,
      x: {
        type: "symlog",
        constant: 1000,
        domain: [0, end],
        ticks: TICKS.filter((tick) => tick <= end),
        tickFormat: d3.format("~s"),
        label: "device frames reserved, logarithmic beyond 1,000",
        grid: true,
      },
      y: { domain: [0, machines], grid: true, label: `machines covered, of ${grouped(machines)}`, tickFormat: "d" },
      marks: [
        Plot.ruleY([0]),
        curves.map((curve, number) =>
          Plot.line([...curve.steps, [end, at(curve, end)]], {
            curve: "step-after",
            stroke: ink(number),
            strokeWidth: 2,
            strokeDasharray: dash(number),
          }),
        ),
        curves.map((curve, number) => {
          const points = TICKS.map((tick) => (tick + 200) * (1 + 0.25 * number)).filter((frames) => frames <= end);
          return Plot.dot(points, {
            x: (frames) => frames,
            y: (frames) => at(curve, frames),
            symbol: SYMBOLS[number % SYMBOLS.length],
            stroke: ink(number),
            fill: "var(--chart-ground)",
            r: 4,
          });
        }),
      ],
    });
    const labels = curves.map((curve, number) => ({
      x: end,
      y: at(curve, end),
      text: `${GLYPHS[number % GLYPHS.length]} ${curve.strategy}`,
      ink: ink(number),
    }));
    endLabels(plot, labels, narrow);
    return plot;
  });
  const columns = [
    { title: "strategy", value: (curve) => curve.strategy },
    { title: "what is swept", value: (curve) => (curve.setting ? `--${curve.setting}` : "nothing") },
    ...ASKED.map((frames) => ({
      title: `at ${grouped(frames)}`,
      number: true,
      value: (curve) => at(curve, frames),
      text: (curve) => grouped(at(curve, frames)),
    })),
    {
      title: "most",
      number: true,
      value: (curve) => d3.max(curve.steps, ([, count]) => count),
      text: (curve) => grouped(d3.max(curve.steps, ([, count]) => count)),
    },
  ];
  return headed(title, drawing, sortedTable(`Machines covered, of ${grouped(machines)}`, columns, curves));
}

function comparedTable(rows, card) {
  const count = (title, key, text = grouped) => ({
    title,
    number: true,
    value: (row) => row[key],
    text: (row) => text(row[key]),
  });
  const columns = [
    { title: "strategy", value: (row) => row.strategy },
    count("refused", "refused"),
    count("configured", "configured"),
    count("tuned", "tuned"),
    count("published", "published"),
    count("lost", "lost"),
    count("lost, one", "lost_single"),
    count("heap", "heap_median", sizeText),
    count("worst", "heap_worst", sizeText),
    count("idle", "idle_median", sizeText),
    count("worst", "idle_worst", sizeText),
    count("TLB", "tlb_median"),
    count("worst", "tlb_worst"),
    count("broken", "broken"),
    count("by frames", "broken_worst"),
    count("given back", "released_median", sizeText),
    count("withheld", "withheld_median"),
  ];
  return headed(`${named(card)}: every figure`, sortedTable(`${named(card)}, ${grouped(rows[0].machines)} machines`, columns, rows));
}
