// Object caches, as /proc/slabinfo has them, and how full they are.

import { build } from "./dom.js";
import { grouped, percent, sizeText } from "./figures.js";
import { sortedTable } from "./sorted_table.js";

const COUNTS = ["active_objs", "num_objs", "objsize", "objperslab", "pagesperslab", "active_slabs", "num_slabs"];

export function slabinfo(root, data, page) {
  const full = (cache) => (cache.num_objs ? cache.active_objs / cache.num_objs : 0);
  const bytes = (cache) => cache.active_objs * cache.objsize;
  const most = d3.max(data.caches, bytes) || 1;
  const columns = [
    { title: "name", value: (cache) => cache.name },
    ...COUNTS.map((key) => ({
      title: key,
      number: true,
      value: (cache) => cache[key],
      text: (cache) => grouped(cache[key]),
    })),
    {
      title: "in use",
      number: true,
      value: bytes,
      text: (cache) => sizeText(bytes(cache)),
      bar: (cache) => bytes(cache) / most,
      meaning: "bytes of objects in use",
    },
    { title: "full", number: true, value: full, text: (cache) => percent(full(cache)), bar: full },
  ];
  root.append(
    build("p", {}, "Press a heading to sort by it. Sizes are bytes; size-… are the heap's size classes."),
    sortedTable("Caches (as /proc/slabinfo)", columns, data.caches),
  );
}
