"""The freestanding object on an emulated processor: it does what the same source does in another life, and what it
executes is counted exactly."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, conserved
from unicorn import UC_HOOK_CODE
from workload import WINDOWS, Workload, window

from kernmalloc.bench import emulator
from kernmalloc.bench.emulator import BASE, CODE, CODE_END, IMAGE, ROOM, Counts, processor
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.machine.lives import Fault

RAM = 160 * MIB


@pytest.fixture(scope="module")
def bare():
    with emulator.boot(RAM) as kernel:
        yield processor(kernel)


def not_known_zero(ram):
    """RAM as that of a bare machine: nobody vouches for what it holds."""
    ram.poison([])


def outside(kernel):
    """All memory but the image."""
    return {pa: page for pa, page in kernel.snapshot().items() if not BASE <= pa < BASE + IMAGE}


@pytest.mark.parametrize("base", WINDOWS)
def test_the_bare_object_leaves_the_same_memory_as_the_soft_one(base):
    """Its window lies at its true address. Answers are the same, and so is every byte: tables, core tables, heap."""
    with (
        emulator.boot(RAM, window(base)) as bare,
        Kernel.boot(bare.machine, bare.profile, "soft", prepare=not_known_zero) as soft,
    ):
        assert bare.handle.loaded.window == base
        works = [Workload(kernel, seed=3) for kernel in (bare, soft)]
        for work in works:
            work.run(400)
        assert works[0].answers == works[1].answers
        assert outside(bare) == outside(soft)
        for work in works:
            work.finish()
            conserved(work.kernel)
        assert outside(bare) == outside(soft)


def test_the_profile_says_where_the_window_lies():
    with emulator.boot(RAM) as bare:
        assert bare.handle.loaded.window == Profile.load("x86_64").va.base - (1 << 64)
        bare.free(bare.malloc(100))
        conserved(bare)


def test_every_instruction_is_counted():
    """Unicorn calls us before every instruction, too; of a string instruction before each step."""
    seen, places = [], []
    with emulator.boot(RAM) as kernel:
        bare = processor(kernel)

        def note(uc, at, size, _):
            code = bytes(uc.mem_read(at, size))
            if code[0] != 0xF3 or places[-1] != at:
                seen.append(code)
            places.append(at)

        bare.uc.hook_add(UC_HOOK_CODE, note, begin=CODE, end=CODE_END)
        bare.uc.ctl_flush_tb()  # what was translated before does not call
        before = bare.counts
        for size in (100, 300_000):
            for frame_type in ("page", "dma"):
                va, pfn = kernel.malloc(size), kernel.frame_get(frame_type)
                kernel.free(va)
                kernel.frame_put(pfn)
        counted = Counts(*(after - was for after, was in zip(bare.counts, before, strict=True)))
    assert counted == (len(seen), seen.count(b"\xfa"), sum(code[:2] == b"\x0f\x01" for code in seen))
    assert counted.locks > 10 and counted.pages > 10


def test_memory_that_is_restored_is_found_anew():
    """The processor forgets its translations: what it maps may be other memory now."""
    with emulator.boot(RAM) as kernel:
        before = kernel.snapshot()
        va = kernel.malloc(300_000)
        kernel.restore(before)
        assert kernel.malloc(300_000) == va
        kernel.free(va)
        conserved(kernel)


def test_an_address_that_nothing_maps_is_a_fault():
    with emulator.boot(RAM) as kernel:
        heap = int(kernel.layout["windows"])  # no window is open
        bare = emulator.processor(kernel)
        with pytest.raises(Fault, match="zero"):
            bare.run(bare.symbols["km_port_zero"], heap, 8)


@pytest.mark.parametrize("package", ["unicorn", "elftools"])
def test_what_is_not_installed_is_told(package, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    emulator.kernel_code.cache_clear()
    with pytest.raises(emulator.Missing, match=rf"{package}.*pip install 'kernmalloc\[bench\]'"):
        emulator.boot(RAM)


@given(of=st.integers(0, 32), to=st.integers(512, 544), size=st.integers(0, 448), words=st.integers(0, 32))
def test_memory_is_copied_and_filled_byte_for_byte_E14(bare, of, to, size, words):
    """By the string instructions that the object of x86 has for it; what lies around is left as it was."""
    expected = bytearray(i * 7 % 251 + 1 for i in range(1024))
    bare.write(ROOM, bytes(expected))
    assert bare.run(bare.symbols["km_port_copy"], ROOM + to, ROOM + of, size) == 0
    expected[to : to + size] = expected[of : of + size]
    assert bare.run(bare.symbols["km_port_zero"], ROOM + of // 8 * 8, 8 * words) == 0
    expected[of // 8 * 8 : of // 8 * 8 + 8 * words] = bytes(8 * words)
    assert bare.read(ROOM, len(expected)) == expected
