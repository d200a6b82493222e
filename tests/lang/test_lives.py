"""One source, three lives: the same operations leave the same bytes and give the same results."""

import os
import threading

from conftest import CPU, NODES, PAGES, Memory, SoftMachine
from hypothesis import given, settings
from hypothesis import strategies as st
from lang_sample import lists

from kernmalloc.lang import twin
from kernmalloc.lang.objects import Library

EFFORT = int(os.environ.get("KERNMALLOC_EFFORT", "1"))
NODE = st.integers(-2, NODES + 2)
INSIDE = st.integers(0, NODES - 1)
VALUE = st.integers(-(1 << 63), (1 << 63) - 1)
OPERATION = st.one_of(
    st.tuples(st.just("push"), NODE),
    st.tuples(st.just("pop")),
    st.tuples(st.just("wipe"), INSIDE, st.integers(0, 255)),
    st.tuples(st.just("scribble"), INSIDE, VALUE),
    st.tuples(st.just("checked"), INSIDE),
)


def test_same_operations_same_bytes(objects):
    raw, soft = Library(objects["raw"]), Library(objects["soft"])
    checked = twin.compile([lists.push, lists.pop, lists.wipe, lists.scribble, lists.checked])

    @settings(max_examples=100 * EFFORT, deadline=None)
    @given(st.lists(OPERATION, max_size=50))
    def same(operations):
        interpreted, flat, start = Memory(), Memory(), Memory()
        interpreted.boot()
        flat.boot(flat.host)
        start.boot()
        paged = SoftMachine(soft)
        paged.write(start.bytes)
        twin.use(interpreted)
        for name, *arguments in operations:
            try:
                expected = checked[name](CPU, *arguments)
            except twin.TwinError:  # a key of -2 ** 63 less 1, a wild index: compiled code would not notice
                return
            assert raw.function(name)(flat.host + CPU, *arguments) == expected
            assert soft.function(name)(CPU, *arguments) == expected
        assert flat.without_addresses() == interpreted.without_addresses()
        assert paged.read() == bytes(interpreted.bytes)
        assert paged.state[4] == 0, "no access missed the page table"

    same()


def test_plain_execution_is_the_twin(memory):
    """A kernel module runs under CPython as it is."""
    assert [lists.push(CPU, i) for i in (3, 4, NODES, 3)] == [3, 4, -1, -1]
    assert [lists.pop(CPU), lists.pop(CPU), lists.pop(CPU)] == [4, 3, -1]
    lists.wipe(CPU, 1, 0xAB)
    assert lists.Node(lists.node_at(0x200, 1)).words == 0x1000 + 32 + 16
    assert memory.load(0x1000 + 32 + 16, 8) == int.from_bytes(b"\xab" * 8, "little", signed=True)


def test_two_copies_are_apart(objects):
    """Every Library is a copy with its own machine record; so two kernels live in one process."""
    one, two = Library(objects["raw"]), Library(objects["raw"])
    one.machine, two.machine = 111, -222
    assert (one.function("record_address")(), two.function("record_address")()) == (111, -222)
    assert one.machine == 111 and one.address("push") != two.address("push")


def test_soft_counts_misses(soft_library):
    machine = SoftMachine(soft_library)
    start = Memory()
    start.boot()
    machine.write(start.bytes)
    soft_library.function("push")(CPU, 1)
    first = machine.state[3]
    assert first == 2, "two pages are touched: records and table"
    soft_library.function("push")(CPU, 2)
    assert machine.state[3] == first, "hits do not reach the page table"
    soft_library.function("push")(((PAGES + 1) << 12) + CPU, 1)
    assert machine.state[4] != 0, "an address outside the table is reported"


def test_host_level_code_reads_as_the_host_and_drives_the_kernel(objects):
    """What both levels call is there twice, once with each kind of access; an entry is always the kernel's."""
    flat = Memory()
    flat.boot(flat.host)
    raw, soft = Library(objects["raw"]), Library(objects["soft"])
    assert raw.function("push_all")(flat.host + CPU, 5) == 5
    machine = SoftMachine(soft)
    start = Memory()
    start.boot()
    machine.write(start.bytes)
    assert soft.function("push_all")(CPU, 5) == 5
    for library, cpu, host in ((raw, flat.host + CPU, flat.host + CPU), (soft, CPU, flat.host + CPU)):
        assert library.function("length")(cpu) == 4
        assert library.function("count")(host) == 4, "the host's own view of the flat copy"
    misses = machine.state[3]
    soft.function("count")(flat.host + CPU)
    assert machine.state[3] == misses, "the host does not go through the TLB"


def test_lock_holds_against_two_threads(raw):
    """Atomics order what they guard: two threads lose no update, in parallel, for calls release the GIL."""
    memory, rounds = Memory(), 200_000
    memory.boot(memory.host)
    locked_add = raw.function("locked_add")
    threads = [threading.Thread(target=locked_add, args=(memory.host + CPU, rounds)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inner = 0x200 + 24
    assert [memory.load(inner + 8 * i, 8) for i in range(3)] == [2 * rounds, 2 * rounds, 4 * rounds]
