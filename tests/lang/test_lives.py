"""One source, three lives: the same operations leave the same bytes and give the same results."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conftest import CPU, KERN, NODE, NODES, PAGES, TABLE, Memory, SoftMachine
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from lang_sample import lists
from lang_sample.records import Cpu, Kern

from kernmalloc.lang import element, twin
from kernmalloc.lang.objects import Library

NUMBER = st.integers(-2, NODES + 2)
INSIDE = st.integers(0, NODES - 1)
VALUE = st.integers(-(1 << 63), (1 << 63) - 1)
OPERATION = st.one_of(
    st.tuples(st.just("push"), NUMBER),
    st.tuples(st.just("pop")),
    st.tuples(st.just("wipe"), INSIDE, st.integers(0, 255)),
    st.tuples(st.just("scribble"), INSIDE, VALUE),
    st.tuples(st.just("befriend"), INSIDE, st.integers(-2, 9)),
    st.tuples(st.just("refused"), INSIDE, st.integers(-2, 9)),
    st.tuples(st.just("last_friend"), INSIDE, st.integers(0, 9)),
    st.tuples(st.just("checked"), INSIDE),
)
NAMES = ("push", "pop", "wipe", "scribble", "befriend", "refused", "last_friend", "checked")


@pytest.mark.parametrize("base", [0, 0xC000_0000, -(1 << 31), -(1 << 47)], ids=hex)
def test_same_operations_same_bytes(objects: dict[str, bytes], base: int) -> None:
    """Raw at the host's addresses, soft and twin from `base`: the upper half of the address space is negative."""
    raw, soft = Library(objects["raw"]), Library(objects["soft"])
    checked = twin.compile([getattr(lists, name) for name in NAMES])

    @settings(max_examples=50 * EFFORT, deadline=None)
    @given(st.lists(OPERATION, max_size=50))
    def same(operations: list[tuple[Any, ...]]) -> None:
        interpreted, flat = Memory(base), Memory()
        interpreted.boot(base)
        flat.boot(flat.host)
        paged = SoftMachine(soft, base)
        paged.write(interpreted.bytes)
        twin.use(interpreted)
        for name, *arguments in operations:
            try:
                expected = checked[name](base + CPU, *arguments)
            except twin.TwinError:  # a key of -2 ** 63 less 1, a wild index: compiled code would not notice
                return
            got = raw.function(name)(flat.host + CPU, *arguments)
            address = name == "last_friend" and got != 0
            assert (got - flat.host + base if address else got) == expected
            assert soft.function(name)(base + CPU, *arguments) == expected
        assert flat.relative(flat.host) == interpreted.relative(base)
        assert paged.read() == bytes(interpreted.bytes)
        assert paged.fault == 0, "no access missed the page table"

    same()


def test_plain_execution_is_the_twin(memory: Memory) -> None:
    """A kernel module runs under CPython as it is."""
    cpu = Cpu(CPU)
    assert [lists.push(cpu, i) for i in (3, 4, NODES, 3)] == [3, 4, -1, -1]
    assert [lists.pop(cpu), lists.pop(cpu), lists.pop(cpu)] == [4, 3, -1]
    lists.wipe(cpu, 1, 0xAB)
    words = element(Kern(KERN).table, 1).words
    assert words == TABLE + NODE + 16
    assert words.value == int.from_bytes(b"\xab" * 8, "little", signed=True)


def test_two_copies_are_apart(objects: dict[str, bytes]) -> None:
    """Every Library is a copy with its own machine record; so two kernels live in one process."""
    one, two = Library(objects["raw"]), Library(objects["raw"])
    one.machine, two.machine = 111, -222
    assert (one.function("record_address")(), two.function("record_address")()) == (111, -222)
    assert one.machine == 111 and one.address("push") != two.address("push")


def booted(library: Library) -> SoftMachine:
    machine, start = SoftMachine(library), Memory()
    start.boot()
    machine.write(start.bytes)
    return machine


def test_soft_counts_misses(soft_library: Library) -> None:
    machine = booted(soft_library)
    soft_library.function("push")(CPU, 1)
    first = machine.misses
    assert first == 2, "two pages are touched: records and table"
    soft_library.function("push")(CPU, 2)
    assert machine.misses == first, "hits do not reach the page table"
    soft_library.function("push")(((PAGES + 1) << 12) + CPU, 1)
    assert machine.fault != 0, "an address outside the table is reported"


def test_host_level_code_reads_as_the_host_and_drives_the_kernel(objects: dict[str, bytes]) -> None:
    """What both levels call is there twice, once with each kind of access; an entry is always the kernel's."""
    flat = Memory()
    flat.boot(flat.host)
    raw, soft = Library(objects["raw"]), Library(objects["soft"])
    assert raw.function("push_all")(flat.host + CPU, 5) == 5
    machine = booted(soft)
    assert soft.function("push_all")(CPU, 5) == 5
    for library, cpu, host in ((raw, flat.host + CPU, flat.host + CPU), (soft, CPU, flat.host + CPU)):
        assert library.function("length")(cpu) == 4
        assert library.function("count")(host) == 4, "the host's own view of the flat copy"
    misses = machine.misses
    soft.function("count")(flat.host + CPU)
    assert machine.misses == misses, "the host does not go through the TLB"


def test_lock_holds_against_two_threads(raw: Library) -> None:
    """Atomics order what they guard: two threads lose no update, in parallel, for calls release the GIL."""
    memory, rounds = Memory(), 200_000
    memory.boot(memory.host)
    locked_add = raw.function("locked_add")
    threads = [threading.Thread(target=locked_add, args=(memory.host + CPU, rounds)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inner = KERN + Kern.offset("inner")
    assert [memory.load(inner + 8 * i, 8) for i in range(3)] == [2 * rounds, 2 * rounds, 4 * rounds]
