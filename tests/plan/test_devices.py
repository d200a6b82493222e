"""Which devices fit, as planned and as published: every range, every strategy, and the advice where one does not."""

import msgspec
import pytest
from collection import DATA, machines
from hypothesis import given, settings
from hypothesis import strategies as st
from small_machines import MIB, machine

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.facade.configure import configure
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES, Strategy
from kernmalloc.inputs.facts import Device
from kernmalloc.machine.cards import with_card
from kernmalloc.plan.advice import IN_BYTES, advise, fits_tuned, tuned
from kernmalloc.plan.compare import single
from kernmalloc.plan.plan import plan, with_strategy

GIB = 1 << 30
BOUNDED = [name for name in STRATEGIES if name != "demand"]


def with_devices(computer: Machine, *windows: tuple[int, int]) -> Machine:
    devices = tuple(Device(base=base, size=size, name=f"device {i}") for i, (base, size) in enumerate(windows))
    return msgspec.structs.replace(computer, devices=devices)


def strategy_of(profile: Profile) -> Strategy:
    return STRATEGIES[profile.strategy]


def same(computer: Machine, profile: Profile) -> None:
    """What is published after a boot is what was planned: status and cost of every range, what is released, the TLB."""
    made = plan(computer, profile)
    with Kernel.boot(computer, profile) as kernel:
        before = kernel.mappings
        done = configure(kernel)
        told = f"{computer.file}, {profile.strategy}"
        assert [(d.base, d.size, d.status, d.cost) for d in done.devices] == [
            (d.base, d.size, d.status, d.cost) for d in made.devices
        ], told
        whole = made.configured  # an attempt that failed may leave a slab far up
        if whole:
            assert done.released == made.after.released, told
        assert done.released <= made.after.released, told
        if strategy_of(profile).affine and not strategy_of(profile).grows:
            assert kernel.mappings.small <= before.small and (done.released or kernel.mappings == before)  # C12
            assert kernel.mappings.large == before.large - done.released // (2 * MIB)
        if profile.strategy != "demand":
            assert kernel.ledger.broken_by == 0
        if whole:
            assert kernel.ledger.broken_by == made.after.broken_by, told
            if strategy_of(profile).grows:
                assert kernel.mappings.entries == made.after.tlb, told
        assert kernel.check().passed


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("frames", [0, 1, 31, 32, 33, 1000, 65536])
def test_C10_C15_what_is_planned_is_published(strategy, frames):
    """C10, C15, C18: exact costs, exact limits, at the edges of chunks and slabs."""
    computer = with_devices(
        machine((MIB, 63 * MIB)),
        (GIB, 4096),
        (GIB + 4096, 31 * 4096),
        (GIB + (1 << 17), 1 << 17),
        (2 * GIB + 4096, 1 << 17),
        (3 * GIB, 16 * MIB),
        (16 * GIB, 4 * GIB),
        (32 * GIB, 8192),
        (1 << 40, MIB),
        (32 * MIB, MIB),
    )
    profile = tuned(with_strategy(Profile.load("eros2"), strategy), {"device-frames": frames})
    same(computer, profile)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_C15_ranges_run_out_too(strategy):
    """C15: many small ranges use the region records up before the entries."""
    computer = with_devices(machine((MIB, 63 * MIB)), *((GIB + i * 8192, 4096) for i in range(300)))
    same(
        computer, tuned(with_strategy(Profile.load("eros2"), strategy), {"device-frames": 40 * 32, "device-ranges": 1})
    )


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the collection of machines is not at {DATA}")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("step", [24, pytest.param(1, marks=pytest.mark.nightly)])
def test_C10_devices_of_real_machines(strategy, step):
    """C10, C21: the same on machines of the collection, with cards of 24 and 141 GiB added."""
    profile = with_strategy(Profile.load("eros2"), strategy)
    for computer in machines("dmesg", "iomem")[::step]:
        for card in ("24GiB", "141GiB"):
            computer = with_card(computer, card)
        same(computer, profile)


