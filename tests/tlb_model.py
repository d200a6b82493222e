"""TLBs in plain Python, as manuals tell them: lists of ways in order of use, trees of bits. Nothing is taken from
`machine/tlb.py`; the two are held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernmalloc.machine.arch.processors import Processor, Tlb

MASK = (1 << 64) - 1


@dataclass
class Held:
    """What a way holds."""

    page: int
    size: int
    space: int
    writable: bool
    locked: bool = False


class Tree:
    """Most-recently-used bits over `count` ways: one that says whether the right half was used last, and two trees."""

    def __init__(self, low: int, count: int) -> None:
        self.low, self.count, self.right_is_recent = low, count, False
        if count > 1:
            half = 1
            while half * 2 < count:
                half *= 2
            self.left, self.right = Tree(low, half), Tree(low + half, count - half)

    def use(self, way: int) -> None:
        if self.count > 1:
            self.right_is_recent = way >= self.right.low
            (self.right if self.right_is_recent else self.left).use(way)

    def victim(self, ways: list[Held | None]) -> int:
        if self.count == 1:
            return self.low

        def open(tree: Tree) -> bool:
            return any(not each.locked for each in ways[tree.low : tree.low + tree.count] if each)

        first, second = (self.left, self.right) if self.right_is_recent else (self.right, self.left)
        return (first if open(first) else second).victim(ways)


class ModelSet:
    """One set of a TLB."""

    def __init__(self, ways: int) -> None:
        self.ways: list[Held | None] = [None] * ways
        self.used: list[int] = []  # ways by last use, the oldest first
        self.loaded: list[int] = []
        self.tree = Tree(0, ways)

    def use(self, way: int) -> None:
        held = self.ways[way]
        if held and not held.locked:
            self.note(way)

    def note(self, way: int) -> None:
        self.used = [*(each for each in self.used if each != way), way]
        self.tree.use(way)

    def place(self, replacement: str, random: Random) -> int:
        if None in self.ways:
            return self.ways.index(None)
        locked = [bool(each and each.locked) for each in self.ways]
        if replacement == "pseudo-lru":
            return self.tree.victim(self.ways)
        if replacement == "random":
            way = random.below(len(self.ways))
            while locked[way]:
                way = (way + 1) % len(self.ways)
            return way
        order = self.used if replacement == "lru" else self.loaded
        return next(way for way in order if not locked[way])

    def load(self, way: int, held: Held) -> None:
        self.ways[way] = held
        self.loaded = [*(each for each in self.loaded if each != way), way]
        self.note(way)


class Random:
    """Marsaglia's xorshift, 13 7 17."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def below(self, n: int) -> int:
        x = self.state
        x ^= x << 13 & MASK
        x ^= x >> 7
        x ^= x << 17 & MASK
        self.state = x
        return (x >> 33) * n >> 31


class ModelTlb:
    """One TLB; sizes are log2 of pages."""

    def __init__(self, of: Tlb, page_shift: int, random: Random) -> None:
        self.of, self.random = of, random
        self.sizes = [each.bit_length() - 1 - page_shift for each in of.pages]
        self.sets = [ModelSet(of.ways) for _ in range(of.sets)]

    def serves(self, level: int, kind: str) -> bool:
        return self.of.level == level and self.of.kind in (kind, "unified")

    def piece(self, size: int) -> int:
        """Of a page of that size, the size in which it is held; negative: it is not."""
        fitting = [each for each in self.sizes if 0 <= each <= size]
        return max(fitting, default=-1) if self.of.splits or size in self.sizes else -1

    def find(self, space: int, page: int) -> tuple[ModelSet, int] | None:
        for size in sorted(size for size in self.sizes if size >= 0):
            found = self.sets[(page >> size) % len(self.sets)]
            for way, held in enumerate(found.ways):
                if held and held.size == size and held.page == page >> size << size and held.space == space:
                    return found, way
        return None

    def put(self, space: int, page: int, size: int, writable: bool) -> Held:
        piece = self.piece(size)
        into = self.sets[(page >> piece) % len(self.sets)]
        held = Held(page >> piece << piece, piece, space, writable)
        into.load(into.place(self.of.replacement, self.random), held)
        return held


class ModelProcessor:
    """All TLBs of a processor."""

    def __init__(self, processor: Processor, page_shift: int, seed: int) -> None:
        random = Random(seed)
        self.processor, self.space = processor, 0
        self.tlbs = [ModelTlb(each, page_shift, random) for each in processor.tlbs]

    def look(self, level: int, kind: str, space: int, page: int, write: bool) -> Held | None:
        for tlb in self.tlbs:
            if tlb.serves(level, kind) and (found := tlb.find(space, page)):
                into, way = found
                held = into.ways[way]
                assert held
                if held.writable or not write:
                    into.use(way)
                    return held
                into.ways[way] = None
                return None
        return None

    def load(self, level: int, kind: str, space: int, page: int, size: int, writable: bool) -> None:
        fitting = [tlb for tlb in self.tlbs if tlb.serves(level, kind) and tlb.piece(size) >= 0]
        if fitting:
            max(fitting, key=lambda tlb: tlb.piece(size)).put(space, page, size, writable)

    def access(self, kind: str, space: int, page: int, size: int, write: bool, writable: bool) -> int:
        """0: level 1 has it; 1: level 2 has; 2: it is walked for."""
        if self.look(1, kind, space, page, write):
            return 0
        if held := self.look(2, kind, space, page, write):
            self.load(1, kind, space, page, held.size, held.writable)
            return 1
        self.load(2, kind, space, page, size, writable)
        self.load(1, kind, space, page, size, writable)
        return 2

    def drop(self, space: int, first: int, pages: int) -> None:
        for tlb in self.tlbs:
            for each in tlb.sets:
                for way, held in enumerate(each.ways):
                    if (
                        held
                        and held.space == space
                        and held.page < first + pages
                        and first < held.page + (1 << held.size)
                    ):
                        each.ways[way] = None

    def enter(self, space: int) -> None:
        if space == self.space:
            return
        self.space = space
        if self.processor.asid_bits:
            return
        for tlb in self.tlbs:
            for each in tlb.sets:
                for way, held in enumerate(each.ways):
                    if held and not held.locked and (held.space or not self.processor.global_entries):
                        each.ways[way] = None

    def contents(self) -> list[list[tuple[int, int, int] | None]]:
        return [
            [(held.page, held.size, held.space) if held else None for each in tlb.sets for held in each.ways]
            for tlb in self.tlbs
        ]
