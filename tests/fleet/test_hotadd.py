"""A guest grows in the steps that are told, from the boot memory that is told, and not from less."""

from math import isqrt

import linux_guest
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc import Machine, Profile
from kernmalloc.facade.errors import TooSmall
from kernmalloc.fleet.hotadd import AS_BOOTED, Policy, boot_memory, growth, need, with_boot_memory
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.sizes import Ram
from kernmalloc.machine.added_ram import place_ram
from kernmalloc.machine.memory_map import Range
from kernmalloc.plan.plan import plan

MIB, GIB = 1 << 20, 1 << 30
PAGE, BLOCK, STRUCTURES = 4096, 128 * MIB, 2 * MIB  # of Linux: a memory block, and its page structures
GUEST = Machine(
    name="guest",
    file="guest",
    arch="x86_64",
    ram=(Range(0, 0x9F000, "ram"), Range(MIB, 0xFEE0000, "ram")),
    firmware=(Range(0xF0000, 0x10000, "reserved"), Range(0xFFE0000, 0x20000, "reserved")),
)
LINUX = Profile.load("linux-x86_64")
POLICIES = st.builds(Policy, st.integers(0, 96).map(lambda mib: mib * MIB), st.booleans(), st.booleans())
few = settings(max_examples=30, deadline=None)