@given(
    st.sampled_from([1, 2, 7, 16, 30, 64, 100]),
    st.lists(st.tuples(st.integers(1, 1 << 26), st.integers(0, 3)), max_size=12),
)
@settings(max_examples=settings.default.max_examples // 8)
def test_C14_growth_is_planned_to_the_frame(step, windows):
    """C11, C14: what a demand heap takes of page space is exact, idle pages of whole growth steps included."""
    profile = with_strategy(Profile.load("eros2"), "demand")
    profile = msgspec.structs.replace(profile, heap=msgspec.structs.replace(profile.heap, growth_frames=step))
    end, made = GIB, []
    for pages, gap in windows:
        base = end + gap * 4096
        made.append((base, (pages >> 10) * 4096 + 4096))
        end = base + made[-1][1]
    same(with_devices(machine((MIB, 63 * MIB)), *made), profile)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_C10_in_one_resolution_a_range_has_all_entries_or_is_refused(strategy):
    """C10, C23: without extents the same is published as planned; nothing is published that was not with them."""
    windows = ((GIB, 4096), (2 * GIB, 16 * MIB), (16 * GIB, 4 * GIB), (32 * GIB, 8192))
    computer = with_devices(machine((MIB, 63 * MIB)), *windows)
    both = tuned(with_strategy(Profile.load("eros2"), strategy), {"device-frames": 1000})
    same(computer, single(both))
    two, one = plan(computer, both), plan(computer, single(both))
    assert two.published and one.configured == one.published == two.configured
    assert "extent-only" not in {device.status for device in one.devices}
    if strategy not in ("demand", "hybrid"):
        assert not one.published


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the collection of machines is not at {DATA}")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_C23_one_re_tuning_is_what_the_advice_comes_to(strategy):
    """C15, C23: where the comparison says that one re-tuning helps, the advice names it, and where not, none."""
    profile = with_strategy(Profile.load("eros2"), strategy)
    for computer in machines("dmesg", "iomem")[::16]:
        try:
            made = plan(with_card(computer, "24GiB"), profile)
        except TooSmall:
            continue
        if not made.configured:
            advice = advise(made)
            tuned = advice is not None and advice.proof is not None and "strategy" not in advice.settings
            assert tuned == fits_tuned(made), computer.file


@pytest.mark.parametrize("card", ["4GiB", "RTX 3090"])
@pytest.mark.parametrize("strategy", BOUNDED)
def test_C16_advice_is_proved_and_the_smallest(strategy, card):
    """C15, C16: a refusal that a tunable cures names the smallest that does, and a boot with it fits everything."""
    computer = with_card(Machine.shipped("desktop-16g"), card)
    made = plan(computer, with_strategy(Profile.load("eros2"), strategy))
    assert not made.configured
    advice = advise(made)
    if advice.proof is None:
        assert strategy == "hybrid" and not fits_tuned(made) and "does not fit" in advice.reason
        return
    assert advice.proof.configured and fits_tuned(made)
    for name, value in advice.settings.items():
        step = made.page if name in IN_BYTES else 1
        less = plan(computer, tuned(made.profile, {**advice.settings, name: value - step}))
        assert not less.configured
    same(computer, advice.proof.profile)


def test_C21_beyond_the_address_limit_no_tunable_is_named():
    """C21: a window above the limit is refused and says so; what the memory map excludes does, too."""
    computer = with_card(Machine.shipped("desktop-16g"), "141GiB")
    made = plan(computer, Profile.load("eros2"))
    last = made.devices[-1]
    assert last.status == "refused" and not last.curable and "address limit of 0x1000000000" in last.reason
    assert advise(made) is None
    inside = plan(with_devices(computer, (64 * MIB, MIB)), Profile.load("eros2")).devices[0]
    assert inside.status == "refused" and "RAM" in inside.reason


def test_C21_a_card_of_256_gib_publishes_by_its_extent():
    """C21: two resolutions: the range is published for one record, whatever its size."""
    computer = with_card(Machine.shipped("desktop-16g"), "141GiB")
    made = plan(computer, with_strategy(Profile.load("x86_64"), "reserve"))
    last = made.devices[-1]
    assert last.size == 256 * GIB and last.status == "extent-only" and last.cost < 1024


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_machine_too_small_has_no_plan(strategy):
    with pytest.raises(TooSmall):
        plan(machine((MIB, 2 * MIB + 65536)), with_strategy(Profile.load("eros2"), strategy))
