"""The walk of a processor against models that are written from the manuals (`walk_models`), over random tables, and
against the kernel's own idea of its entries. Rows E3, E17."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import walk_models
from effort import EFFORT
from flat_memory import FlatMemory
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.lang import gates, twin
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.machine import walker
from kernmalloc.machine.arch import ARCHES
from kernmalloc.machine.arch.model import Format

FORMATS = {format.name: format for arch in ARCHES.values() for format in arch.formats if format.has_tables}
FUNCTIONS = [f for f in REGISTRY if f.__module__ == walker.__name__]
WALK = twin.compile(FUNCTIONS)["walk_hardware"]
Model = Callable[..., tuple[int, int]]
MODELS: dict[str, tuple[Model, dict[str, Any]]] = {
    "i386": (functools.partial(walk_models.x86, levels=2, pae=False, width=32), {}),
    "i386-pae": (functools.partial(walk_models.x86, levels=3, pae=True, width=36), {"phys_bits": 36}),
    "x86_64": (functools.partial(walk_models.x86, levels=4, pae=True, width=46), {"phys_bits": 46}),
    "x86_64-la57": (functools.partial(walk_models.x86, levels=5, pae=True, width=52), {}),
    "armv7": (walk_models.armv7, {}),
    "armv7-lpae": (walk_models.lpae, {}),
    "aarch64": (
        functools.partial(walk_models.aarch64, granule=12, width=48, pa_bits=40),
        {"phys_bits": 40},
    ),
    "aarch64-16k": (functools.partial(walk_models.aarch64, granule=14, width=47, pa_bits=48), {}),
    "aarch64-64k": (functools.partial(walk_models.aarch64, granule=16, width=42, pa_bits=48), {}),
    "riscv32-sv32": (functools.partial(walk_models.riscv, levels=2, extended=False, sets=False), {}),
    "riscv64-sv39": (functools.partial(walk_models.riscv, levels=3, extended=False, sets=False), {}),
    "riscv64-sv48": (functools.partial(walk_models.riscv, levels=4, extended=False, sets=True), {"sets_used": True}),
    "riscv64-sv39-svpbmt": (functools.partial(walk_models.riscv, levels=3, extended=True, sets=False), {}),
    "riscv64-sv48-svpbmt": (
        functools.partial(walk_models.riscv, levels=4, extended=True, sets=True),
        {"sets_used": True},
    ),
    "coldfire": (walk_models.coldfire, {}),
}
ACCESSES = {"read": walker.READ, "write": walker.WRITE, "execute": walker.EXECUTE}
DAY, ADDRESSES = 2100, 25  # accesses to each format, by day, and addresses in the same tables
FRAMES = 9  # that tables lie in
EVERY = pytest.mark.parametrize("name", MODELS)


class Tables:
    """Memory of a few frames, full of entries that mostly lead to one another."""

    def __init__(self, name: str) -> None:
        self.format, (self.model, how) = FORMATS[name], MODELS[name]
        self.phys_bits = how.get("phys_bits", self.format.phys_bits)
        self.page = 1 << self.format.page_shift
        self.bytes = FRAMES * self.page
        self.memory = FlatMemory(self.bytes + 2 * self.page + 4096)
        self.memory.top = len(self.memory.bytes)
        self.base = self.page  # where physical address 0 is
        self.record = self.base + self.bytes
        self.memory.bytes[self.record : self.record + walker.Hardware.size] = walker.hardware(
            self.format, **how
        ).tobytes()
        self.walked = self.record + walker.Hardware.size
        self.width = 1 << self.format.word_shift

    def fill(self, seed: int) -> None:
        """Tables of each level lie in frames of their own. Their entries have the level's forms, and what the kernel
        makes; of one in three a bit is turned over."""
        numbers = numpy.random.default_rng(seed)
        entries = self.page // self.width
        f = self.format
        for frame in range(FRAMES):
            level = max(0, min(len(f.levels) - 1, frame - 3))  # a root may be four frames
            words = self._words(level)
            chosen = numbers.integers(0, len(words), entries)
            word, size = (numpy.array(column, "u8")[chosen] for column in zip(*words, strict=True))
            below = numpy.where(numbers.random(entries) < 0.95, level + 4, FRAMES).astype("u8")
            page = numbers.integers(0, 1 << self.phys_bits, entries, "u8") >> size << size
            place = numpy.where(size == 0, below << numpy.uint64(f.page_shift), page)
            word |= (place >> numpy.uint64(f.pa_shift)) & numpy.uint64(f.address)
            for share in (0.3, 0.1):
                flips = numpy.uint64(1) << numbers.integers(0, 8 * self.width, entries).astype("u8")
                word ^= numpy.where(numbers.random(entries) < share, flips, numpy.uint64(0))
            word[numbers.random(entries) < 0.05] = 0
            at = self.base + frame * self.page
            self.memory.bytes[at : at + self.page] = word.astype(f"<u{self.width}").tobytes()

    def _words(self, level: int) -> list[tuple[int, int]]:
        """What entries of a level say, without address, and log2 of the bytes of the page, or 0."""
        f, found = self.format, []
        for form in f.levels[level].forms:
            for made in (f.made.leaf, f.made.page, {**f.made.page, f.meaning.used: 1}) if form.page else ({},):
                given = {name: value for name, value in made.items() if f.has(form.kind, name)}
                found.append((f.word(form.kind, {**given, **form.tells}), form.page))
        return found

    def load(self, at: int, width: int) -> int:
        return int.from_bytes(self.memory.bytes[self.base + at : self.base + at + width], "little")

    def real(self, root: int, va: int, access: int) -> tuple[int, Any]:
        twin.use(self.memory)
        signed = va - (1 << 64) if va >> 63 else va
        fault = WALK(self.record, self.base, self.bytes, root, signed, access, self.walked)
        found = bytes(self.memory.bytes[self.walked : self.walked + walker.Walked.size])
        return fault, numpy.frombuffer(found, walker.Walked.dtype)[0]

    def compare(self, root: int, va: int, kind: str, user: bool) -> str:
        """One access: what it came to."""
        memory = walk_models.Memory(self.load, self.bytes)
        before = bytes(self.memory.bytes[self.base : self.base + self.bytes])
        access = ACCESSES[kind] | (walker.USER if user else 0)
        try:
            pa, page = self.model(memory, root, va, kind, user)
            expected = ""
        except walk_models.Fault as fault:
            expected = str(fault)
        got, walked = self.real(root, va, access)
        assert walker.FAULT_NAMES[got] == expected, (hex(root), hex(va), kind, user, hex(walked["entry"]))
        after = bytearray(before)
        if not expected:
            assert (walked["pa"], walked["page"]) == (pa, page)
            for at, entry in memory.marks.items():
                after[at : at + self.width] = entry.to_bytes(self.width, "little")
        assert self.memory.bytes[self.base : self.base + self.bytes] == after
        self.memory.bytes[self.base : self.base + self.bytes] = before
        return expected


@functools.cache
def tables(name: str) -> Tables:
    return Tables(name)


def addresses(format: Format, numbers: Any, count: int) -> Iterator[int]:
    """Virtual addresses: mostly such as there are."""
    for _ in range(count):
        va = int(numbers.integers(0, 1 << 63)) << 1 | int(numbers.integers(0, 2))
        width = format.va_bits
        low = va & (1 << width) - 1
        kind = numbers.random()
        if width == 32 or kind < 0.45:
            yield low & (1 << width - 1) - 1 if width > 32 else low
        elif kind < 0.95:
            yield low | (1 << 64) - (1 << width - 1)
        else:
            yield va


def test_the_gates_pass() -> None:
    gates.check(FUNCTIONS)


def test_every_format_has_a_model() -> None:
    assert set(MODELS) == set(FORMATS)


@EVERY
def test_walks_end_as_the_manual_says_E3(name: str) -> None:
    """Random tables, all kinds of access: page, physical address, fault, and what is marked."""
    t = tables(name)
    seen: dict[str, int] = {}
    for seed in range(DAY // (6 * ADDRESSES) * EFFORT):
        t.fill(seed)
        numbers = numpy.random.default_rng(10_000 + seed)
        for va in addresses(t.format, numbers, ADDRESSES):
            root = 4 << t.format.page_shift if numbers.random() < 0.05 else 0
            for kind in ACCESSES:
                for user in (False, True):
                    came = t.compare(root, va, kind, user)
                    seen[came] = seen.get(came, 0) + 1
    assert seen[""] > 100 and seen["not present"] and seen["no right"], seen


@EVERY
@given(data=st.data())
def test_what_the_kernel_maps_is_found_E3(name: str, data: st.DataObject) -> None:
    """Tables as the kernel writes them: the processor comes to the page, with the rights that the entry is made for."""
    t, f = tables(name), FORMATS[name]
    t.memory.clear(t.base, t.bytes)
    va = data.draw(st.integers(0, (1 << min(f.va_bits - 1, 62)) - 1))
    made = data.draw(st.sampled_from(["leaf", "page", "large", "user_large"]))
    last = len(f.levels) - (2 if "large" in made else 1)
    size = f.levels[last].shift
    pa = data.draw(st.integers(0, (1 << f.phys_bits) - 1)) >> size << size
    upper = (f.user_root, f.user_table) if made in ("page", "user_large") else (f.root, f.table)
    table = 0
    for number, level in enumerate(f.levels):
        step = f.word_shift if f.group > 1 else f.entry_shift
        at = t.base + table + ((va >> level.shift & (1 << level.bits) - 1) << step)
        table = 4 + number << f.page_shift  # a root may be four frames
        entry = pa >> f.pa_shift | getattr(f, made)
        if number < last:
            entry = table >> f.pa_shift | upper[number > 0]
        t.memory.bytes[at : at + t.width] = entry.to_bytes(t.width, "little")
        if number == last:
            break
    users = made in ("page", "user_large")
    fault, walked = t.real(0, va, walker.READ | (walker.USER if users else 0))
    if pa >> t.phys_bits:
        assert walker.FAULT_NAMES[fault] in ("reserved", "too high")
        return
    if made == "page" and not walker.hardware(f, **MODELS[name][1])["habits"] & walker.SETS_USED:
        assert walker.FAULT_NAMES[fault] == "not used"
    else:
        assert not fault
    assert (walked["pa"], walked["page"]) == (pa | va & (1 << size) - 1, size)
    theirs, own = divmod(int(walked["rights"]), 1 << walker.USERS_SHIFT)
    if users:
        assert theirs == walker.MAY_READ | walker.MAY_EXECUTE
    else:
        assert own == walker.MAY_READ | walker.MAY_WRITE | walker.MAY_EXECUTE
        assert not theirs & (walker.MAY_READ | walker.MAY_WRITE)