def linux_takes(size):
    """What Linux takes of RAM that is there, for the page structures and the page tables of so many bytes."""
    structures = size // BLOCK * STRUCTURES
    return structures, PAGE * (-(-size // GIB) + -(-structures // GIB))


def linux_keeps(ram):
    """What Linux does not give away for that: its watermark, raised by a page block in two zones, and its reserve."""
    return min(max(4 * isqrt(ram >> 10), 128), 256 << 10) * 1024 + 4 * MIB + min(ram // 256, 16 * MIB)


@given(st.integers(96, 600), st.integers(1, 40 * 1024), POLICIES)
@few
def test_each_step_is_paid_for_and_a_larger_one_is_not(boot, target, policy):
    """The steps are done again, with the arithmetic of the manual."""
    machine = with_boot_memory(GUEST, boot * MIB)
    found = growth(machine, LINUX, target * MIB, policy)
    assert found.boot == boot * MIB and found.more == -(-max(target - boot, 0) // 128) * BLOCK
    ram = plan(machine, LINUX).available * PAGE - 64 * MIB
    free, rest = ram - policy.used, found.more
    assert found.free == free

    def left(size):
        structures, tables = linux_takes(size)
        return free - tables - (0 if policy.on_memory else structures) - linux_keeps(max(ram, 0))

    assert (found.missing > 0) == (found.more > 0 and left(found.more) < 0) and (
        found.missing == 0 or found.missing == -left(found.more)
    )
    for step in found.steps:
        assert step.size % BLOCK == 0 and left(step.size) >= 0
        more = step.size + BLOCK
        assert more > rest or left(more) < 0 or (policy.on_memory and step.size == BLOCK)
        structures, tables = linux_takes(step.size)
        assert step.taken == tables + (0 if policy.on_memory else structures)
        gained = 0 if policy.movable else step.size - (structures if policy.on_memory else 0)
        free, ram, rest = free - step.taken + gained, ram + gained, rest - step.size
        assert step.free == free
    assert bool(found.reason) == (rest > 0) and (not rest or left(BLOCK) < 0)


@given(st.integers(1, 24), POLICIES, st.booleans())
@settings(max_examples=3, deadline=None)
def test_less_boot_memory_is_too_little(target, policy, at_once):
    """The least is found by halving; every MiB around it is tried."""
    found = need(GUEST, LINUX, target * GIB, policy, at_once)
    assert found.least is not None and found.least % MIB == 0

    def grows(memory):
        try:
            steps = growth(with_boot_memory(GUEST, memory), LINUX, target * GIB, policy)
        except TooSmall:
            return False
        return not steps.reason and (not at_once or len(steps.steps) < 2)

    assert all(grows(found.least + off * MIB) for off in range(5))
    assert not any(grows(found.least - off * MIB) for off in range(1, 5))


def test_a_guest_of_256_mib_that_grows_to_12_gib():
    """The page structures of 11.75 GiB take 188 MiB, which it has not got; in two steps it grows."""
    found = growth(GUEST, LINUX, 12 * GIB)
    assert found.boot == 256 * MIB and found.cost == 188 * MIB + 13 * PAGE
    assert 0 < found.missing < 188 * MIB
    assert len(found.steps) == 2 and not found.reason
    movable = growth(GUEST, LINUX, 12 * GIB, Policy(movable=True))
    assert len(movable.steps) == 1 and movable.reason.endswith("are missing")
    on_memory = growth(GUEST, LINUX, 12 * GIB, Policy(movable=True, on_memory=True))
    assert [step.size for step in on_memory.steps] == [BLOCK] * 94 and not on_memory.reason
    steps, at_once = need(GUEST, LINUX, 12 * GIB), need(GUEST, LINUX, 12 * GIB, at_once=True)
    assert not steps.met(96 * MIB) and steps.met(256 * MIB) and not at_once.met(256 * MIB) and at_once.met(512 * MIB)


@pytest.mark.parametrize("name", ["eros2", "x86_64", "riscv64", "coyotos-i386"])
def test_this_projects_kernel_grows_as_its_plan_says(name):
    """Added RAM pays for itself there: one step, which the plan has, too."""
    profile = Profile.load(name)
    found = growth(GUEST, profile, 12 * GIB)
    made = plan(GUEST, profile, place_ram(GUEST, [Ram(found.more)]))
    assert [(step.size, step.taken) for step in found.steps] == [(found.more, made.added[0].taken * made.page)]
    assert found.steps[0].free == made.after.available * made.page and found.cost == found.steps[0].taken
    least, most, _ = need(GUEST, profile, 12 * GIB)
    assert least is not None and not growth(with_boot_memory(GUEST, least), profile, 12 * GIB).reason
    with pytest.raises(TooSmall):
        growth(with_boot_memory(GUEST, least - MIB), profile, 12 * GIB)
    assert (most is None) == (name != "coyotos-i386")
    if most is not None:  # a machine with more has more objects, which leave too little of its heap's bound
        assert growth(with_boot_memory(GUEST, most + MIB), profile, 12 * GIB).reason
        assert not growth(with_boot_memory(GUEST, most), profile, 12 * GIB).reason


def test_a_kernel_whose_heap_is_bounded_says_so():
    """And so does one that has nothing left for what runs on it."""
    bounded = growth(GUEST, Profile.load("frames"), 12 * GIB)
    assert not bounded.steps and "bound" in bounded.reason
    full = growth(GUEST, Profile.load("eros2"), 12 * GIB, Policy(used=300 * MIB))
    assert not full.steps and full.missing == -full.free > 0
    assert need(GUEST, Profile.load("eros"), 12 * GIB).least == 12 * GIB  # no address of 32 bits for more
    none = need(GUEST, LINUX, 32 * MIB)
    assert none.least is None and none.reason


@pytest.mark.parametrize("policy", [Policy(movable=True), Policy(on_memory=True)])
def test_policies_are_those_of_linux(policy):
    with pytest.raises(InputError, match="eros2: this kernel has no m"):
        growth(GUEST, Profile.load("eros2"), GIB, policy)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=5), st.integers(1, 2000))
def test_boot_memory_is_what_is_said(parts, memory):
    ram, at = [], MIB
    for part in parts:
        ram.append(Range(at, part * MIB - 4096, "ram"))
        at += (part + 7) * MIB
    machine = Machine(name="", file="", ram=tuple(ram), carved=(Range(at - 7 * MIB - 8192, 4096, "image"),))
    other = with_boot_memory(machine, memory * MIB)
    assert boot_memory(other) == memory * MIB
    assert with_boot_memory(machine, boot_memory(machine)).ram == machine.ram
    assert all(any(r.base <= each.base and each.end <= r.end for r in other.ram) for each in other.carved)
    assert all(low.end <= high.base for low, high in zip(other.ram, other.ram[1:], strict=False))


# Real guests: Debian's Linux under QEMU.

NOISE = 512 << 10  # bytes: what a guest's own processes take and give between two looks
BEYOND = 3 * BLOCK  # whose page structures take more than 2 % of the memory of a guest of 256 MiB
OPTIONS = "memhp_default_state=online_{} memory_hotplug.memmap_on_memory={:d}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return linux_guest.software(tmp_path_factory.mktemp("linux"))


@pytest.fixture
def boots(runs, tmp_path):
    """Boots a guest: with it, the policy that has what its processes hold, so that as much is free as there is."""
    guests = []

    def boot(memory, policy=AS_BOOTED):
        options = OPTIONS.format("movable" if policy.movable else "kernel", policy.on_memory)
        folder = tmp_path / str(len(guests))
        folder.mkdir()
        guests.append(guest := linux_guest.Guest(runs, folder, memory, options))
        predicted = growth(guest.machine, LINUX, 12 * GIB, policy).free
        assert abs(predicted - guest.facts.free) <= 0.02 * memory
        return guest, policy._replace(used=predicted - guest.facts.free)

    yield boot
    for guest in guests:
        guest.__exit__()


def plugged(guest, step, policy):
    """What a step has taken and brought of a guest's memory, in bytes; None: it is refused."""
    before, after = guest.facts, guest.plug(step)
    if after is None:
        return None
    came = after.total - before.total
    assert came == step - (step // BLOCK * STRUCTURES if policy.on_memory else 0)
    return before.free + came - after.free


@pytest.mark.nightly
@pytest.mark.parametrize("policy", [Policy(), Policy(movable=True)])
def test_a_real_guest_grows_in_the_predicted_steps(policy, boots):
    """Each step takes what is predicted, within 2 % of it; after the last one of movable RAM little can be added."""
    guest, policy = boots(256 * MIB, policy)
    found = growth(guest.machine, LINUX, 12 * GIB, policy)
    assert found.steps and bool(found.reason) == policy.movable
    for step in found.steps:
        taken = plugged(guest, step.size, policy)
        assert taken is not None and abs(taken - step.taken) <= 0.02 * step.taken + NOISE
    if policy.movable:
        assert guest.plug(BEYOND) is None


@pytest.mark.nightly
def test_a_real_guest_has_no_larger_step(boots):
    """The least that is more by 2 % of its memory is refused."""
    guest, policy = boots(256 * MIB)
    assert guest.plug(growth(guest.machine, LINUX, 12 * GIB, policy).largest + BEYOND) is None


@pytest.mark.nightly
@pytest.mark.parametrize("movable", [False, True])
def test_blocks_of_a_real_guest_pay_for_themselves(movable, boots):
    guest, policy = boots(256 * MIB, Policy(movable=movable, on_memory=True))
    steps = growth(guest.machine, LINUX, 768 * MIB, policy).steps
    assert len(steps) == 4
    for step in steps:
        taken = plugged(guest, step.size, policy)
        assert taken is not None and abs(taken - step.taken) <= NOISE


@pytest.mark.nightly
def test_the_least_boot_memory_of_a_real_guest(boots):
    """For one step to 12 GiB: 2 % more boot memory will do, 2 % less will not."""
    least = need(GUEST, LINUX, 12 * GIB, at_once=True).least
    for memory, grows in ((least + least // 50, True), (least - least // 50, False)):
        guest, _ = boots(memory // MIB * MIB)
        more = growth(guest.machine, LINUX, 12 * GIB).more
        assert (guest.plug(more) is not None) == grows
