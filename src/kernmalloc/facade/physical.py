"""What lies where in a kernel's physical memory, piece by piece: its regions, and inside RAM its core table entries."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.state import RegionState
from kernmalloc.kernel.core.kern import TYPE_NAMES
from kernmalloc.kernel.devices import chunks_guaranteed

DONATED, KERNEL, EXTENT = "donated", "kernel", "extent"


class Piece(NamedTuple):
    """`frames` frames from `pfn` on that are the same.

    `kind` is a frame's type ("free", "heap", "mapping", "page", "dma", "reserved"), but for what of the heap and its
    mapping tables was donated ("donated"); "kernel" for image and boot area; "reserved" also for what RAM has not and
    firmware has; "device" for a published range that has all its entries, "extent" for one that has not."""

    pfn: int
    frames: int
    kind: str


def pieces(kernel: Kernel) -> list[Piece]:
    """The pieces, from the lowest frame on; what touches and is the same is one. Between them is nothing."""
    found: list[Piece] = []
    for piece in _parts(kernel):
        before = found[-1] if found else None
        if before and before.kind == piece.kind and before.pfn + before.frames == piece.pfn:
            found[-1] = before._replace(frames=before.frames + piece.frames)
        else:
            found.append(piece)
    return found


def _parts(kernel: Kernel) -> Iterator[Piece]:
    tables = dict(kernel.frames)
    shift, layout = kernel.profile.page_shift, kernel.layout
    own = {int(layout[f"{part}_pa"]) >> shift for part in ("image", "area")}
    for region in kernel.regions:
        if region.pfn in tables:
            yield from _described(kernel, region.pfn, tables[region.pfn]["type"])
        elif region.kind == "device":
            yield Piece(region.pfn, region.frames, "device" if _whole(kernel, region) else EXTENT)
        else:
            kind = KERNEL if region.kind == "carved" and region.pfn in own else "reserved"
            yield Piece(region.pfn, region.frames, kind)


def _described(kernel: Kernel, pfn: int, types: NDArray[numpy.uint8]) -> Iterator[Piece]:
    """Frames that have entries, of so many types, from `pfn` on."""
    donation = kernel.donation
    bounds = {at - pfn for at in (donation.pfn, donation.pfn + donation.frames) if 0 < at - pfn < len(types)}
    cuts = sorted({0, *(numpy.flatnonzero(types[1:] != types[:-1]) + 1).tolist(), *bounds, len(types)})
    for first, end in pairwise(cuts):
        kind = TYPE_NAMES[types[first]]
        donated = donation.pfn <= pfn + first < donation.pfn + donation.frames
        yield Piece(pfn + first, end - first, DONATED if donated and kind != "free" else kind)


def _whole(kernel: Kernel, region: RegionState) -> bool:
    """Whether a device region has entries for all its frames."""
    held = int(kernel.view.region(region.pfn)["guaranteed"])
    return held == chunks_guaranteed(region.pfn, region.frames, region.frames)
