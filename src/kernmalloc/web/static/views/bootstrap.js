// The bootstrap: each step forward and back, what it did, its function, and what the frames and the window are then.

import { hex } from "./kernel_text.js";
import { several, sizeText } from "./figures.js";
import { build, headed } from "./dom.js";
import { memoryMap } from "./memory_map.js";

export function bootstrap(root, data, page) {
  const told = page.data;
  const slider = build("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Step of the bootstrap", input: () => goTo(Number(slider.value)) });
  const buttons = [
    build("button", { type: "button", click: () => goTo(0) }, "Start"),
    build("button", { type: "button", click: () => goTo(page.state.version - 1) }, "Back"),
    build("button", { type: "button", click: forward }, "Forward"),
    build("button", { type: "button", click: () => goTo(page.state.versions - 1) }, "End"),
  ];
  const says = build("output", { class: "step-says", "aria-live": "polite" }, "The kernel boots in this page.");
  const figures = build("dl", { class: "chart-figures" });
  const source = build("div", { class: "step-source" });
  const all = build("ol", { class: "steps" }, told.steps.map((step) => build("li", {}, build("b", {}, step.name), ` ${step.text}`)));
  const map = memoryMap(page);
  root.append(
    ...told.donation.flatMap(([question, answer]) => [build("h3", {}, question), build("p", {}, answer)]),
    ...(told.scale > 1 ? [scaledNote(told)] : []),
    build("div", { class: "chart-part" }, build("div", { class: "steps-controls" }, buttons, slider), says),
    map,
    build("div", { class: "step-beside" }, headed("After this step", figures), source),
    build("details", {}, build("summary", {}, `All ${told.steps.length} steps in words`), all),
  );

  function goTo(version) {
    if (version < 0 || version >= page.state.versions) return;
    page.ask("goTo", version);
  }

  function forward() {
    const { version, versions } = page.state;
    if (version + 1 < versions) goTo(version + 1);
    else if (!page.up) page.ask("step");
  }

  page.watch(({ version, versions, kern, written }) => {
    slider.max = versions - 1;
    slider.value = version;
    const step = version > 0 ? told.steps[version - 1] : null;
    slider.setAttribute("aria-valuetext", step ? `${version}: ${step.name}` : "before the first step");
    buttons[0].disabled = buttons[1].disabled = version === 0;
    buttons[3].disabled = version + 1 >= versions;
    buttons[2].disabled = version + 1 >= versions && page.up;
    says.textContent = spoken(told, version, page.changed);
    figures.replaceChildren(...afterStep(told, kern, written).flatMap(([name, value]) => [build("dt", {}, name), build("dd", {}, value)]));
    source.replaceChildren(...sourceOf(told, version));
  });
}

function scaledNote(told) {
  return build(
    "p",
    { class: "note" },
    `This boot would write more than 256 MiB, so what you step here is the same map scaled down: each range is a ` +
      `${told.scale}th as long. The figures of the plan are those of the whole machine.`,
  );
}

function spoken(told, version, changed) {
  if (version === 0) return "Before the first step: image and boot area are in memory, paging is on, nothing is allocated.";
  const step = told.steps[version - 1];
  if (!step) return `After ${several(Number(version - told.steps.length), "call")} from below.`;
  const where = `Step ${version} of ${told.steps.length}, ${step.name}: `;
  return where + (changed ? "with other settings than those that its words are of." : `${step.text}.`);
}

function afterStep(told, kern, written) {
  const page = 1n << BigInt(told.pageShift);
  const donated = kern.donation_frames;
  return [
    ["Stage", told.stages[Number(kern.stage)]],
    ["Donated frames", donated ? `${donated.toLocaleString("en")} from ${hex(kern.donation_pfn * page)}` : "none yet"],
    ["of them for the heap", kern.donated_heap.toLocaleString("en")],
    ["of them for mapping tables", kern.donated_maps.toLocaleString("en")],
    ["Frames described", kern.frames.toLocaleString("en")],
    ["Free frames", kern.free_frames.toLocaleString("en")],
    ["Heap frames", kern.heap_frames.toLocaleString("en")],
    ["Mapping frames", kern.mapping_frames.toLocaleString("en")],
    ["Regions", kern.region_count.toLocaleString("en")],
    ["Heap backed", sizeText(Number(kern.backed * page))],
    ["Heap bound", sizeText(Number(kern.heap_pages * page))],
    ["Frames written in this page", several(Number(written), "frame")],
  ];
}

function sourceOf(told, version) {
  const step = told.steps[version - 1];
  const stage = step ? step.stage : version === 0 ? 0 : null;
  if (stage === null) return [];
  const of = told.functions[stage];
  return [
    build("h4", {}, step ? "The function that did this step" : "The function that does the first step"),
    build("p", {}, build("code", {}, `${of.file}:${of.line}`)),
    build("pre", { tabindex: 0 }, build("code", {}, of.text)),
  ];
}
