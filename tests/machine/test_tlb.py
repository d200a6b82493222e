"""TLBs against an independent model, over random streams of addresses (C2, C12)."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy
import pytest
import tlb_driver
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from tlb_model import ModelProcessor

from kernmalloc.machine import tlb
from kernmalloc.machine.arch.processors import KIB, MIB, PROCESSORS, Processor, Tlb
from kernmalloc.machine.cores import SEED, Cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernmalloc.lang.objects import Library

SHIFT = 12
KINDS = {"data": tlb.DATA, "instruction": tlb.INSTRUCTION}


@pytest.fixture(scope="session")
def library() -> Iterator[Library]:
    from kernmalloc.lang import backend, frontend
    from kernmalloc.lang.functions import REGISTRY
    from kernmalloc.lang.objects import Library

    groups = frontend.compile([tlb_driver.tlb_stream])
    yield Library(backend.link(groups, "raw"))
    REGISTRY.pop(tlb_driver.tlb_stream, None)


def stream(rnd: random.Random, count: int, large: int, locks: bool, spaces: int) -> list[tuple[int, ...]]:
    """Steps: a working set that moves, in which some large pages are mapped as such; some are dropped."""
    steps: list[tuple[int, ...]] = []
    bases = [rnd.randrange(1 << 20) << 9 for _ in range(6)]
    space = 0
    while len(steps) < count:
        base = rnd.choice(bases)
        page = base + rnd.randrange(rnd.choice((4, 64, 1500)))
        of = 0 if spaces == 0 or rnd.random() < 0.7 else space
        size = large if (page >> large) * 7 % 3 == 0 else 0
        kind = KINDS["instruction" if rnd.random() < 0.1 else "data"]
        chance = rnd.random()
        if chance < 0.004:
            steps.append((tlb_driver.DROP, 0, of, page, rnd.choice((1, 16, 700)), 0, 0, 0))
        elif chance < 0.008 and spaces:
            space = rnd.randrange(1, spaces + 1) << SHIFT
            steps.append((tlb_driver.ENTER, 0, space, 0, 0, 0, 0, 0))
        elif chance < 0.012 and locks:
            steps.append((tlb_driver.LOCK, 0, 0, page >> size << size, size, 0, 0, 0))
        elif chance < 0.02:
            bases[rnd.randrange(len(bases))] = rnd.randrange(1 << 20) << 9
        else:
            for _ in range(rnd.randrange(1, 4)):
                writable = page % 5 != 0
                write = writable and rnd.random() < 0.4
                steps.append((tlb_driver.ACCESS, kind, of, page, size, write, writable, 0))
    return steps


def compared(processor: Processor, steps: list[tuple[int, ...]], library: Library, large: int, shift: int) -> int:
    """Do the same in both, and hold every step against the other: how many were walked for."""
    sizes = [0, large]
    cores = Cores(processor, shift, [1 << shift + size for size in sizes], 1)
    model = ModelProcessor(processor, shift, SEED)
    records = numpy.array(steps, numpy.int64).reshape(len(steps), 8)
    library.function("tlb_stream")(cores.address(0), records.ctypes.data, len(steps), shift)
    names = {number: name for name, number in KINDS.items()}
    walked = 0
    for number, (step, row) in enumerate(zip(steps, records.tolist(), strict=True)):
        what, kind, space, page, size, write, writable, _ = step
        if what == tlb_driver.ACCESS:
            expected = model.access(names[kind], space, page, size, bool(write), bool(writable))
            walked += expected == 2
            assert row[7] == expected, (processor.name, number, step)
        elif what == tlb_driver.DROP:
            model.drop(space, page, size)
        elif what == tlb_driver.ENTER:
            model.enter(space)
        else:
            locked(model, page, size, row[7])
    held = [(s["page"], s["size"], s["space"]) if s["page"] != tlb.NONE else None for s in cores.slots]
    assert held == [each for one in model.contents() for each in one]
    return walked


def locked(model: ModelProcessor, page: int, size: int, result: int) -> None:
    """Lock an entry in the model, unless that would leave a set none to replace."""
    found = next((t.find(0, page) for t in model.tlbs if t.serves(1, "data") and t.find(0, page)), None)
    if not found:
        model.load(1, "data", 0, page, size, True)
        found = next(t.find(0, page) for t in model.tlbs if t.serves(1, "data") and t.find(0, page))
    assert found
    into, way = found
    held = into.ways[way]
    assert held
    room = sum(not (each and each.locked) for each in into.ways) > 1
    assert result == room
    if room:
        held.locked = True
        into.note(way)
        into.loaded = [*(each for each in into.loaded if each != way), way]


@pytest.mark.parametrize("name", PROCESSORS)
def test_processors_are_the_models(name: str, library: Library) -> None:
    """E3, C2: every access hits, misses level 1 or is walked for where an independent model says so."""
    processor = PROCESSORS[name]
    shift = 13 if name == "coldfire-v4e" else SHIFT
    large = {"coldfire-v4e": 7, "pentium": 10, "i486": 10, "cortex-a7": 8}.get(name, 9)
    for seed in range(EFFORT):
        steps = stream(random.Random(seed), 6000, large, processor.locks, 5)
        assert compared(processor, steps, library, large, shift) > 200


tlbs = st.builds(
    lambda ways, sets, pages, replacement, kind, level, splits: Tlb(
        name="any",
        kind=kind,
        level=level,
        entries=ways << sets,
        ways=ways,
        pages=pages,
        splits=splits,
        replacement=replacement,
        replacement_known="estimate",
        source="",
    ),
    st.integers(1, 12),
    st.integers(0, 3),
    st.sampled_from([(4 * KIB,), (4 * KIB, MIB), (4 * KIB, 2 * MIB), (2 * MIB,)]),
    st.sampled_from(["lru", "pseudo-lru", "random", "round-robin"]),
    st.sampled_from(["data", "unified"]),
    st.integers(1, 2),
    st.booleans(),
)


@settings(max_examples=40 * EFFORT)
@given(st.lists(tlbs, max_size=4), st.integers(2, 9), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_any_geometry_is_the_models(
    library: Library, more: list[Tlb], ways: int, asids: bool, keeps: bool, locks: bool, seed: int
) -> None:
    first = replace(PROCESSORS["i486"].tlbs[0], entries=ways, ways=ways)
    processor = replace(PROCESSORS["i486"], tlbs=(first, *more), asid_bits=8 * asids, global_entries=keeps, locks=locks)
    compared(processor, stream(random.Random(seed), 400, 9, locks, 3), library, 9, SHIFT)


def test_a_processor_without_small_pages_is_refused() -> None:
    large = replace(PROCESSORS["i486"].tlbs[0], pages=(2 * MIB,))
    with pytest.raises(ValueError, match="no TLB of level 1 holds pages of 4096 bytes"):
        Cores(replace(PROCESSORS["i486"], tlbs=(large,)), SHIFT, [4 * KIB, 2 * MIB], 1)
