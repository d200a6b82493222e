// A plan: the heap as a treemap to the byte, how much of it a TLB reaches, what devices cost, and every strategy.

import { build, fitted, headed } from "./dom.js";
import { addresses, grouped, percent, several, sizeText } from "./figures.js";
import { dash, ink, svgNode, swatch, texture } from "./textures.js";
import { sortedTable } from "./sorted_table.js";

export function planTree(root, data, page) {
  root.append(build("p", {}, `${data.machine}: kernel ${data.kernel}, strategy ${data.strategy}.`));
  if (data.refused) {
    root.append(build("p", { class: "chart-refused" }, `Refused: ${data.refused}.`), strategyTable(data));
    return;
  }
  root.append(
    heapTree(data),
    headed("How it lies", build("ul", {}, data.layout.map((line) => build("li", {}, line)))),
    tlbReach(data),
    deviceCosts(data),
    reserves(data),
    cardTable(data),
    strategyTable(data),
    planFigures(data),
  );
}

// The structures of the heap, and what stands beside it; areas are bytes, and the table has each of them.
function heapTree(data) {
  const parts = [...data.items, ...data.beside]
    .map((item, at) => ({ ...item, beside: at >= data.items.length }))
    .filter((item) => item.bytes)
    .map((item, at) => ({ ...item, at, row: `plan-part-${at}` }));
  const all = d3.sum(parts, (part) => part.bytes);
  const says = build("output", { class: "chart-says" }, "Point at a part, or go to it by Tab, to read of it here.");
  const leave = build(
    "select",
    { change: () => drawing.again() },
    d3.range(Math.max(parts.length - 1, 1)).map((count) => build("option", { value: count }, leftOut(count))),
  );
  const label = (part) => `${part.at + 1} ${part.beside ? "beside the heap: " : ""}${part.name}`;
  const told = (part) =>
    `${label(part)}: ${grouped(part.bytes)} bytes, ${sizeText(part.bytes)}, ` +
    `${percent(part.bytes / all)} of what is drawn in all${part.note ? `; ${part.note}` : ""}`;

  function choose(part) {
    says.textContent = told(part);
    for (const row of table.querySelectorAll("tr.chosen")) row.classList.remove("chosen");
    table.querySelector(`#${part.row}`).classList.add("chosen");
  }

  const drawing = fitted({ class: "chart-drawing" }, (width) => {
    const height = Math.round(Math.min(Math.max(width * 0.45, 280), 460));
    const shown = d3.sort(parts, (part) => -part.bytes).slice(Number(leave.value));
    const tree = d3.hierarchy({ children: shown }).sum((part) => part.bytes ?? 0);
    d3.treemap().size([width, height]).paddingInner(1)(tree);
    const cells = tree.leaves().map((leaf) => treeCell(leaf, label(leaf.data), told(leaf.data), choose));
    const said = `Treemap of the heap of ${grouped(data.heap)} bytes and what stands beside it`;
    return svgNode("svg", { width, height, role: "group", "aria-label": said }, ...cells);
  });

  const total = {
    name: "heap and what stands beside it",
    bytes: all,
    note: `the heap is ${grouped(data.heap)} of them`,
  };
  const columns = [
    {
      title: "part",
      value: (part) => part.at,
      text: (part) => (part === total ? part.name : [swatch(part.at), label(part)]),
    },
    {
      title: "bytes",
      number: true,
      value: (part) => part.bytes,
      text: (part) => grouped(part.bytes),
      bar: (part) => (part === total ? 0 : part.bytes / all),
    },
    { title: "frames", number: true, value: (part) => part.bytes, text: (part) => frames(part.bytes, data.page) },
    { title: "share", number: true, value: (part) => part.bytes, text: (part) => percent(part.bytes / all) },
    { title: "what it is", prose: true, value: (part) => part.note },
  ];
  const rows = parts.map((part) => ({ ...part, id: part.row }));
  const table = sortedTable("Every part, to the byte", columns, rows, total);
  return headed(
    "The heap, to the byte",
    build("div", { class: "chart-controls" }, build("label", {}, "Draw ", leave)),
    drawing,
    says,
    table,
  );
}

function leftOut(count) {
  return count ? `all but the ${count === 1 ? "largest part" : `${count} largest parts`}` : "all parts";
}

// Bytes as frames: whole ones, or with the part of the last.
function frames(bytes, page) {
  return grouped(bytes / page, 2);
}

