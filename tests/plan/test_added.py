"""What RAM that is added later is planned to cost is what it costs: E39, C7, C8."""

import pytest
from heap_model import effort
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from small_machines import MIB, machine
from small_machines import guest as direct

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.facade.configure import ADDED, REFUSED, configure
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES, Bank, Bytes
from kernmalloc.inputs.facts import Device, Range
from kernmalloc.inputs.sizes import Ram
from kernmalloc.machine.added_ram import SELF_HOSTED, place_ram
from kernmalloc.plan.plan import plan, with_strategy

GIB = 1 << 30
PAGE = 4096
DISK = Range(24 * MIB, 4 * MIB, "initrd", "", 0)


def fits(computer: Machine, profile: Profile) -> bool:
    """Whether a machine holds this kernel."""
    try:
        return bool(plan(computer, profile))
    except TooSmall:
        return False


def agree(computer: Machine, profile: Profile, more: tuple[Range, ...]) -> list[str]:
    """A plan and a boot come to the same, with RAM added: what became of each range."""
    made = plan(computer, profile, more)
    with Kernel.boot(computer, profile) as kernel:
        done = configure(kernel, more=more)
        assert tuple(done.added) == made.added
        if made.configured:
            ledger = done.ledger.promised, done.ledger.available, done.ledger.broken_by
            assert ledger == (made.after.promised, made.after.available, made.after.broken_by)
            assert (done.released, done.tlb.entries) == (made.after.released, made.after.tlb)
        assert kernel.check().passed
    return [each.status for each in made.added]


def agree_or_neither(computer: Machine, profile: Profile, more: tuple[Range, ...]) -> None:
    """A plan and a boot come to the same, or the machine cannot hold the kernel, and both say so."""
    try:
        agree(computer, profile, more)
    except TooSmall:
        with pytest.raises(TooSmall):
            Kernel.boot(computer, profile)


