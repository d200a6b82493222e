"""What a kernel says is read whole; what it could not have said is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kernmalloc.emulate import console, simulation
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.machine.memory_map import Machine

NUMBERS = some.integers(-(1 << 63), (1 << 63) - 1)


def written(number):
    """As the kernels' console writes a number."""
    return str(number) if -4096 < number < 65536 else hex(number % (1 << 64))


@given(NUMBERS)
def test_numbers_come_back(number):
    assert console.number(written(number)) == number


@given(some.integers(0, 7), some.lists(NUMBERS, max_size=7), NUMBERS)
def test_calls_come_back(cpu, arguments, result):
    line = f"cpu {cpu}: call({', '.join(map(written, arguments))}) = {written(result)}"
    (step,) = console.read(["what people read", line]).steps
    assert step == (cpu, "call", tuple(arguments), None, result, None, line)


@pytest.mark.parametrize(
    "line", ["range 1 2", "range 1 2 99", "image x y", "status", "heap: 3", "frames: many", "check: ?"]
)
def test_other_lines_are_refused(line):
    with pytest.raises(ValueError, match="not what an example kernel says"):
        console.read([line])


@pytest.fixture(scope="module")
def profile():
    return Profile.load("eros2")


@pytest.fixture(scope="module")
def lines(profile):
    """What a kernel would say that does what the simulation does: its lines are the simulation's."""
    ranges = [
        "image 0x100000 0x200000",
        "range 0 0x9f 1",
        "range 0x9f 1 5",
        "range 0x100 0x200 6",
        "range 0x300 0x1d00 1",
    ]
    machine = simulation.machine(console.read(ranges), profile.page_shift)
    with Kernel.boot(machine, profile, "soft") as kernel:
        va = kernel.call("malloc", 100)
        said = [*ranges, f"cpu 0: malloc(100) = {va:#x}", f"cpu 0: free({va:#x}) = {kernel.call('free', va)}"]
        count, mixed = 0, 0
        while (pfn := kernel.call("block_get", 9, 3)) >= 0:
            count, mixed = count + 1, (mixed * 31 + pfn) % (1 << 64)
        said.append(f"cpu 0: block_get(9, 3) * {count} = {mixed:#x}, then {pfn}")
        said += [
            f"region {r.pfn << 12:#x}-{(r.pfn + r.frames << 12) - 1:#x} {r.kind} {r.free} free" for r in kernel.regions
        ]
        said.append("frames: " + ", ".join(f"{n} {name}" for name, n in kernel.view.frames().items()))
        kern = kernel.view.kern
        said.append(f"heap: {int(kern['backed']) << 12} bytes backed, {int(kern['idle']) << 12} idle")
        said += ["check: 0", "status 0"]
    return said


def test_equal_ends_are_found_equal(lines, profile):
    outcome = simulation.compare(console.read(lines), profile)
    assert not outcome.differences and outcome.calls > 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("malloc(100)", "malloc(200)"),
        (" free\n", "1 free\n"),
        ("check: 0", "check: -17"),
        (", then -1", ", then -3"),
        ("heap: ", "heap: 1"),
        ("frames: ", "frames: 1"),
        ("malloc(", "melloc("),
        ("cpu 0: f", "cpu 1: f"),
        ("range 0x300 0x1d00", "range 0x300 0x1cff"),
    ],
)
def test_any_difference_is_told(lines, profile, old, new):
    text = "\n".join(lines)
    assert old in text
    outcome = simulation.compare(console.read(text.replace(old, new, 1).splitlines()), profile)
    assert outcome.differences


def test_the_machine_is_what_was_told():
    told = console.read(
        [
            "image 0x2000 0x3000",
            "area 0x5000 0x4000",
            "range 0 2 6",
            "range 2 3 6",
            "range 5 4 6",
            "range 9 7 1",
            "range 32 1 5",
        ]
    )
    machine = simulation.machine(told, 12)
    assert isinstance(machine, Machine)
    assert [(r.base, r.end) for r in machine.ram] == [(0, 0x10000)]
    assert [(r.base, r.end, r.kind) for r in machine.carved] == [(0x2000, 0x5000, "image"), (0, 0x2000, "firmware")]
    assert [(r.base, r.kind) for r in machine.firmware] == [(0x20000, "reserved")]