function treeCell(leaf, label, told, choose) {
  const [width, height] = [leaf.x1 - leaf.x0, leaf.y1 - leaf.y0];
  const cell = svgNode(
    "g",
    {
      class: "chart-cell",
      tabindex: 0,
      role: "img",
      "aria-label": told,
      "data-bytes": leaf.data.bytes,
      transform: `translate(${leaf.x0},${leaf.y0})`,
    },
    svgNode("rect", { width, height, fill: texture(leaf.data.at) }),
  );
  const room = (line) => line.length * 7 + 12 < width;
  const lines = room(label) ? [label, `${grouped(leaf.data.bytes)} bytes`].filter(room) : [`${leaf.data.at + 1}`].filter(room);
  const shown = lines.slice(0, Math.max(Math.floor((height - 8) / 16), 0));
  if (shown.length) {
    const breadth = 7 * d3.max(shown, (line) => line.length) + 8;
    cell.append(svgNode("rect", { x: 2, y: 2, width: breadth, height: 16 * shown.length + 5, class: "chart-backing" }));
  }
  shown.forEach((line, at) => cell.append(svgNode("text", { x: 6, y: 16 + 16 * at, class: "chart-name" }, line)));
  for (const event of ["focus", "pointerenter"]) cell.addEventListener(event, () => choose(leaf.data));
  return cell;
}

// How much of the heap each TLB holds at once, if all its entries map nothing else.
function tlbReach(data) {
  const { tlb } = data;
  if (!tlb.reaches.length) return headed("TLB reach", build("p", {}, "Of this kernel there is nothing for a TLB to reach."));
  const share = (row) => Math.min(row.entries / row.wanted, 1);
  const columns = [
    { title: "TLB", value: (row) => row.name },
    { title: "level", number: true, value: (row) => row.level },
    { title: "page", number: true, value: (row) => row.page, text: (row) => sizeText(row.page) },
    { title: "entries", number: true, value: (row) => row.entries, text: (row) => grouped(row.entries) },
    { title: "reach", number: true, value: (row) => row.reach, text: (row) => sizeText(row.reach) },
    { title: "pages of the heap", number: true, value: (row) => row.wanted, text: (row) => grouped(row.wanted) },
    { title: "reached at once", number: true, value: share, text: (row) => percent(share(row)), bar: share },
  ];
  return headed(
    "TLB reach",
    build(
      "p",
      {},
      `The heap and what describes it take ${several(tlb.large, "large page")} and ${several(tlb.small, "single page")}. ` +
        `The reach of a TLB is what it maps when all its entries are in use: entries times the size of a page.`,
    ),
    sortedTable(`TLBs of ${tlb.processor} for data, and what they reach of the heap`, columns, tlb.reaches),
  );
}

function deviceCosts(data) {
  if (!data.devices.length) return headed("What each device costs", build("p", {}, "The machine has no device memory."));
  const most = d3.max(data.devices, (device) => device.cost) || 1;
  const place = (device) => (device.base === null ? "no place" : addresses(device.base, device.size));
  const columns = [
    { title: "range", value: (device) => device.base ?? -1, text: (device) => device.total ?? place(device) },
    { title: "devices", value: (device) => device.names.join(", ") },
    { title: "size", number: true, value: (device) => device.size, text: (device) => sizeText(device.size) },
    { title: "frames", number: true, value: (device) => device.frames, text: (device) => grouped(device.frames) },
    {
      title: "entries",
      number: true,
      value: (device) => device.entries,
      text: (device) => grouped(device.entries),
      meaning: "frames that have an entry for certain once the range is published",
    },
    {
      title: "bytes of heap",
      number: true,
      value: (device) => device.cost,
      text: (device) => grouped(device.cost),
      bar: (device) => (device.total ? 0 : device.cost / most),
    },
    { title: "status", value: (device) => device.status },
    { title: "why", prose: true, value: (device) => device.reason },
  ];
  const total = { total: several(data.devices.length, "range"), names: [], status: "", reason: "" };
  for (const key of ["size", "frames", "entries", "cost"]) total[key] = d3.sum(data.devices, (device) => device[key]);
  return headed(
    "What each device costs",
    sortedTable("Devices, published in order of address", columns, data.devices, total),
    data.advice.filter(Boolean).map((line, at) => build("p", {}, at ? build("code", {}, line) : line)),
  );
}

// Frames of devices: what is reserved, what there can be entries for, and what is asked for.
function reserves(data) {
  const { reserve } = data;
  const bars = [
    { name: "reserved at boot", frames: reserve.reserved, fill: 0 },
    { name: "wanted by the devices", frames: reserve.wanted, fill: 1 },
    ...data.cards
      .filter((card) => card.wanted > reserve.wanted)
      .map((card) => ({ name: `with a ${card.card} card`, frames: card.wanted, fill: 3 })),
  ];
  const longest = d3.max(bars, (bar) => bar.frames);
  const beyond = reserve.most > longest;
  const drawing = fitted({ class: "chart-drawing" }, (width) =>
    Plot.plot({
      width,
      height: 60 + 44 * bars.length,
      marginLeft: 0,
      marginRight: 12,
      marginTop: 24,
      marginBottom: 36,
      ariaLabel: "Device frames: reserved, wanted, and those that entries can be had for",
      x: { domain: [0, 1.02 * longest || 1], label: "device frames", ticks: width / 110 },
      y: { domain: bars.map((bar) => bar.name), axis: null, padding: 0.5 },
      marks: [
        Plot.barX(bars, { y: "name", x: "frames", fill: (bar) => texture(bar.fill), insetTop: 6, insetBottom: -6 }),
        Plot.text(bars, {
          y: "name",
          x: 0,
          dy: -16,
          textAnchor: "start",
          text: (bar) => `${bar.name}: ${several(bar.frames, "frame")}`,
          className: "chart-label",
          fill: "currentColor",
        }),
        beyond
          ? null
          : Plot.ruleX([reserve.most], { stroke: ink(5), strokeWidth: 2, strokeDasharray: dash(1) }),
        beyond ? null : Plot.text([reserve.most], { x: (x) => x, frameAnchor: "top", dy: -14, textAnchor: reserve.most < longest / 2 ? "start" : "end", text: () => "entries at most" }),
      ],
    }),
  );
  return headed(
    "The reserve against what fits",
    drawing,
    build(
      "p",
      {},
      `Entries for ${several(reserve.reserved, "device frame")} are reserved at boot. With what the heap has to spare and may ` +
        `grow by, entries can be had for ${several(reserve.most, "frame")} at most${beyond ? ", which lies beyond the picture" : ""}. ` +
        `The devices of this machine ask for ${grouped(reserve.wanted)}, in whole chunks of 32; ` +
        `${grouped(reserve.fitting)} of their frames get one. ` +
        `For the last words of consoles and boot devices ${grouped(reserve.last_words)} more are kept.`,
    ),
  );
}

