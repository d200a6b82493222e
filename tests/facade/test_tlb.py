"""What TLBs count: by structure, by processor, for processes, and for a heap that is locked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy
import pytest

from kernmalloc.facade.distances import Distances
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile, ProfileError
from kernmalloc.facade.tlb import STRUCTURES, TlbFigures
from kernmalloc.kernel.map.miss import Refill
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.processors import KIB, PROCESSORS, processor_for
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.plan import plan, with_strategy
from kernmalloc.sim.run import run, run_on
from kernmalloc.sim.scenario import Scenario, plain_pc

SMALL = Path(__file__).parent.parent / "data" / "machines" / "laptop-20m.toml"


def booted(profile: str | Profile, cpus: int = 1, mode: str = "soft") -> Kernel:
    made = profile if isinstance(profile, Profile) else Profile.load(profile)
    return Kernel.boot(Machine.read(str(SMALL)), made, mode=mode, cpus=cpus)


def counted(kernel: Kernel) -> TlbFigures:
    figures = kernel.tlb()
    assert figures is not None
    return figures


def work(kernel: Kernel) -> None:
    """Blocks and frames come and go, in compiled code that writes to them."""
    box, words = kernel.call("malloc_zeroed", 8 * 512), 512
    assert kernel.call("churn", box, words, 7, 3000) == 0
    assert kernel.call("churn_end", box, words) == 0
    kernel.free(box)


def test_only_the_soft_machine_counts() -> None:
    for mode in ("raw", "twin"):
        with booted("eros2", mode=mode) as kernel:
            kernel.tlb_reset()
            assert kernel.tlb() is None and kernel.tlb_counts() is None
    with booted("guest") as kernel:
        work(kernel)
        assert kernel.tlb() is None, "whoever maps a direct map says how"


@pytest.mark.parametrize("profile", Profile.shipped())
def test_every_access_is_of_a_structure(profile: str) -> None:
    """E10: what is counted adds up, level 2 has what is no walk, and the slots are there."""
    if processor_for(Profile.load(profile).arch) is None:
        return
    with Kernel.boot(plain_pc(1 << 28), Profile.load(profile), "soft") as kernel:
        boot = counted(kernel)
        assert boot.processor is processor_for(kernel.profile.arch) and boot.by_structure["core table"].accesses > 0
        kernel.tlb_reset()
        before = counted(kernel)
        assert before.total.accesses == before.operations == sum(before.held.values()) == 0
        work(kernel)
        after = counted(kernel)
        assert list(after.by_structure) == list(STRUCTURES) and after.by_structure["processes"].accesses == 0
        for name, each in after.by_structure.items():
            assert each.accesses >= each.misses >= each.walks >= 0, name
        assert after.kernel == after.total
        text, stack = after.by_structure["text"], after.by_structure["stack"]
        page = kernel.profile.page
        assert text.accesses == after.operations * -(-16 * KIB // page) and stack.accesses == after.operations >= 3000
        line = kernel.tlb_counts()
        assert line and line.misses == sum(each.misses for each in line.structures.values()) == after.total.misses
        assert kernel.check().passed


def test_windows_and_tables_are_told_apart() -> None:
    with booted("eros2") as kernel:
        kernel.tlb_reset()
        kernel.malloc(3 << 20)
        grown = counted(kernel).by_structure
        assert grown["mapping frames"].accesses > 768 and grown["windows"].accesses == 0
        pfn = kernel.frame_get()
        kernel.tlb_reset()
        window = kernel.call("window_open", pfn)
        kernel.call("window_close", window)
        assert counted(kernel).by_structure["mapping frames"].accesses > 0
        kernel.frame_put(pfn)
        assert kernel.check().passed


def test_each_processor_has_tlbs_of_its_own() -> None:
    """What one has loaded the other has to walk for."""
    with booted("eros2", cpus=2) as kernel:
        kernel.frame_type(1000)
        kernel.tlb_reset()
        kernel.frame_type(1000)
        first = counted(kernel).total.walks
        for _ in range(5):
            kernel.frame_type(1000)
        assert counted(kernel).total.walks == first > 0
        kernel.cpu(1).frame_type(1000)
        assert counted(kernel).total.walks >= 2 * first - 2
        kernel.frame_type(1000)
        assert counted(kernel).total.walks <= 2 * first + 2


@pytest.mark.parametrize("strategy", ["reserve", "release", "reserve+release"])
def test_C2_C12_a_locked_heap_never_misses(strategy: str) -> None:
    """As many entries as the plan says, and after the boot no access to the heap misses, nor takes another entry."""
    profile = with_strategy(Profile.load("coyotos-coldfire"), strategy)
    made = plan(Machine.read(str(SMALL)), profile)
    with booted(profile) as kernel:
        kernel.tlb_reset(locked=True)
        figures = counted(kernel)
        assert figures.locked == made.locked == made.tlb.large == figures.held["heap"] > 0
        work(kernel)
        after = counted(kernel)
        for name in ("heap", "core table"):
            assert after.by_structure[name].misses == 0, name
        assert after.by_structure["heap"].accesses > 0 and after.held["heap"] == made.locked == after.locked
        assert kernel.check().passed


def test_C12_a_heap_of_pages_misses_as_it_grows() -> None:
    """The same work and processor: a page-mapped heap takes entries, and misses."""
    profile = with_strategy(Profile.load("coyotos-coldfire"), "demand")
    with booted(profile) as kernel:
        kernel.tlb_reset()
        work(kernel)
        figures = counted(kernel)
        assert figures.by_structure["heap"].walks > 10 and figures.locked == 0
        with pytest.raises(ValueError, match="Skylake locks no entries"):
            kernel.tlb_reset(PROCESSORS["skylake"], locked=True)


def test_more_entries_miss_less_often() -> None:
    """The curve: the same load on TLBs of 4 to 64 entries, least recently used replaced."""
    with booted("eros2") as kernel:
        misses = []
        for entries in (4, 8, 16, 32, 64):
            of = PROCESSORS["i486"]
            tlb = replace(of.tlbs[0], entries=entries, ways=entries, replacement="lru")
            kernel.tlb_reset(replace(of, tlbs=(tlb,)))
            work(kernel)
            misses.append(counted(kernel).total.misses)
        assert misses == sorted(misses, reverse=True) and misses[0] > 3 * misses[-1]


CROWD = """
summary = "processes and kernel in one TLB"
touches = 6000
ram = "4 MiB"
cpus = 2
[[processes]]
name = "readers"
count = 4
pages = 60
zipf = 0.9
writes = 0.3
"""


def shared(asid_bits: int, global_entries: bool) -> TlbFigures:
    """What the scenario comes to on such a processor."""
    scenario, found = Scenario.parse(CROWD), list[TlbFigures]()
    with Kernel.boot(scenario.machine_made(), scenario.profile(), "soft", cpus=scenario.cpus) as kernel:
        kernel.tlb_reset(replace(PROCESSORS["zen4"], asid_bits=asid_bits, global_entries=global_entries))
        done = run_on(kernel, scenario, over=lambda: found.append(counted(kernel)))
    assert done.held
    return found[0]


def test_processes_and_the_kernel_share_a_tlb() -> None:
    """A processor that does not tell address spaces apart walks anew after each change of process; one without global
    entries does so for the kernel, too."""
    apart, changing, forgetful = shared(12, True), shared(0, True), shared(0, False)
    assert apart.by_structure["processes"].accesses >= 6000
    walks = [each.by_structure["processes"].walks for each in (apart, changing, forgetful)]
    assert walks[0] < walks[1] / 2 and 0.9 < walks[1] / walks[2] < 1.1
    kernel = [each.kernel.walks for each in (apart, changing, forgetful)]
    assert kernel[1] <= kernel[0] * 1.1 and kernel[2] > 1.5 * kernel[1]


@pytest.mark.parametrize("name", ["pentium", "i486", "cortex-a53", "zen4", "skylake"])
def test_shortcuts_change_nothing(name: str) -> None:
    """The short way of a hit and the long way come to the same counts, access by access, for kernel and processes."""
    scenario, found = Scenario.parse(CROWD), list[TlbFigures]()
    for long_way in (False, True):
        with Kernel.boot(scenario.machine_made(), scenario.profile(), "soft", cpus=scenario.cpus) as kernel:
            kernel.tlb_reset(PROCESSORS[name])
            watching = Distances(kernel) if long_way else None
            work(kernel)
            assert run_on(kernel, scenario, over=lambda kernel=kernel: found.append(counted(kernel))).held
            assert watching is None or watching.misses(1)["heap"] > 0
    assert found[0] == found[1]


def test_C2_what_a_soft_tlb_loads_is_what_the_miss_handler_answers() -> None:
    """ColdFire: every entry that the TLBs hold after the same work, asked of the kernel's own handler."""
    valid_read_write, sizes = 0x18, {0: 2, 7: 0}  # log2 of pages: MMUDR's SZ
    with booted("coyotos-coldfire") as soft, booted("coyotos-coldfire", mode="raw") as raw:
        for kernel in (soft, raw):
            work(kernel)
        life, refill = raw.handle.life, numpy.zeros((), Refill.dtype)
        at, memory = refill.ctypes.data, life.ram.address
        assert life.call("coldfire_aim", at, memory, raw.handle.loaded.root) == 0
        slots = soft.handle.life.cores.held()
        assert len(slots) > 12
        for slot in slots:
            va = int(slot["page"]) << 13
            words = life.call("coldfire_miss", at, va) & (1 << 64) - 1
            tag, data = words >> 32, words & 0xFFFF_FFFF
            size = int(slot["size"])
            assert tag & -(1 << 13 + size) == va and tag & 1 and data & -(1 << 13 + size) == int(slot["pa"])
            assert data >> 8 & 3 == sizes[size] and data & valid_read_write == valid_read_write
        assert soft.check().passed and raw.check().passed


