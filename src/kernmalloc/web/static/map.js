// What a machine's frames are, and where the heap's pages lie: read from its memory as it is now.

const RUNS = 4000; // of the heap's pages, at most

// All regions of the kernel, from the lowest.
export function regionsOf(machine, kern) {
  const found = [];
  const visit = (va) => {
    if (va === 0n || found.length > 100000) return;
    const region = machine.read("Region", va);
    if (region === null) return;
    visit(region.left);
    found.push({ va, ...region });
    visit(region.right);
  };
  visit(kern.regions);
  return found;
}

// Of each segment, its cells: {first, frames, counts by type}. A cell is a run of frames of one segment; `types` names the
// frame types, and two more follow: "unlisted" for frames that are described and not on the free list yet, and "unknown"
// for frames that nothing describes.
export function cellsOf(machine, segments, types, regions) {
  const given = new Map(machine.given());
  const [unlisted, unknown] = [types.length, types.length + 1];
  const cells = segments.map((segment) => emptyCells(segment, types.length + 2));
  for (const region of regions) {
    if (region.area === 0n) continue;
    const [base, count] = [Number(region.base), Number(region.count)];
    const rest = region.free === 0n && machine.stage < machine.listed ? unlisted : 0;
    spread(segments, cells, base, count, rest, unknown);
    entriesIn(machine, given, region, count, (index, type, order) => {
      spread(segments, cells, base + index, Math.min(2 ** order, count - index), type, rest);
    });
  }
  return cells;
}

function emptyCells(segment, types) {
  const each = Math.ceil(segment.frames / segment.cells);
  return Array.from({ length: Math.ceil(segment.frames / each) }, (_, number) => {
    const first = segment.first + number * each;
    const frames = Math.min(each, segment.first + segment.frames - first);
    const counts = new Array(types).fill(0);
    counts[types - 1] = frames;
    return { first, frames, counts };
  });
}

// Count frames as of another type than before.
function spread(segments, cells, first, count, type, before) {
  const end = first + count;
  segments.forEach((segment, at) => {
    const [low, high] = [Math.max(first, segment.first), Math.min(end, segment.first + segment.frames)];
    if (low >= high || !cells[at].length) return;
    const each = cells[at][0].frames;
    for (let cell = Math.floor((low - segment.first) / each); cell < cells[at].length; cell++) {
      const here = cells[at][cell];
      if (here.first >= high) break;
      const frames = Math.min(here.first + here.frames, high) - Math.max(here.first, low);
      here.counts[type] += frames;
      here.counts[before] -= frames;
    }
  });
}

// Calls found(index, type, order) for each core table entry of a region that is not zero, where its memory is given.
function entriesIn(machine, given, region, count, found) {
  const stride = Number(machine.stride);
  const end = region.entries + BigInt(count * stride);
  const bytes = machine.bytes();
  for (let va = region.entries; va < end; ) {
    const walked = machine.walk(va);
    if (walked === null) return;
    const reach = Number((1n << BigInt(walked.shift)) - (va & ((1n << BigInt(walked.shift)) - 1n)));
    const last = va + BigInt(reach) < end ? va + BigInt(reach) : end;
    for (let at = va; at < last; ) {
      const inside = Number(at & BigInt(machine.page - 1));
      const here = Math.min(machine.page - inside, Number(last - at));
      const memory = given.get(Number((walked.pa + (at - va)) >> BigInt(machine.pageShift)));
      if (memory !== undefined) {
        const offset = Number(at - region.entries);
        for (let index = Math.ceil(offset / stride); index * stride < offset + here; index++) {
          const entry = memory + inside + index * stride - offset;
          if (bytes[entry]) found(index, bytes[entry], bytes[entry + 1]);
        }
      }
      at += BigInt(here);
    }
    va = last;
  }
}

// The heap as it is mapped: runs of pages whose VA is PA + one constant, in pages of one size, from the lowest.
export function runsOf(machine, kern, from, to) {
  const runs = [];
  for (let va = from; va < to && runs.length < RUNS; ) {
    const walked = machine.walk(va);
    if (walked === null) {
      va += BigInt(machine.page);
      continue;
    }
    const step = BigInt(machine.direct ? Number(to - va) : 2 ** walked.shift - Number(va & (2n ** BigInt(walked.shift) - 1n)));
    const last = runs.at(-1);
    const bytes = va + step > to ? to - va : step;
    if (last && last.va + last.bytes === va && last.pa + last.bytes === walked.pa && last.shift === walked.shift) last.bytes += bytes;
    else runs.push({ va, pa: walked.pa, bytes, shift: walked.shift });
    va += bytes;
  }
  return runs;
}
