// A fleet's answer for one kernel: machines covered against the setting, a point that says what it is, machines left over.

import { build, fitted, headed, oncePerFrame } from "./dom.js";
import { grouped, percent, several, sizeText } from "./figures.js";
import { sortedTable } from "./sorted_table.js";
import { ink } from "./textures.js";

const SHARES = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1];

export function fleet(root, data, page) {
  root.append(
    ...data.says.map((sentence) => build("p", {}, sentence)),
    ...data.lines.map((line) => build("pre", {}, line)),
    fleetCurve(data),
  );
  if (data.left_over.length) root.append(leftOver(data));
}

// The curve, and under it a slider that walks over its steps and tells what each of them is.
function fleetCurve(data) {
  const text = (value) => (data.unit === "bytes" ? sizeText(value) : grouped(value));
  const chosen = data.curve.findIndex(([value]) => value === data.value);
  let at = chosen < 0 ? data.curve.length - 1 : chosen;
  const title = `Machines covered, by ${data.setting}`;
  const says = build("p", { "aria-live": "polite" });
  const slider = build("input", {
    type: "range",
    min: 0,
    max: data.curve.length - 1,
    step: 1,
    value: at,
    "aria-label": `Step of the curve: ${data.setting}`,
    input: () => {
      at = Number(slider.value);
      tell();
      again();
    },
  });
  const drawing = fitted({ class: "chart-drawing" }, (width) => curvePlot(data, title, at, width, text));
  const again = oncePerFrame(() => drawing.again());

  function tell() {
    const [value, covered] = data.curve[at];
    const next = data.curve[at + 1];
    const upTo = next ? ` up to below ${text(next[0])}` : " and more";
    const answer = at === chosen ? ` It is the answer: the smallest that covers ${grouped(data.wanted)}.` : "";
    const said =
      `${data.setting} from ${text(value)}${upTo}: ${grouped(covered)} of ${several(data.machines, "machine")} covered, ` +
      `${percent(covered / data.machines)}.${answer}`;
    says.textContent = said;
    slider.setAttribute("aria-valuetext", said);
  }

  tell();
  const columns = [
    { title: "covered", number: true, value: (share) => share, text: (share) => `${share * 100}%` },
    {
      title: "machines",
      number: true,
      value: (share) => Math.ceil(share * data.machines),
      text: (share) => grouped(Math.ceil(share * data.machines)),
    },
    { title: `least ${data.setting}`, number: true, value: (share) => least(data, share) ?? Infinity, text: (share) => shown(share) },
  ];
  const shown = (share) => (least(data, share) === undefined ? "none" : text(least(data, share)));
  return headed(
    title,
    drawing,
    build("div", { class: "chart-controls chart-sliders" }, slider),
    says,
    sortedTable(`What covers how many of ${several(data.machines, "machine")}`, columns, SHARES),
  );
}

// The least value of the curve that covers a share of the machines; undefined if none does.
function least(data, share) {
  return data.curve.find(([, covered]) => covered >= Math.ceil(share * data.machines))?.[0];
}

// Round values from 0 to `end` that stand far enough apart on a scale to be read.
function ticksOf(scale, end, bytes) {
  const ticks = [0];
  for (let power = 1; power <= end; power *= bytes ? 1024 : 10) {
    for (const part of bytes ? [1, 4, 16, 64, 256] : [1, 2, 5]) {
      const tick = part * power;
      if (tick <= end && scale(tick) - scale(ticks[ticks.length - 1]) >= 64) ticks.push(tick);
    }
  }
  return ticks;
}

function curvePlot(data, title, at, width, text) {
  const last = data.curve[data.curve.length - 1];
  const end = Math.max(last[0], data.value ?? 0, 1) * 1.15;
  const constant = Math.max(1, (data.curve.find(([value]) => value > 0) ?? [1])[0] / 4);
  return Plot.plot({
    width,
    height: 340,
    marginLeft: 56,
    marginRight: 16,
    marginTop: 24,
    marginBottom: 42,
    ariaLabel: title,
    x: {
      type: "symlog",
      constant,
      domain: [0, end],
      ticks: ticksOf(d3.scaleSymlog([0, end], [56, width - 16]).constant(constant), end, data.unit === "bytes"),
      tickFormat: (value) => (data.unit === "bytes" ? sizeText(value) : d3.format("~s")(value)),
      label: data.setting,
      grid: true,
    },
    y: { domain: [0, data.machines], grid: true, label: `machines covered, of ${grouped(data.machines)}`, tickFormat: "d" },
    marks: [
      Plot.ruleY([0]),
      Plot.ruleY([data.wanted], { stroke: "currentColor", strokeDasharray: "2 4" }),
      Plot.line([...data.curve, [end, last[1]]], { curve: "step-after", stroke: ink(0), strokeWidth: 2 }),
      Plot.tip(
        data.curve,
        Plot.pointerX({ x: "0", y: "1", title: ([value, covered]) => `${text(value)}\n${grouped(covered)} machines` }),
      ),
      data.value === null ? [] : Plot.ruleX([data.value], { stroke: ink(1), strokeDasharray: "6 3" }),
      Plot.dot([data.curve[at]], { x: "0", y: "1", r: 6, stroke: ink(1), fill: "var(--chart-ground)", strokeWidth: 2 }),
    ],
  });
}

function leftOver(data) {
  const columns = [
    { title: "machine", value: (each) => each.machine },
    { title: "why", prose: true, value: (each) => each.reason },
  ];
  const caption =
    data.left_over.length < data.all_left_over
      ? `The first ${grouped(data.left_over.length)} of ${grouped(data.all_left_over)}`
      : several(data.left_over.length, "machine");
  return headed("Machines left over", sortedTable(caption, columns, data.left_over));
}
