"""What `kernmalloc top` shows of a moment, as text: bars, figures, rows of tables."""

from collections.abc import Mapping
from math import floor

from kernmalloc.facade.blocks import ORDERS
from kernmalloc.inputs.sizes import size
from kernmalloc.kernel.core.kern import TYPE_NAMES
from kernmalloc.sim.outcome import Load
from kernmalloc.sim.slabinfo import CacheLine

EIGHTHS = " ▏▎▍▌▋▊▉█"
NAME, COUNT, SHARE = 8, 11, 5  # columns of a bar beside it
Figures = Mapping[str, float]


def bar(share: float, width: int) -> str:
    """A bar of so many columns, filled to an eighth of one."""
    eighths = floor(min(max(share, 0), 1) * width * 8 + 0.5)
    full, rest = divmod(eighths, 8)
    return (EIGHTHS[-1] * full + (EIGHTHS[rest] if rest else "")).ljust(width)


def frames(figures: Figures, width: int) -> list[str]:
    """Frames of RAM by type, a bar each."""
    types = [name for name in TYPE_NAMES if name != "device"]
    total = sum(figures[f"frames_{name}"] for name in types)
    rows = []
    for name in types:
        count = figures[f"frames_{name}"]
        share = count / total if total else 0.0
        drawn = bar(share, max(width - NAME - COUNT - SHARE - 2, 1))
        rows.append(f"{name:<{NAME}} {drawn} {int(count):>{COUNT},}{share:>{SHARE}.0%}")
    return rows


def figures(found: Figures) -> list[str]:
    """Heap, ledger, page cache and waits, a line each. Of the bank: the frames promised, and those it could have."""
    rows = [
        f"heap used    {size(int(found['heap_used']))}",
        f"backed       {size(int(found['heap_backed']))}",
        f"asked for    {size(int(found['live']))}",
        f"bank         {int(found['promised']):,} of {int(found['available']):,}",
    ]
    if "hit_rate" in found:
        rows += [
            f"page cache   {found['hit_rate']:.1%} hits, {int(found['dirty']):,} dirty",
            f"waits        {int(found['waiting']):,} now, {int(found['waits']):,} so far",
        ]
    return rows


def orders(found: Figures) -> str:
    """Free blocks from one frame on, as /proc/buddyinfo."""
    return " ".join(f"{int(found[f'blocks_{order}']):,}" for order in range(ORDERS))


def short(count: int) -> str:
    """A count in at most six columns, up to a hundred thousand million."""
    for least, unit in ((10_000_000, 1_000_000), (100_000, 1000)):
        if count >= least:
            return f"{count // unit:,}{'M' if unit > 1000 else 'k'}"
    return f"{count:,}"


CACHE_COLUMNS = ("name", "active", "objs", "size", "slabs", "pages")


def cache(line: CacheLine) -> tuple[str, int, int, int, int, int]:
    """A row of the caches' table, as slabtop has it; pages are those of all slabs."""
    pages = line.num_slabs * line.pagesperslab
    return line.name, line.active_objs, line.num_objs, line.objsize, line.num_slabs, pages


LOAD_COLUMNS = ("load", "got", "waits", "each", "refused")


def load(each: Load) -> tuple[str, int, int, int, int]:
    """A row of the loads' table; `each` is how many ticks a wait took."""
    return each.name, each.got, each.waits, each.waited // each.waits if each.waits else 0, sum(each.refused.values())
