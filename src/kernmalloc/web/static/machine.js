// A machine in this page: the module of life wasm, its memory, and what of it changed from step to step.
//
// Concepts
//   1. Numbers of the kernel are BigInt. What is small, a count or a pfn, becomes a Number where it is shown.
//   2. The module's memory holds the soft machine's record at HOST_AT, and behind it the memory of frames, each given when
//      it is first written. A hash table says which frame has which.
//   3. A version keeps the frames that changed since the one before. To go to a version, each frame becomes what the last
//      version up to there says of it.

import { fieldsOf, readField } from "./records.js";

const HOST_AT = 1 << 20;
const WASM_PAGE = 65536;
const ROOM = 320 << 20; // bytes that one call may write: a boot at most 256 MiB, or the map is scaled down

export class Machine {
  // The machine of an image (web/image.py), with the module that runs in it.
  static async start(module, image) {
    const { instance } = await WebAssembly.instantiate(module, {});
    const machine = new Machine(instance.exports, image);
    if (instance.exports.__heap_base.value > HOST_AT) throw new Error("the module's own data is longer than 1 MiB");
    machine.makeRoom(image.framesAt + ROOM);
    machine.bytes().set(image.host, HOST_AT);
    machine.view().setBigInt64(instance.exports.km_machine.value, BigInt(HOST_AT), true);
    machine.roomForCall();
    for (const [pa, page] of image.pages) machine.bytes().set(page, Number(machine.exports.km_port_sparse_at(pa)));
    machine.exports.km_call_tlb_forget();
    machine.beginAnew();
    return machine;
  }

  constructor(exports, image) {
    this.exports = exports;
    this.pageShift = image.pageShift;
    this.page = 1 << image.pageShift;
    this.records = image.records;
    this.kernAt = BigInt(image.kern);
    this.processor = BigInt(image.processor);
    this.stride = BigInt(image.stride);
  }

  // Memory as it is now is the first version.
  beginAnew() {
    this.latest = new Map(); // frame -> its bytes at the newest version that changed it
    this.versions = []; // each a Map: frame -> its bytes
    this.at = -1;
    this.version();
  }

  bytes() {
    return new Uint8Array(this.exports.memory.buffer);
  }

  view() {
    return new DataView(this.exports.memory.buffer);
  }

  // A number of the soft machine's record.
  soft(name) {
    return readField(this.view(), HOST_AT, fieldsOf(this.records, "Soft")[name]);
  }

  sparse(name) {
    const held = fieldsOf(this.records, "Soft").sparse.offset;
    return Number(readField(this.view(), HOST_AT + held, fieldsOf(this.records, "Sparse")[name]));
  }

  putSparse(name, value) {
    const at = fieldsOf(this.records, "Soft").sparse.offset + fieldsOf(this.records, "Sparse")[name].offset;
    this.view().setBigInt64(HOST_AT + at, BigInt(value), true);
  }

  // Numbers of the soft machine's record, by name.
  putSoft(values) {
    const fields = fieldsOf(this.records, "Soft");
    for (const [name, value] of Object.entries(values)) {
      this.view().setBigInt64(HOST_AT + fields[name].offset, BigInt(value), true);
    }
  }

  makeRoom(end) {
    const lacking = end - this.exports.memory.buffer.byteLength;
    if (lacking > 0) this.exports.memory.grow(Math.ceil(lacking / WASM_PAGE));
  }

  // See to it that a call finds memory for the frames that it writes.
  roomForCall() {
    this.makeRoom(this.sparse("next") + ROOM);
    this.putSparse("end", this.exports.memory.buffer.byteLength);
  }

  // Run an entry of the kernel: its result. Throws where the kernel reached what nothing maps, or memory is used up.
  call(name, ...args) {
    this.roomForCall();
    const result = this.exports["km_call_" + name](...args.map(BigInt));
    if (this.sparse("lost")) throw new Error("the memory that this page has is used up: load it anew");
    if (this.soft("faults")) throw new Error(`${name}: nothing maps 0x${this.soft("fault").toString(16)}`);
    return result;
  }