def test_a_run_tells_its_tlbs() -> None:
    scenario = Scenario.parse(CROWD)
    done = run(scenario, "soft")
    assert done.held and done.tlb_counted and done.tlb_counted.structures["processes"].accesses >= 6000
    assert run(scenario).tlb_counted is None


@pytest.mark.parametrize("kernel", ["i386", "armv7", "aarch64", "riscv64", "coyotos-coldfire"])
def test_processes_run_on_every_architecture(kernel: str) -> None:
    """Whether the processor marks what is used or faults for it: the same run in raw and in soft, every page right."""
    text = CROWD.replace('ram = "4 MiB"', f'ram = "8 MiB"\nkernel = "{kernel}"').replace("pages = 60", "pages = 900")
    outcomes = [run(Scenario.parse(text), mode) for mode in ("raw", "soft")]
    assert all(each.held and each.evictions > 0 and each.touches >= 6000 for each in outcomes)
    same = [(each.faults, each.misses, each.evictions, each.ticks, each.frames) for each in outcomes]
    assert same[0] == same[1]
    counted = outcomes[1].tlb_counted
    assert counted and counted.structures["processes"].walks > 0


@pytest.mark.parametrize(
    "key, said",
    [
        ('processor = "z80"', "tlb.processor: unknown processor 'z80' \\(known: zen4, skylake\\)"),
        ('processor = "cortex-a53"', "tlb.processor: ARM Cortex-A53 has no page tables of i386-pae"),
    ],
)
def test_a_profile_names_a_processor_of_its_architecture(key: str, said: str) -> None:
    text = (Path(__file__).parents[2] / "src/kernmalloc/profiles/eros2.toml").read_text()
    with pytest.raises(ProfileError, match=said):
        Profile.parse(text.replace("[heap]", f"[tlb]\n{key}\n[heap]", 1))
    zen = text.replace("[heap]", '[tlb]\nprocessor = "zen4"\ntext = "32 KiB"\nstack = 100\n[heap]', 1)
    with booted(Profile.parse(zen)) as kernel:
        figures = counted(kernel)
        assert (
            figures.processor is PROCESSORS["zen4"] and figures.by_structure["text"].accesses == 8 * figures.operations
        )


def test_software_loads_what_formats_say() -> None:
    for name, format in FORMATS.items():
        usual = processor_for(name)
        assert usual is None or (usual.loads == "software") == (format.loading is not None)
