"""Which record and field lies at a physical address."""

import pytest
from small_machines import MIB

from kernmalloc.bench import emulator
from kernmalloc.bench.fields import Fields, field_at
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import MAPPING, Cpu, Kern
from kernmalloc.lang import Record, array, field, inline, u8, u32


class Inner(Record):
    """Two numbers."""

    one: u32 = field("the first")
    two: u32 = field("the second")


class Outer(Record):
    """Numbers and records."""

    flag: u8 = field("a number")
    pair: Inner = inline("a record")
    pairs: Inner = array(3, "three of them")


def test_the_path_to_a_field_goes_through_records_that_lie_inside():
    found = [field_at(Outer, offset) for offset in range(0, Outer.size, 4)]
    assert found == ["flag", "pair.one", "pair.two", *["pairs.one", "pairs.two"] * 3]
    assert field_at(Outer, 1) == "" and field_at(Outer, Outer.size) == ""


@pytest.fixture(scope="module")
def kernel():
    with Kernel.boot(emulator.machine(96 * MIB), Profile.load("x86_64"), "soft", cpus=3) as kernel:
        kernel.malloc(5000)
        yield kernel


def test_every_field_of_the_kernel_and_of_each_processor_is_found(kernel):
    at = Fields(kernel).at
    loaded, view = kernel.handle.loaded, kernel.view
    for name, each in Kern.fields.items():
        assert at(loaded.kern_pa + each.offset).startswith(f"Kern.{name}")
    for va in loaded.processors:
        for name, each in Cpu.fields.items():
            assert at(view.pa(va + each.offset)).startswith(f"Cpu.{name}")


def test_what_describes_frames_and_pages_is_found_and_the_rest_is_memory(kernel):
    at, view = Fields(kernel).at, kernel.view
    for region in (region for region in view.regions() if region["area"]):
        entries = int(region["entries"])
        for frame in (0, int(region["count"]) - 1):
            assert at(view.pa(entries + frame * kernel.profile.core.stride)).startswith("Frame.")
        assert at(view.pa(int(region["words"]))) == "Region.words"
    assert at(view.pa(int(view.kern["heap_map"]))).startswith("HeapPage.")
    assert at(view.pa(kernel.malloc(100))) == at(kernel.frame_get() * kernel.profile.page) == "memory"
    types = [(base + i, kind) for base, entries in kernel.frames for i, kind in enumerate(entries["type"])]
    tables = [pfn for pfn, kind in types if kind == MAPPING]
    assert tables and {at(pfn * kernel.profile.page) for pfn in tables} == {"page table"}