  // Where a kernel address leads: its physical address and the log2 of the bytes of the page; null: nowhere.
  walk(va) {
    const found = this.exports.km_call_walked(va);
    return found < 0n ? null : { pa: found >> 6n, shift: Number(found & 63n) };
  }

  // Runs of an interval of addresses that are mapped: {va, pa, bytes, shift}, in each of which VA = PA + one constant, in
  // pages of one size.
  *runs(from, to) {
    for (let va = from; va < to; ) {
      const bytes = this.exports.km_call_walked_bytes(va, to);
      const walked = this.walk(va);
      if (walked) yield { va, pa: walked.pa, bytes, shift: walked.shift };
      va += bytes;
    }
  }

  // Where the frame of a physical address has its memory in the module's; 0: it has none, and is all zeros.
  memoryOf(pa) {
    if (this.exports.km_port_sparse_given(pa) === 0n) return 0;
    return Number(this.exports.km_port_sparse_at(pa));
  }

  // A copy of `length` bytes at a physical address that begins a frame.
  physical(pa, length) {
    const found = new Uint8Array(length);
    for (let at = 0; at < length; at += this.page) {
      const memory = this.memoryOf(pa + BigInt(at));
      if (memory) found.set(this.bytes().subarray(memory, memory + Math.min(this.page, length - at)), at);
    }
    return found;
  }

  // A copy of `length` bytes at a kernel address; null where nothing is mapped.
  peek(va, length) {
    const found = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = va + BigInt(done);
      const walked = this.walk(at);
      if (walked === null) return null;
      const here = Math.min(length - done, this.page - Number(at & BigInt(this.page - 1)));
      const memory = this.memoryOf(walked.pa);
      if (memory) found.set(this.bytes().subarray(memory, memory + here), done);
      done += here;
    }
    return found;
  }

  // The fields of a record at a kernel address, by name, as BigInt; of what lies inline its first number.
  read(record, va) {
    const bytes = this.peek(va, this.records[record].bytes);
    if (bytes === null) return null;
    const view = new DataView(bytes.buffer);
    const fields = fieldsOf(this.records, record);
    return Object.fromEntries(Object.values(fields).map((each) => [each.name, readField(view, 0, each)]));
  }

  kern() {
    return this.read("Kern", this.kernAt);
  }

  // Each frame that has memory: its number, and where that is.
  *given() {
    const slots = this.sparse("slots");
    const count = 2 ** this.sparse("slots_shift");
    const table = new BigInt64Array(this.exports.memory.buffer, slots, 2 * count);
    for (let slot = 0; slot < count; slot++) {
      if (table[2 * slot]) yield [Number(table[2 * slot]) - 1, Number(table[2 * slot + 1])];
    }
  }

  // Keep what changed since the last version, as a new one. Versions after the current one are dropped.
  version() {
    this.versions.length = this.at + 1;
    const words = this.page / 4;
    const memory = new Uint32Array(this.exports.memory.buffer);
    const changed = new Map();
    for (const [frame, at] of this.given()) {
      const before = this.latest.get(frame);
      const start = at / 4;
      let word = 0;
      if (before) while (word < words && memory[start + word] === before[word]) word++;
      else while (word < words && memory[start + word] === 0) word++;
      if (word < words) changed.set(frame, memory.slice(start, start + words));
    }
    for (const [frame, bytes] of changed) this.latest.set(frame, bytes);
    this.versions.push(changed);
    this.at = this.versions.length - 1;
  }

  // Make memory what it was at a version.
  goTo(version) {
    const wanted = new Map();
    for (const changed of this.versions.slice(0, version + 1)) {
      for (const [frame, bytes] of changed) wanted.set(frame, bytes);
    }
    const memory = new Uint32Array(this.exports.memory.buffer);
    const words = this.page / 4;
    for (const [frame, at] of this.given()) {
      const bytes = wanted.get(frame);
      if (bytes) memory.set(bytes, at / 4);
      else memory.fill(0, at / 4, at / 4 + words);
    }
    this.exports.km_call_tlb_forget();
    this.latest = wanted;
    this.at = version;
  }
}
