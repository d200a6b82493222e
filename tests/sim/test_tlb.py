"""One load, three mappings of the heap, and what the TLB says (C2, C3, C6, C12, E10)."""

from dataclasses import replace
from itertools import count, pairwise

import msgspec
import pytest
from collection import DATA
from small_machines import MIB, machine

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.bench import traces
from kernmalloc.facade.choice import usual_kernel
from kernmalloc.facade.distances import Distances
from kernmalloc.facade.errors import TooLarge, TooSmall
from kernmalloc.facade.profile import STRATEGIES, Bytes
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.arch.processors import PROCESSORS
from kernmalloc.plan.plan import plan, with_strategy
from kernmalloc.sim.tlb import FIXED, MAPPINGS, OF_THE_HEAP, PAGES, SERVING, compare
from kernmalloc.sim.tlb_loads import load_named

BOARD, COLDFIRE = Machine.shipped("m5475-64m"), Profile.load("coyotos-coldfire")
AFFINE = [name for name, strategy in STRATEGIES.items() if strategy.affine and not strategy.grows]


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    """A trace of 3,000 live blocks, of which one is freed and another allocated 10,000 times."""
    pairs = traces.steady(3000, 10_000, True).tolist()
    lines = [f"a {slot} {size}" if size else f"f {slot}" for slot, size in _numbered(pairs)]
    file = tmp_path_factory.mktemp("load") / "steady.rep"
    file.write_text("\n".join(["0", "13000", str(len(lines)), "1", *lines, ""]))
    return load_named(str(file))


@pytest.fixture(scope="module")
def board(replay):
    return compare(BOARD, COLDFIRE, replay)


def _numbered(pairs):
    """Each block by a number of its own, as malloc-lab wants it."""
    held, fresh = {}, count()
    for slot, size in pairs:
        if size:
            held[slot] = next(fresh)
        yield held[slot], size


def grown(done, names):
    """Entries that the load adds, by strategy."""
    return {each.strategy: each.entries for each in done.growth if each.strategy in names}


def sides(done):
    return {side.mapping: side for side in done.sides}


def test_C2_C6_the_direct_mapped_heap_takes_the_entries_that_arithmetic_says_and_misses_nothing(board):
    """C2, C6: VA = PA + constant over the heap, an entry for each MiB of it, fixed; after the boot no access to the
    heap misses, and the TLB has room for the rest."""
    fixed = sides(board)[FIXED]
    assert not fixed.reason and fixed.fixed == fixed.large > 0 and board.room > 0
    assert fixed.load.heap.accesses > 50_000 and fixed.load.heap.misses == fixed.load.heap.walks == 0
    assert fixed.fixed < board.tlb_entries == 32
    assert fixed.curve[0].entries > fixed.fixed and all(point.heap == 0 for point in fixed.curve)
    assert {name: each.misses for name, each in fixed.load.structures.items() if name in OF_THE_HEAP} == dict.fromkeys(
        OF_THE_HEAP, 0
    )


def test_C2_without_a_load_the_fixed_entries_are_those_of_the_plan():
    """C2: the plan of the board's own kernel says how many."""
    done = compare(BOARD, COLDFIRE, load_named("boot"))
    fixed, made = sides(done)[FIXED], plan(BOARD, COLDFIRE)
    assert fixed.fixed == made.locked == made.tlb.large == made.fixed.bytes // MIB
    assert fixed.heap_entries == made.tlb.heap and fixed.large + fixed.small == made.tlb.entries
    assert fixed.load.heap.misses == 0 < fixed.load.heap.accesses


def test_C3_a_page_mapped_heap_misses_most(board):
    """C3: the same load on the same machine: large pages miss less than single ones, and cost fewer cycles."""
    pages, large, fixed = (sides(board)[mapping] for mapping in MAPPINGS)
    assert pages.strategy == "demand" and pages.large == 0 and large.strategy == COLDFIRE.strategy
    assert pages.load.operations == large.load.operations == fixed.load.operations > 20_000
    assert pages.load.heap.misses > 5 * large.load.heap.misses > fixed.load.heap.misses == 0
    assert pages.load.cycles > 20 * large.load.cycles
    assert pages.load.cycles == pages.load.kernel.walks * PROCESSORS["coldfire-v4e"].walk_cycles
    assert pages.refused == large.refused == fixed.refused == 0


def test_C12_growth_after_boot_is_none_in_the_affine_strategies(board):
    """C12: the load adds no entry to the kernel's window, but to heaps that grow."""
    assert tuple(each.strategy for each in board.growth) == SERVING
    assert grown(board, AFFINE) == dict.fromkeys(AFFINE, 0)
    assert min(grown(board, ("demand", "hybrid")).values()) > 100
    assert sides(board)[PAGES].grown == board.growth[0].entries
    assert not any(each.reason or each.refused for each in board.growth)


@pytest.mark.parametrize("load", ["boot", pytest.param("steady", marks=pytest.mark.nightly)])
def test_C12_devices_and_processes_add_none_either(load):
    """C12: devices are published, or processes of a scenario map and fault."""
    done = compare(BOARD, COLDFIRE, load_named(load))
    assert grown(done, AFFINE) == dict.fromkeys(AFFINE, 0) and grown(done, ["demand"])["demand"] > 0


def test_the_same_load_gives_the_same_figures():
    once, again = (compare(BOARD, COLDFIRE, load_named("boot")) for _ in range(2))
    assert msgspec.structs.replace(once, seconds=0) == msgspec.structs.replace(again, seconds=0)


