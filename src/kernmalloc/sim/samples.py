"""What happened over time: figures at moments of a run or replay, the map of its frames at some of them, and what
took time in between.

    unit      what the work is counted in: touches or operations
    columns   one array for each figure, all of one length; the first is `done`, the work done by then
    map       frames by cell of RAM and by type, at some of the moments
    slices    what began and ended: waits, requests, what is held; of each kind the longest, `left_out` the others

Time of slices and of the column `ticks` is ticks of a scenario, or operations of a trace.
"""

import base64
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.blocks import ORDERS
from kernmalloc.kernel.core.kern import TYPE_NAMES

DIGITS = 6  # of a number that is none of a count, in JSON

_TYPES = {
    "free": "free frames",
    "heap": "frames behind the heap and its records",
    "mapping": "frames that hold the kernel's page tables",
    "page": "frames that hold pages of the page cache, or that somebody took for pages",
    "dma": "frames that drivers hold for DMA",
    "device": "frames of published device ranges in use; they are none of RAM",
    "reserved": "frames of RAM that the loader keeps, or that are the kernel's image",
}
MEANINGS: dict[str, tuple[str, str]] = {
    "done": ("", "work done"),
    "seconds": ("s", "time of this computer since the first moment"),
    "live": ("bytes", "asked for and not given back: blocks of the heap, and objects of a trace"),
    "heap_used": ("bytes", "pages of the heap in use"),
    "heap_backed": ("bytes", "pages of the heap with frames behind them, and the records of its pages"),
    **{f"frames_{name}": ("frames", _TYPES[name]) for name in TYPE_NAMES},
    **{f"blocks_{order}": ("blocks", f"free blocks of 2^{order} frames") for order in range(ORDERS)},
    "fragmentation": ("share", "of the free frames, those that lie in no free block of 512"),
    "promised": ("frames", "promised to the space bank"),
    "available": ("frames", "that the bank could have: free, or pages"),
    "moved": ("pages", "moved out of the way of ranges so far"),
    "ticks": ("ticks", "time of the run: a touch takes one"),
    "cached": ("pages", "in the page cache"),
    "dirty": ("pages", "of those, written to and not written back yet"),
    "hit_rate": ("share", "of the touches since the moment before, those whose page had not to be read"),
    "misses": ("pages", "that had to be read so far"),
    "evictions": ("pages", "whose frame was taken for another so far"),
    "reads": ("pages", "read from the source so far"),
    "writes": ("pages", "written back to the source so far"),
    "waiting": ("callers", "processes and calls of loads that wait at the moment"),
    "waits": ("waits", "of processes and loads so far"),
    "waited": ("ticks", "that processes and loads have waited so far, waits that are over"),
}
"""Every column that there can be: its unit, and what it tells. A replay has none of those from `ticks` on."""


class Column(NamedTuple):
    """A figure over time."""

    unit: str
    meaning: str
    values: NDArray[Any]


class Slice(NamedTuple):
    """What began at `begin` and was over at `end`; an event where these are one. `track`: whose it is. `kind`: wait,
    hold, refusal, read or write. `told`: what else is known of it."""

    track: str
    kind: str
    name: str
    begin: int
    end: int
    told: Mapping[str, int | str] = MappingProxyType({})


Note = Callable[[Slice], object]


@dataclass(frozen=True)
class Maps:
    """Maps of the physical memory. `counts`: frames as an array [moments, cells, types] of uint32, types by their
    numbers in `TYPE_NAMES`. `moments`: at which of the samples each was taken. Cells are `each` frames of RAM, one
    behind the other, cut from `spans`: (first pfn, frames) of the ranges of RAM, from the lowest."""

    counts: NDArray[numpy.uint32]
    moments: NDArray[numpy.int64]
    each: int
    spans: list[tuple[int, int]]

    @property
    def dominant(self) -> NDArray[numpy.uint8]:
        """The type of most frames of each cell, as an array [moments, cells]."""
        types: NDArray[numpy.uint8] = self.counts.argmax(axis=2).astype(numpy.uint8)
        return types

    @property
    def shares(self) -> NDArray[numpy.uint8]:
        """The share of the cell's frames that is of that type, in 255ths, as an array [moments, cells]."""
        most, frames = self.counts.max(axis=2).astype(float), self.counts.sum(axis=2)
        shares: NDArray[numpy.uint8] = numpy.round(most / numpy.maximum(frames, 1) * 255).astype(numpy.uint8)
        return shares

    def to_json(self) -> dict[str, Any]:
        """`data` is base64 of gzip of bytes: those of `dominant`, then those of `shares`, moment by moment."""
        data = self.dominant.tobytes() + self.shares.tobytes()
        return {
            "types": list(TYPE_NAMES),
            "frames_per_cell": self.each,
            "cells": self.counts.shape[1],
            "spans": [list(span) for span in self.spans],
            "moments": self.moments.tolist(),
            "data": base64.b64encode(gzip.compress(data, mtime=0)).decode(),
        }


@dataclass(frozen=True)
class Samples:
    """A run or replay over time. `title`: what ran; `total`: the work that it was to do."""

    title: str
    unit: str
    total: int
    columns: dict[str, Column]
    map: Maps
    slices: list[Slice] = field(default_factory=list)
    left_out: int = 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The values of a column. KeyError: there is none of that name."""
        return self.columns[name].values

    def __len__(self) -> int:
        """Moments."""
        return len(self["done"])

    def to_json(self) -> dict[str, Any]:
        """What json can write: columns as lists, the maps packed, and no slices."""
        columns = {
            name: {"unit": column.unit, "meaning": column.meaning, "values": _plain(column.values)}
            for name, column in self.columns.items()
        }
        return {
            "title": self.title,
            "unit": self.unit,
            "total": self.total,
            "columns": columns,
            "map": self.map.to_json(),
        }


def _plain(values: NDArray[Any]) -> list[Any]:
    """Numbers as JSON has them."""
    if values.dtype.kind == "f":
        return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
    return list(values.tolist())
