"""A kernel that is loaded and has not taken its first step, as a page starts it: memory, the soft machine, the entries.

Concepts
  1. A module of life wasm has one memory. The soft machine's records lie in it at HOST_AT, below them the module's own
     data. Behind them frames get memory, one after the other, as they are first written (`machine/soft_ram.py`).
  2. What lies there are the records that life soft has in this process, with the addresses that they would have in the
     module. So the page goes on where `Kernel.load` has come to.
"""

import gzip
from base64 import b64encode
from typing import NamedTuple

import numpy

from kernmalloc.facade.kernel import Kernel
from kernmalloc.lang.records import RecordType
from kernmalloc.machine.lives import SoftLife
from kernmalloc.machine.soft import Soft
from kernmalloc.machine.soft_ram import Given
from kernmalloc.machine.tlb import NONE, Core

HOST_AT = 1 << 20
SLOTS_SHIFT = 18  # of the table of frames that have memory: half as many have at most
LINE = 64


class Image(NamedTuple):
    """What a page starts a kernel with."""

    host: bytes  # what lies at HOST_AT
    frames_at: int  # where the memory of frames begins
    memory: dict[int, bytes]  # pages that are not zero, by physical address
    page_shift: int


def image(kernel: Kernel) -> Image:
    """The image of a kernel in mode soft."""
    life = kernel.handle.life
    assert isinstance(life, SoftLife)
    page_shift = kernel.profile.page_shift
    page = 1 << page_shift
    cores_at = _up(HOST_AT + Soft.size, LINE)
    slots_at = _up(cores_at + life.cores.bytes, LINE)
    sink = _up(slots_at + life.cores.slots.nbytes, page)
    table_at = sink + 2 * page
    state = life.record.copy()
    state["core"] = state["users"] = cores_at
    state["ram"], state["sink"], state["zeros"] = 0, sink, sink + page
    state["cores"] = state["core_count"] = 0
    memory_at = _up(table_at + (Given.size << SLOTS_SHIFT), page)
    state["sparse"]["slots"], state["sparse"]["slots_shift"] = table_at, SLOTS_SHIFT
    state["sparse"]["shift"], state["sparse"]["next"], state["sparse"]["end"] = page_shift, memory_at, memory_at
    cores, moved = life.cores.records.copy(), cores_at - life.cores.address(0)
    cores["notes"], cores["distances"] = HOST_AT + Soft.offset("core"), 0
    cores["tlbs"]["slots"][cores["tlbs"]["slots"] != 0] += slots_at - life.cores.slots.ctypes.data
    cores["shortcuts"]["read"] = cores["shortcuts"]["write"] = NONE
    for number in range(life.cores.count):
        cores["shortcuts"]["slot"][number] = life.cores.address(number) + moved + Core.offset("always")
    host = bytearray(sink - HOST_AT)
    for at, records in ((HOST_AT, state), (cores_at, cores), (slots_at, life.cores.slots)):
        data = numpy.ascontiguousarray(records).tobytes()
        host[at - HOST_AT : at - HOST_AT + len(data)] = data
    return Image(bytes(host), memory_at, in_pages(life.ram.snapshot(), page), page_shift)


def _up(address: int, size: int) -> int:
    return -(-address // size) * size


def in_pages(snapshot: dict[int, bytes], page: int) -> dict[int, bytes]:
    """A snapshot, which is in pages of this computer, in the machine's."""
    pages: dict[int, bytearray] = {}
    for pa, data in snapshot.items():
        whole = pages.setdefault(pa // page * page, bytearray(page))
        whole[pa % page : pa % page + len(data)] = data
    return {pa: bytes(data) for pa, data in pages.items()}


def packed(data: bytes) -> str:
    """Bytes as a page holds them: by gzip, as base64."""
    return b64encode(gzip.compress(data, 9, mtime=0)).decode()


def fields(record: RecordType) -> dict[str, object]:
    """How a record is read: its bytes, and of each field name, place, bytes of one, how many lie there (0: a number or
    a reference), what it means, and the record that lies there or is referred to."""
    rows = [
        {
            "name": name,
            "offset": each.offset,
            "bytes": each.size // (each.count or 1),
            "count": each.count,
            "meaning": each.meaning,
            "record": each.target.name if each.target else "",
        }
        for name, each in record.fields.items()
    ]
    return {"bytes": record.size, "doc": record.doc, "fields": rows}
