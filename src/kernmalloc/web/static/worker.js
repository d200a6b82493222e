// The side of a page where the kernel runs: a worker, so that the page answers meanwhile. Messages are {id, ask, about},
// answers {id, answer} or {id, failed}.

import { Machine } from "./machine.js";
import { cellsOf, regionsOf } from "./map.js";
import { unpack } from "./unpack.js";

const MOVED = "the kernel's window would be laid out in another way";

let [machine, told, module, origin] = [null, null, null, null];

const asks = {
  async start(image) {
    told = image;
    module = await unpack(image.module);
    const memory = await unpack(image.pages);
    const view = new DataView(memory.buffer);
    const length = 8 + 2 ** image.pageShift;
    const pages = Array.from({ length: memory.length / length }, (_, at) => [
      view.getBigInt64(at * length, true),
      memory.subarray(at * length + 8, (at + 1) * length),
    ]);
    origin = { ...image, host: await unpack(image.host), pages };
    return asks.restart({});
  },

  // The kernel anew, with other settings: numbers of the `Config` record by name. Where it refuses them, with its own.
  async restart(settings) {
    machine = await Machine.start(module, origin);
    if (!Object.keys(settings).length) return { refused: null, ...state() };
    const refused = reconfigure(settings);
    if (refused === null) machine.beginAnew();
    else machine = await Machine.start(module, origin);
    return { refused, ...state() };
  },

  step() {
    const status = machine.call("boot_step", machine.processor);
    if (status >= 0n) machine.version();
    return { status, ...state() };
  },

  goTo(version) {
    machine.goTo(version);
    return state();
  },

  call([name, ...rest]) {
    const result = machine.call(name, machine.processor, ...rest);
    machine.version();
    return { result, ...state() };
  },

  check() {
    const began = performance.now();
    const result = machine.call("check", machine.processor);
    const tally = machine.read("Tally", machine.kernAt + BigInt(told.checked));
    machine.version();
    return { result, asserted: tally.asserted, milliseconds: performance.now() - began, ...state() };
  },

  read([record, va]) {
    return machine.read(record, va);
  },

  frame(pfn) {
    const region = regionsOf(machine, machine.kern()).find((each) => each.base <= pfn && pfn < each.base + each.count);
    if (!region) return { region: null, entry: null };
    const va = region.area ? region.entries + (pfn - region.base) * machine.stride : null;
    return { region, va, entry: va === null ? null : machine.read("Frame", va) };
  },

  // Each frame that is not all zeros: [pfn, its bytes].
  memory() {
    const bytes = machine.bytes();
    const found = [];
    for (const [frame, at] of machine.given()) {
      const page = bytes.slice(at, at + machine.page);
      if (page.some((byte) => byte !== 0)) found.push([frame, page]);
    }
    return found;
  },
};

// Write other settings where the loader told the kernel its own, and have it lay itself out anew: null, or why not.
function reconfigure(settings) {
  const { area, length, arrays, layout, off, on } = told.told;
  const bytes = machine.physical(BigInt(area), length);
  const memory = machine.bytes();
  for (const [, at] of machine.given()) memory.fill(0, at, at + machine.page);
  const view = new DataView(bytes.buffer);
  for (const { name, offset } of told.records.Config.fields) {
    const value = settings[name] ?? arrays[name];
    if (value !== undefined) view.setBigInt64(offset, BigInt(value), true);
  }
  for (let at = 0; at < length; at += machine.page) {
    const part = bytes.subarray(at, Math.min(at + machine.page, length));
    machine.bytes().set(part, Number(machine.exports.km_port_sparse_at(BigInt(area + at))));
  }
  machine.putSoft(off);
  machine.exports.km_call_tlb_forget();
  const root = machine.call("init", BigInt(area), 0n);
  machine.putSoft(on);
  machine.exports.km_call_tlb_forget();
  if (root < 0n && root >= -4095n) return root;
  const answered = new DataView(machine.physical(BigInt(area), length).buffer);
  const moved = told.records.Config.fields.some(
    ({ name, offset }) => name in layout && answered.getBigInt64(offset, true) !== BigInt(layout[name]),
  );
  return moved ? MOVED : null;
}

function state() {
  const kern = machine.kern();
  const regions = regionsOf(machine, kern);
  const runs = kern.stage > 0n && kern.heap ? [...machine.runs(kern.heap, kern.heap + (kern.top << kern.page_shift))] : [];
  return {
    kern,
    regions,
    cells: cellsOf(machine, told.segments, told.types, regions, runs, kern.stage >= BigInt(told.listed)),
    runs,
    version: machine.at,
    versions: machine.versions.length,
    written: machine.sparse("given"),
  };
}

self.onmessage = async ({ data: { id, ask, about } }) => {
  try {
    self.postMessage({ id, answer: await asks[ask](about) });
  } catch (error) {
    self.postMessage({ id, failed: error.message });
  }
};