@pytest.mark.parametrize("self_hosted", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_E39_C7_C8_a_guest_that_grows(strategy, self_hosted):
    """E39, C7, C8: a guest of 256 MiB that grows by 12 GiB: where the heap may grow it fits, and the plan says to the
    frame what it takes before the memory is there."""
    guest = machine((0, 640 << 10), (MIB, 255 * MIB))
    profile = with_strategy(Profile.load("eros2"), strategy)
    more = place_ram(guest, [Ram(12 * GIB)], self_hosted)
    assert more[0].base == 4 * GIB
    grows = not STRATEGIES[strategy].affine
    assert agree(guest, profile, more) == [ADDED if grows else "refused"]
    if grows:
        added = plan(guest, profile, more).added[0]
        entries = 12 * GIB // PAGE * (profile.core.stride + profile.core.identity)
        assert entries < added.cost < entries * 1.12
        assert added.cost // PAGE < added.taken < added.cost // PAGE * 1.03
        assert added.taken <= added.hosted < added.taken * 1.03 if self_hosted else added.hosted == 0


def test_E39_C8_of_a_second_range_no_more_is_taken_than_planned():
    """E39, C8: pages that the first range left idle serve the second: the plan does not know of them."""
    profile = with_strategy(Profile.load("eros2"), "hybrid")
    profile = replace(profile, heap=replace(profile.heap, growable=Bytes(16 * MIB)))
    guest, more = machine((MIB, 96 * MIB)), (Range(4 * GIB, 300 * MIB, "ram"), Range(8 * GIB, 512 * MIB, "ram"))
    planned = plan(guest, profile, more).added
    with Kernel.boot(guest, profile) as kernel:
        done = configure(kernel, more=more).added
        assert done[0] == planned[0]
        assert (done[1].status, done[1].cost) == (ADDED, planned[1].cost)
        assert done[1].taken <= planned[1].taken < done[1].taken * 1.1
        assert kernel.check().passed


def test_E39_a_machine_too_small_for_its_memory_takes_it_self_hosted():
    """Its few free frames do not pay for the first part of what comes: the plan says so, and that the range can pay for
    itself, with as many of its own frames as it then takes."""
    profile = Profile.load("eros2")
    small = next(
        board
        for kib in range(2000, 4000, 4)
        if fits(board := machine((MIB, kib << 10)), profile) and plan(board, profile).available < 4
    )
    assert agree(small, profile, place_ram(small, [Ram(64 * MIB)])) == [REFUSED]
    more = place_ram(small, [Ram(64 * MIB)], self_hosted=True)
    assert agree(small, profile, more) == [ADDED]
    (added,) = plan(small, profile, more).added
    entries = 64 * MIB // PAGE * (profile.core.stride + profile.core.identity)
    assert added.self_hosted and entries < added.hosted * PAGE < entries * 1.2


def test_E39_C7_C8_in_a_direct_map_the_core_table_lies_in_the_range():
    """C7, C8: it takes no room of the heap."""
    board = machine((0, 64 * MIB))
    more = place_ram(board, [Ram(32 * MIB), Ram(MIB)], self_hosted=True)
    assert agree(board, direct(), more) == [ADDED, ADDED]
    added = plan(board, direct(), more).added
    assert [each.cost for each in added] == [0, 0]
    assert all(each.taken == each.hosted > 0 for each in added)


@effort(0.25)
@given(st.data())
def test_E39_C7_C8_planned_is_used(data):
    """E39, C7, C8: whatever the machine, the strategy and the range, and whosever frames describe it: plan and boot say
    the same of it, and come to the same ledger, TLB entries and release."""
    strategy = data.draw(st.sampled_from(sorted(STRATEGIES)))
    profile = with_strategy(Profile.load("eros2"), strategy)
    sizes = st.sampled_from((0, 1 * MIB, 16 * MIB))
    heap = replace(profile.heap, growable=Bytes(data.draw(sizes)), excess=Bytes(2 * MIB + data.draw(sizes)))
    bank = Bank(promised=data.draw(st.sampled_from((0, 3000))), lenient=data.draw(st.booleans()))
    profile = replace(profile, heap=heap, bank=bank, devices=replace(profile.devices, frames=64, ranges=4))
    top = data.draw(st.sampled_from((40, 96, 200)))
    computer = replace(
        machine((0, 640 << 10), (MIB, top * MIB)),
        firmware=(Range(GIB, 16 * MIB, "reserved", "", 0),),
        carved=(DISK,) if data.draw(st.booleans()) else (),
        devices=tuple(
            Device(
                base=2 * GIB + number * 64 * MIB, size=data.draw(st.sampled_from((PAGE, 16 * MIB))), name=f"{number}"
            )
            for number in range(data.draw(st.integers(0, 3)))
        ),
    )
    places = st.sampled_from((4 * GIB, 6 * GIB, DISK.base, DISK.base + MIB, MIB, GIB, 2 * GIB, 63 * GIB, 3 * MIB))
    amounts = st.sampled_from((PAGE, 9 * PAGE, MIB, 4 * MIB, 64 * MIB, 300 * MIB, 2 * GIB, 1234))
    more = (Range(data.draw(places), data.draw(amounts), data.draw(st.sampled_from(("ram", SELF_HOSTED)))),)
    agree_or_neither(computer, profile, more)


@effort(0.25)
@given(st.data())
def test_E39_C7_C8_in_a_direct_map_planned_is_used(data):
    """E39, C7, C8: the heap can grow by as much as lies in one piece behind it, and by no more."""
    heap = replace(direct().heap, growable=Bytes(data.draw(st.sampled_from((0, MIB, 16 * MIB, 64 * MIB)))))
    reach = data.draw(st.sampled_from((1 << 40, 100 * MIB)))
    profile = replace(direct(reach), heap=heap, devices=replace(direct().devices, frames=64, ranges=4))
    hole = data.draw(st.sampled_from((0, MIB, 9 * MIB)))
    below = data.draw(st.sampled_from((8, 20, 40)))
    computer = replace(
        machine((0, below * MIB), (below * MIB + hole, 24 * MIB)) if hole else machine((0, below * MIB)),
        carved=(DISK,) if data.draw(st.booleans()) and below > 28 else (),
    )
    places = st.sampled_from((80 * MIB, 4 * GIB, DISK.base, below * MIB, below * MIB - 9 * PAGE))
    amounts = st.sampled_from((PAGE, 9 * PAGE, MIB, 4 * MIB, 64 * MIB, 300 * MIB, 2 * GIB))
    more = (Range(data.draw(places), data.draw(amounts), data.draw(st.sampled_from(("ram", SELF_HOSTED)))),)
    agree_or_neither(computer, profile, more)


def test_E39_C7_C8_in_a_direct_map_page_space_describes_it():
    """C7, C8: what describes it lies behind the heap, in one piece: two ranges fit, and then the bound is reached."""
    profile = replace(direct(), heap=replace(direct().heap, growable=Bytes(2 * MIB)))
    board = machine((0, 64 * MIB))
    assert agree(board, profile, (Range(GIB, 64 * MIB, "ram"), Range(2 * GIB, 16 * MIB, "ram"))) == [ADDED, ADDED]
    assert agree(board, profile, (Range(GIB, GIB, "ram"),)) == [REFUSED]
