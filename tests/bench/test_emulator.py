"""The freestanding object on an emulated processor: it does what the same source does in another life, and what it executes
is counted exactly."""

import random
import sys
from itertools import islice

import pytest
from small_machines import MIB, conserved
from unicorn import UC_HOOK_CODE

from kernmalloc.bench import emulator
from kernmalloc.bench.emulator import BASE, CODE, CODE_END, IMAGE, Counts, processor
from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.kern import DMA, PAGE
from kernmalloc.machine.lives import Fault

RAM = 160 * MIB


def work(kernel):
    """Yields what calls of all kinds answer; at the end nothing is allocated."""
    pick = random.Random(1)
    blocks, frames = [], []
    for _ in range(400):
        size = pick.choice([16, 100, 584, 5000, 60_000, 300_000])
        blocks.append(kernel.call("malloc", size))
        frames.append(kernel.call("frame_get", pick.choice([PAGE, DMA])))
        yield blocks[-1]
        yield frames[-1]
        if pick.random() < 0.5:
            yield kernel.call("free", blocks.pop(pick.randrange(len(blocks))))
            yield kernel.call("frame_put", frames.pop(pick.randrange(len(frames))))
    yield kernel.call("range_get", 64, 64, 0, 1 << 40, -1, DMA)
    yield kernel.call("free", blocks[0] + 8)
    yield kernel.call("copy_frame", frames[0], frames[1])
    for block in blocks:
        yield kernel.call("free", block)
    for frame in frames:
        yield kernel.call("frame_put", frame)


def outside(kernel):
    """All memory but the image."""
    return {pa: page for pa, page in kernel.snapshot().items() if not BASE <= pa < BASE + IMAGE}


def test_the_bare_object_leaves_the_same_memory_as_the_soft_one():
    """Same answers, and the same bytes everywhere: page tables, core tables, heap."""
    with emulator.boot(RAM) as bare:
        answers = list(work(bare))
        conserved(bare)
        memory = outside(bare)
        with Kernel.boot(bare.machine, bare.profile, "soft") as soft:
            assert list(work(soft)) == answers
            soft.check()  # it, too, leaves something in memory
            assert outside(soft) == memory


def test_every_instruction_is_counted():
    """Unicorn calls us before every instruction, too."""
    seen = []
    with emulator.boot(RAM) as kernel:
        bare = processor(kernel)
        bare.uc.hook_add(
            UC_HOOK_CODE, lambda uc, at, size, _: seen.append(bytes(uc.mem_read(at, size))), begin=CODE, end=CODE_END
        )
        bare.uc.ctl_flush_tb()  # what was translated before does not call
        before = bare.counts
        for _ in islice(work(kernel), 40):
            pass
        counted = Counts(*(after - was for after, was in zip(bare.counts, before, strict=True)))
    assert counted == (len(seen), seen.count(b"\xfa"), sum(code[:2] == b"\x0f\x01" for code in seen))
    assert counted.locks > 10 and counted.pages > 10


def test_an_address_that_nothing_maps_is_a_fault():
    with emulator.boot(RAM) as kernel:
        heap = int(kernel.layout["windows"])  # no window is open
        with pytest.raises(Fault, match="zero"):
            kernel._life.call("zero", heap, 8)


@pytest.mark.parametrize("package", ["unicorn", "elftools"])
def test_what_is_not_installed_is_told(package, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(emulator.Missing, match=rf"{package}.*pip install 'kernmalloc\[bench\]'"):
        emulator.boot(RAM)