def test_the_curve_falls_and_page_mapped_lies_above(board):
    pages, large, fixed = (sides(board)[mapping].curve for mapping in MAPPINGS)
    for curve in (pages, large, fixed):
        for one, next in pairwise(curve):
            assert one.entries < next.entries and one.heap >= next.heap and one.all >= next.all
            assert one.all >= one.heap
    assert all(one.heap > other.heap for one, other in zip(pages[2:], large[2:], strict=True))


@pytest.mark.parametrize("entries", [1, 4, 24])
@pytest.mark.parametrize("strategy", ["demand", "reserve+release"])
def test_the_curve_is_what_such_a_TLB_misses(entries, strategy):
    """One pass says of each size what a run with a fully associative TLB of that size counts, miss by miss."""
    usual = PROCESSORS["coldfire-v4e"]
    data, text = usual.tlbs
    scaled = replace(usual, tlbs=(replace(data, entries=entries, ways=entries, replacement="lru"), text))
    profile = with_strategy(COLDFIRE, strategy)
    heap = msgspec.structs.replace(profile.heap, spare=Bytes(2 * MIB))
    profile = msgspec.structs.replace(profile, heap=heap, bank=msgspec.structs.replace(profile.bank, lenient=True))
    with Kernel.boot(BOARD, profile, "soft") as kernel:
        kernel.tlb_reset(scaled)
        distances = Distances(kernel)
        kernel.devices.publish(0xF000_0000, 16 * MIB)
        for size in range(16, 20_000, 77):
            kernel.free(kernel.malloc(size))
        kernel.drain()
        told, figures = distances.misses(entries), kernel.tlb()
        for name, each in figures.by_structure.items():
            if name != "text":
                assert told[name] == each.misses, name
        assert figures.total.misses > 10


@pytest.mark.parametrize("kernel, possible", [("eros2", False), ("x86_64", True)])
def test_E10_a_direct_map_of_all_RAM(kernel, possible):
    """E10: RAM from 0 to 20 GiB at VA = PA + constant does not fit 768 MiB of VA; and the heap alone takes more entries
    than a PC's TLB has."""
    done = compare(machine((0, 512 * MIB), (20 << 30, 512 * MIB)), Profile.load(kernel), load_named("boot"))
    assert (done.direct_map <= done.window) == possible
    pages, large, fixed = (sides(done)[mapping] for mapping in MAPPINGS)
    assert fixed.load is None and "entries of 2 MiB, and the TLB can keep" in fixed.reason
    assert pages.strategy == "static" and pages.boot.heap.misses > 5 * large.boot.heap.misses
    assert not done.locks and done.tlb_entries > 0


OWNERS = [name for name in Profile.shipped() if not Profile.load(name).direct]


@pytest.mark.parametrize("name", OWNERS)
def test_C3_C12_on_every_architecture(name, replay):
    """C3, C12: page by page the heap misses more than in large pages, by whatever processor; and only heaps that grow
    add entries."""
    done = compare(machine((64 * MIB, 192 * MIB)), Profile.load(name), replay)
    pages, large, fixed = (sides(done)[mapping] for mapping in MAPPINGS)
    assert pages.load.heap.misses > large.load.heap.misses and pages.load.cycles > large.load.cycles
    assert fixed.reason or (fixed.fixed == fixed.large and fixed.load.heap.misses == 0)
    assert grown(done, AFFINE) == dict.fromkeys(AFFINE, 0) and min(grown(done, ("demand", "hybrid")).values()) > 100
    assert not pages.refused and not large.refused


@pytest.mark.nightly
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the collection of machines is not at {DATA}")
@pytest.mark.parametrize("folder, step", [("dmesg", 25), ("dts", 12)])
def test_C12_on_machines_of_the_collection(folder, step):
    """C12: on real machines, each with its own kernel, publishing the devices adds no entry in the affine strategies; a
    heap that is directly mapped misses nothing, or says how many entries it takes."""
    compared = 0
    for path in sorted((DATA / "machines" / folder).iterdir())[::step]:
        try:
            board = Machine.read(path)
            done = compare(board, usual_kernel(board).profile, load_named("boot"))
        except (InputError, TooLarge, TooSmall):
            continue
        assert grown(done, AFFINE) == dict.fromkeys(AFFINE, 0), path
        fixed = sides(done)[FIXED]
        assert fixed.reason or fixed.load.heap.misses == 0, path
        compared += 1
    assert compared >= 5


def test_what_is_too_small_is_said():
    with pytest.raises(TooSmall):
        compare(machine((0, MIB // 2)), COLDFIRE, load_named("boot"))
    small = compare(machine((0, 4 * MIB)), COLDFIRE, load_named("boot"))
    assert "needs 261 frames in one piece" in sides(small)[FIXED].reason and sides(small)[PAGES].load


def test_a_load_leaves_a_sound_kernel(replay):
    """All that is looked at is as it must be, and somebody looks."""
    for each in (load_named("boot"), replay):
        with Kernel.boot(BOARD, with_strategy(each.fitted(COLDFIRE), "demand"), "soft") as kernel:
            looks = []
            assert each.begin(kernel)(lambda seen=looks, of=kernel: seen.append(of.heap.backed)) == 0
            assert looks and kernel.check().passed


def test_a_load_that_there_is_not_is_refused():
    with pytest.raises(InputError):
        load_named("no-such-trace.txt")
