"""A kernel works wherever its window lies, at its true address: in the high half of 64 bits addresses are negative, and
so are statuses. It does the same everywhere, and leaves the same memory but for the addresses in it.

The twin refuses an addition or a shift that leaves int64; every mode holds what a wild address leads to."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy
import pytest
from heap_model import effort
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from small_machines import MIB, conserved, machine
from workload import FAR, MAKERS, WINDOWS, Workload, window

from kernmalloc.facade.errors import BadAddress
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import SHIPPED, Bank, Bytes, Devices, Heap, Image, ObjectType, Profile, ProfileError
from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.lang import failed
from kernmalloc.lang.status import BAD_ADDRESS, INTERIOR, NOT_ALLOCATED, WOULD_BLOCK

RAM = 12 * MIB
OBJECTS = (
    ObjectType(name="node", size=1088, per_page=0.02, last_words=4),
    ObjectType(name="process", size=1792, pages_per=64),
    ObjectType(name="thread", size=64, count=100),
)


def profile(base: int, strategy: str = "demand") -> Profile:
    """The x86_64 kernel, small, with its window there."""
    return replace(
        Profile.load("x86_64"),
        va=window(base),
        image=Image(base=Bytes(MIB), size=Bytes(MIB)),
        strategy=strategy,
        heap=Heap(growth_frames=4, spare=Bytes(MIB), excess=Bytes(2 * MIB), growable=Bytes(MIB)),
        devices=Devices(ranges=8, frames=400),
        bank=Bank(lenient=True, cleaners=3, withheld=500),
        objects=OBJECTS,
    )


def boot(base: int, mode: str, strategy: str = "demand") -> Kernel:
    """Two processors, on a machine with a hole."""
    return Kernel.boot(machine((0, 640 << 10), (MIB, RAM - MIB)), profile(base, strategy), mode, cpus=2)


def words(kernel: Kernel) -> numpy.ndarray:
    """All of RAM, but for the tables above the directories, where their entries stand tells where the window lies, and
    for what is made of addresses: seals, and the last check's counts of them."""
    ram = numpy.frombuffer(kernel.view.ram.bytes, numpy.int64, kernel.view.ram.top // 8).copy()
    info = kernel.layout
    first, end = (int(info["area_pa"] + info[name]) >> 3 for name in ("root", "directory"))
    ram[first:end].sort()
    kern, cpu = (int(info["area_pa"] + info[name]) for name in ("kern", "cpu"))
    sealed = [(kern + Kern.offset("seal"), 16), (kern + Kern.offset("checked"), Tally.size)]
    sealed += [(cpu + number * Cpu.size + Cpu.offset("seal"), 8) for number in range(int(info["cpus"]))]
    for pa, size in sealed:
        ram[pa >> 3 : pa + size >> 3] = 0
    return ram


def same_but_for_addresses(one: Kernel, other: Kernel) -> None:
    """A word that is an address differs by the distance of the windows, a bit's address by 8 times that. Where a field
    of 32 bits keeps the lower half of an address, one half of a word differs. All other words are the same."""
    apart = other.handle.loaded.window - one.handle.loaded.window
    mine, others = words(one), words(other)
    different = numpy.flatnonzero(mine != others)
    mine, others = mine[different], others[different]
    moved = others - mine
    halves = others.view(numpy.uint32).reshape(-1, 2) - mine.view(numpy.uint32).reshape(-1, 2)
    of_a_half = ((halves == 0) | (halves == apart % (1 << 32))).all(axis=1) & (halves == 0).any(axis=1)
    fine = (moved == apart) | (moved == apart << 3) | of_a_half
    assert fine.all(), [f"{int(at) * 8:#x}" for at in different[~fine][:20]]
    assert len(different) > 100


def same(works: list[Workload]) -> list[tuple[str, int]]:
    """All answered the same, and left the same memory: the answers."""
    first, *others = works
    for work in others:
        assert work.answers == first.answers
        same_but_for_addresses(first.kernel, work.kernel)
    return first.answers


@pytest.fixture
def kernels() -> Iterator[Callable[..., list[Kernel]]]:
    """kernels(mode, strategy): one for each window; closed at the end."""
    with ExitStack() as end:
        yield lambda mode, strategy="demand": [end.enter_context(boot(base, mode, strategy)) for base in WINDOWS]


@pytest.mark.parametrize("strategy", ["demand", "reserve+release"])
def test_a_kernel_does_the_same_wherever_its_window_lies(kernels, strategy):
    """Its answers are the same, at work and when all is given back, and so is memory but for the addresses in it."""
    made = kernels("soft", strategy)
    assert [kernel.handle.loaded.window for kernel in made] == list(WINDOWS)
    works = [Workload(kernel, seed=1) for kernel in made]
    for work in works:
        work.run(1200)
    answers = same(works)
    for work in works:
        work.finish()
        conserved(work.kernel)
    same(works)
    assert {entry for entry, answer in answers if not failed(answer)} >= MAKERS - {"thread_next"}
    if strategy == "demand":
        assert ("malloc", WOULD_BLOCK) in answers
        assert any(entry == "thread_next" and answer > 0 for entry, answer in answers)


@pytest.mark.parametrize("base", WINDOWS)
def test_the_twin_leaves_the_same_memory_as_soft(base):
    """No sum, difference or shift leaves int64, whatever address is asked for: the twin refuses that."""
    with boot(base, "soft") as soft, boot(base, "twin") as twin:
        works = [Workload(kernel, seed=2) for kernel in (soft, twin)]
        for work in works:
            work.run(150)
        assert works[0].answers == works[1].answers
        assert soft.snapshot() == twin.snapshot()
        for work in works:
            work.finish()
            conserved(work.kernel)
        assert soft.snapshot() == twin.snapshot()


@effort(0.1)
@given(st.integers(0, 1 << 32), st.sampled_from(WINDOWS), st.sampled_from(["demand", "hybrid", "static"]))
def test_any_sequence_ends_with_every_frame_in_its_place(seed, base, strategy):
    with boot(base, "soft", strategy) as kernel:
        work = Workload(kernel, seed)
        work.run(200)
        conserved(kernel)
        work.finish()
        conserved(kernel)


@pytest.mark.parametrize("entry", ["free", "size_of", "umap_free", "thread_run", "thread_free", "window_close"])
@pytest.mark.parametrize("base", [-(1 << 47), 0xC000_0000])
def test_an_address_of_64_bits_that_is_nobodys_is_refused(base, entry):
    """In the twin: no address that a caller makes up leads to an overflow."""
    with boot(base, "twin") as kernel:
        end = base + (1 << 30)
        for va in (*FAR, base, base - 1, end, end - 1, *(at ^ -1 for at in FAR)):
            if va != 0 or entry != "thread_run":
                assert kernel.call(entry, va) in (BAD_ADDRESS, NOT_ALLOCATED, INTERIOR), hex(va)


def test_what_the_facade_gives_is_an_address_and_what_it_refuses_an_exception():
    """A negative address is no status."""
    with boot(-(1 << 47), "soft") as kernel:
        va = kernel.malloc(100)
        assert va < 0
        assert kernel.size_of(va) == 112
        nodes = kernel.cache("node")
        nodes.put(nodes.get())
        kernel.free(va)
        with pytest.raises(BadAddress):
            kernel.free(va)
        with kernel.thread() as thread:
            thread.free(thread.malloc(5000))


def test_a_window_may_not_contain_the_last_page_of_the_address_space():
    """There statuses lie."""
    text = (SHIPPED / "x86_64.toml").read_text()
    text = re.sub(r"^base = 0xffff888000000000$", "base = 0xffffffff80000000", text, flags=re.MULTILINE)
    with pytest.raises(ProfileError, match=r"va\.size: .* the last page of the address space"):
        Profile.parse(text.replace('size = "512 GiB"', 'size = "2 GiB"'))
    highest = Profile.parse(text.replace('size = "512 GiB"', 'size = "2046 MiB"'))
    with Kernel.boot(machine((0, 32 * MIB)), highest, "soft") as kernel:
        assert kernel.handle.loaded.window == -(1 << 31)
        kernel.free(kernel.malloc(100))
        conserved(kernel)
