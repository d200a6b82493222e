// What a reader does to the kernel: every button is a call of the kernel in the page, and the log says what came of it.

import { sizeText } from "./figures.js";
import { build } from "./dom.js";
import { hex } from "./kernel_text.js";
import { recordTable } from "./memory_map.js";

const ALL = 1n << 40n;

export function tryIt(root, data, page) {
  const told = page.data;
  const log = build("ol", { class: "try-log", "aria-live": "polite", "aria-label": "What was done", tabindex: 0 });
  const blocks = build("ul", {});
  const [ranges, cards] = [build("ul", {}), build("ul", {})];
  const pageBytes = 2n ** BigInt(told.pageShift);
  const record = build("div", {});

  function say(text, refused = false) {
    log.append(build("li", { class: refused ? "no" : null }, text));
    log.scrollTop = log.scrollHeight;
  }

  // One call, and what it came to: the result, or null where the kernel refused.
  async function call(what, name, ...args) {
    try {
      const { result } = await page.ask("call", [name, ...args]);
      const refusal = page.refusal(result);
      say(refusal ? `${what}: ${refusal}` : `${what} = ${args.length && Math.abs(Number(result)) > 4096 ? hex(result) : result}`, refusal !== null);
      return refusal === null ? result : null;
    } catch (error) {
      say(`${what}: ${error.message}`, true);
      return null;
    }
  }

  // A list of what is held: a line with a button that gives it back, which stays so that it can be given back twice.
  function hold(list, text, button, giveBack) {
    const line = build("li", {}, `${text} `, build("button", { type: "button", click: async () => (await giveBack()) && line.classList.add("gone") }, button));
    list.append(line);
  }

  async function malloc(bytes, align) {
    const va = await call(`malloc(${bytes}, align=${align})`, "malloc_aligned", bytes, align);
    if (va === null) return false;
    hold(blocks, `${hex(va)}, ${bytes} bytes`, `free(${hex(va)})`, async () => (await call(`free(${hex(va)})`, "free", va)) !== null);
    return true;
  }

  async function rangeGet(frames, align) {
    const pfn = await call(`range_get(${frames}, align=${align})`, "range_get", frames, align, 0n, ALL, 0n, told.dma);
    if (pfn === null) return false;
    hold(ranges, `${frames} frames from ${hex(pfn)}`, `range_put(${hex(pfn)})`, async () => (await call(`range_put(${hex(pfn)}, ${frames})`, "range_put", pfn, frames)) !== null);
    return true;
  }

  async function publish(bytes) {
    const frames = bytes / pageBytes;
    const base = freePlace(page.state.regions, told, frames);
    if (base === null) return say(`publish of ${sizeText(Number(bytes))}: there is no room below the physical address limit`, true);
    const at = base * pageBytes;
    const done = await call(`publish(${hex(at)}, ${hex(bytes)})`, "publish", base, frames, told.deviceMemory, frames, told.anyone);
    if (done === null) return false;
    hold(cards, `${sizeText(Number(bytes))} at ${hex(at)}`, "pull it out", async () => (await call(`withdraw(${hex(at)})`, "withdraw", base)) !== null);
    return true;
  }

  async function exhaust() {
    for (let bytes = 1n << 34n; bytes >= pageBytes; ) if (!(await publish(bytes))) bytes >>= 1n;
  }

  async function check() {
    say("check: every invariant of every record, against a recount …");
    const { result, asserted, milliseconds } = await page.ask("check");
    say(result === 0n ? `check: ${asserted.toLocaleString("en")} assertions held, ${Math.round(milliseconds)} ms` : `check: BROKEN (${result})`, result !== 0n);
  }

  async function anew(settings) {
    page.changed = Object.keys(settings).length > 0;
    const { refused } = await page.ask("restart", settings);
    for (const list of [blocks, ranges, cards]) list.replaceChildren();
    if (refused !== null) {
      say(`with these settings: ${typeof refused === "string" ? refused : page.refusal(refused)}`, true);
      page.changed = false;
    }
    const status = await page.boot();
    say(status < 0n ? `boot: ${page.refusal(status)}` : `booted${page.changed ? ", with other settings" : ""}`, status < 0n);
  }

  async function decode(name) {
    const { kern, regions } = page.state;
    const caches = Array.from({ length: Number(kern.cache_count) }, (_, id) => kern.caches + BigInt(id * told.records.Cache.bytes));
    const places = { Kern: [BigInt(told.kern)], Cpu: [BigInt(told.processor)], Region: regions.map((each) => each.va), Cache: caches }[name];
    const found = await Promise.all(places.map(async (va) => [va, await page.ask("read", [name, va])]));
    record.replaceChildren(...found.filter(([, values]) => values).map(([va, values]) => recordTable(told, name, values, va)));
  }

  const number = (label, value, least = 1) => {
    const input = build("input", { type: "number", value, min: least });
    return { input, element: build("label", {}, label, input), get: () => BigInt(Math.trunc(Number(input.value) || 0)) };
  };
  const [size, align, address] = [number("bytes", 100, 0), number("align", 16), build("input", { type: "text", placeholder: "0x…", "aria-label": "address" })];
  const [frames, frameAlign] = [number("frames", 512), number("align, frames", 1)];
  const card = build("input", { type: "range", min: 20, max: 38, value: 30, "aria-label": "size of the card", input: () => (cardSays.textContent = sizeText(Number(2 ** card.value))) });
  const cardSays = build("output", {}, sizeText(Number(2 ** 30)));
  const settings = told.settings.map((each) => ({ each, ...number(`${each.meaning} (${each.key})`, each.value, 0) }));
  const sliders = settings.map(({ each, input, element }) => {
    const slide = build("input", { type: "range", min: 0, max: Math.max(4 * each.value, 256), value: each.value, "aria-label": each.meaning, input: () => (input.value = slide.value) });
    input.addEventListener("input", () => (slide.value = input.value));
    return build("div", {}, element, slide);
  });
  const button = (text, click) => build("button", { type: "button", click }, text);
  const group = (legend, ...children) => build("fieldset", {}, build("legend", {}, legend), ...children);

  root.append(
    build("p", {}, "Every button is a call of the kernel that runs in this page. What it refuses changes nothing."),
    build(
      "div",
      { class: "try" },
      group(
        "Kernel malloc",
        size.element,
        align.element,
        button("malloc", () => malloc(size.get(), align.get())),
        build("label", {}, "address", address),
        button("free", () => /^(0x[0-9a-f]+|\d+)$/i.test(address.value.trim()) ? call(`free(${address.value.trim()})`, "free", BigInt.asIntN(64, BigInt(address.value.trim()))) : say(`free(${address.value}): no address, write 0x and hexadecimal digits`, true)),
        blocks,
      ),
      group("Contiguous ranges", frames.element, frameAlign.element, button("get a range", () => rangeGet(frames.get(), frameAlign.get())), ranges),
      group(
        "Devices",
        build("label", {}, "size of the card", card),
        cardSays,
        build("div", {}, button("publish a card", () => publish(2n ** BigInt(card.value))), " ", button("exhaust the reserve", exhaust)),
        cards,
      ),
      group("Memory", button("drain", () => call("drain()", "drain")), " ", button("release", () => call("release()", "release")), " ", button("check", check)),
      group("Settings", ...sliders, button("boot anew with these", () => anew(Object.fromEntries(settings.filter(({ each, get }) => get() !== BigInt(each.value)).map(({ each, get }) => [each.name, get()]))))),
      group("Records", ...["Kern", "Cpu", "Region", "Cache"].flatMap((name) => [button(name, () => decode(name)), " "])),
    ),
    build("h3", {}, "What was done"),
    log,
    record,
  );
}

// The first frame of a free stretch above all regions, aligned to its size as the windows of cards are; null: none.
function freePlace(regions, told, frames) {
  const last = regions.at(-1);
  const above = last ? last.base + last.count : 0n;
  const base = ((above + frames - 1n) / frames) * frames;
  return base + frames <= BigInt(told.maxPfn) ? base : null;
}