function cardTable(data) {
  const columns = [
    { title: "card", value: (card) => card.window, text: (card) => card.card },
    { title: "window", number: true, value: (card) => card.window, text: (card) => sizeText(card.window) },
    { title: "frames", number: true, value: (card) => card.frames, text: (card) => grouped(card.frames) },
    { title: "entries", number: true, value: (card) => card.entries, text: (card) => grouped(card.entries) },
    { title: "bytes of heap", number: true, value: (card) => card.cost, text: (card) => grouped(card.cost) },
    { title: "status", value: (card) => card.status },
  ];
  const costs = data.cards.map((card) =>
    card.status === "fits"
      ? `A ${card.card} card would cost ${grouped(card.cost)} bytes of the heap (${sizeText(card.cost)}), for ${several(card.frames, "frame")}.`
      : `A ${card.card} card would not fit: ${card.status}, ${card.reason}.${card.advice ? ` ${card.advice}` : ""}`,
  );
  return headed(
    "What a card would cost",
    build("ul", {}, costs.map((line) => build("li", {}, line))),
    sortedTable("Cards that are not there yet; a window is a power of two", columns, data.cards),
  );
}

function strategyTable(data) {
  const { strategies } = data;
  const most = d3.max(strategies, (row) => row.heap ?? 0) || 1;
  const count = (key) => ({
    number: true,
    value: (row) => row[key] ?? -1,
    text: (row) => (row[key] === undefined ? "-" : grouped(row[key])),
  });
  const statuses = (row) => Object.entries(row.devices ?? {}).map(([status, ranges]) => `${ranges} ${status}`);
  const columns = [
    {
      title: "strategy",
      value: (row) => row.strategy,
      text: (row) => (row.strategy === data.strategy ? `${row.strategy} (this plan's)` : row.strategy),
    },
    { title: "bytes of heap", ...count("heap"), bar: (row) => (row.heap ?? 0) / most },
    { title: "bound", ...count("bound") },
    { title: "frames available", ...count("available") },
    { title: "promised", ...count("promised") },
    { title: "broken by", ...count("broken_by") },
    { title: "TLB entries", ...count("tlb") },
    { title: "device ranges", value: (row) => statuses(row).join(", ") || "-" },
    { title: "status", value: (row) => row.status },
  ];
  const refused = strategies.filter((row) => row.status === "refused");
  const why = strategies.flatMap((row) => [
    row.reason ? `${row.strategy} is refused: ${row.reason}.${row.advice ? ` ${row.advice}` : ""}` : null,
    row.advice && !row.reason ? `${row.strategy}: ${row.advice}` : null,
  ]);
  return headed(
    "Every strategy on this machine",
    sortedTable("Once the devices are published", columns, strategies),
    build("p", {}, refused.length ? "Why a strategy is refused, and what to do:" : "No strategy is refused."),
    build("ul", {}, why.filter(Boolean).map((line) => build("li", {}, line))),
  );
}

// What `plan --json` prints.
function planFigures(data) {
  const { heap, ledger, tlb, ...rest } = data.outcome;
  const figures = [
    ...["used", "planned", "backed", "bound"].map((key) => [`heap.${key}`, heap[key], "bytes"]),
    ...["promised", "available", "broken_by"].map((key) => [`ledger.${key}`, ledger[key], "frames"]),
    ["tlb.entries", tlb.entries, "entries"],
    ...["released", "clipped", "page"].map((key) => [key, rest[key], "bytes"]),
  ];
  return headed(
    "The figures of plan --json",
    build(
      "dl",
      { class: "chart-figures" },
      figures.map(([key, value, unit]) => [
        build("dt", {}, key),
        build("dd", { "data-figure": key, "data-value": value }, `${grouped(value)} ${unit}`),
      ]).flat(),
    ),
  );
}
