// What a machine's frames are: read from its memory as it is now.

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
// for frames that nothing describes. `listed`: the boot has put frames on the free list.
export function cellsOf(machine, segments, types, regions, runs, listed) {
  const given = [...machine.given()].sort((a, b) => a[0] - b[0]);
  const [unlisted, unknown] = [types.length, types.length + 1];
  const cells = segments.map((segment) => emptyCells(segment, types.length + 2));
  for (const region of regions) {
    if (region.area === 0n) continue;
    const [base, count] = [Number(region.base), Number(region.count)];
    const rest = region.free === 0n && !listed ? unlisted : 0;
    spread(segments, cells, base, count, rest, unknown);
    let run = { first: 0, frames: 0, type: 0 }; // frames of one type, one behind the other
    const spreadRun = () => run.frames && spread(segments, cells, base + run.first, run.frames, run.type, rest);
    entriesIn(machine, given, runs, region, count, (index, type, order) => {
      const frames = Math.min(2 ** order, count - index);
      if (type === run.type && index === run.first + run.frames) run.frames += frames;
      else {
        spreadRun();
        run = { first: index, frames, type };
      }
    });
    spreadRun();
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

// Calls found(index, type, order) for each core table entry of a region that is not zero: those whose memory is given.
// `runs` are those of the heap, where core tables lie.
function entriesIn(machine, given, runs, region, count, found) {
  const stride = Number(machine.stride);
  const end = region.entries + BigInt(count * stride);
  const bytes = machine.bytes();
  for (const run of runs) {
    const [low, high] = [run.va > region.entries ? run.va : region.entries, run.va + run.bytes < end ? run.va + run.bytes : end];
    if (low >= high) continue;
    const pa = run.pa + low - run.va;
    const first = Number(pa >> BigInt(machine.pageShift));
    const start = Number(low - region.entries) - Number(pa & BigInt(machine.page - 1)); // offset of that frame's first byte
    const [least, most] = [Number(low - region.entries), Number(high - region.entries)];
    for (let at = lowerBound(given, first); at < given.length; at++) {
      const [frame, memory] = given[at];
      const offset = start + (frame - first) * machine.page;
      if (offset >= most) break;
      const stop = Math.min(offset + machine.page, most);
      for (let index = Math.ceil(Math.max(offset, least) / stride); index * stride < stop; index++) {
        const entry = memory + index * stride - offset;
        if (bytes[entry]) found(index, bytes[entry], bytes[entry + 1]);
      }
    }
  }
}

// The place of the first frame that is not below another in an array of [frame, memory], sorted.
function lowerBound(given, frame) {
  let [low, high] = [0, given.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (given[middle][0] < frame) low = middle + 1;
    else high = middle;
  }
  return low;
}
