"""Strategies compared, and what a kernel carries."""

import pytest
from collection import DATA, machines
from small_machines import MIB, machine

from kernmalloc import Profile
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.plan.capacity import capacity, nodes_alone, nodes_in_page
from kernmalloc.plan.compare import CARDS, compare


def test_C23_every_strategy_and_card_is_summed_up():
    """C23: a line per strategy and card; machines that the kernel cannot hold are counted, not lost."""
    told = []
    boards = machine((MIB, 255 * MIB)), machine((MIB, 2 * MIB + 65536))
    found = compare([(board, Profile.load("eros2")) for board in boards], 2, told.append)
    assert [(s.strategy, s.card) for s in found] == [(name, card) for card in CARDS for name in STRATEGIES]
    assert all(s.machines == 2 and s.refused == 1 and s.configured <= s.tuned <= 1 for s in found)
    assert all(s.configured <= s.published and s.lost <= s.lost_single for s in found)
    assert sum(told) == 2


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the collection of machines is not at {DATA}")
def test_C14_only_demand_breaks_the_promise():
    """C13, C14: on real machines, with large cards: no strategy but the lenient demand heap takes what was promised."""
    for s in compare((each, Profile.load("eros2")) for each in machines("dmesg", "iomem")[::4]):
        assert s.strategy == "demand" or s.broken == s.broken_worst == 0
        if s.strategy == "demand":
            assert s.broken > 0


def test_E40_nodes_alone_give_eight_times_the_address_space():
    """E40: 7 nodes of 556 bytes in a page; the honest figure counts headers, identities and depend entries."""
    assert nodes_in_page(556) == 7
    assert nodes_alone(7) == 8.0
    eros2 = capacity(Profile.load("eros2"))
    assert 3 < eros2.times < 8
    assert eros2.full < eros2.least == 64 << 30


def test_E40_coyotos_carries_about_three_gib():
    """E40: by its own ratios Coyotos fills 1006 MiB with what about 3.2 GiB need; here identities and headroom add to
    it."""
    coyotos = capacity(Profile.load("coyotos-i386"))
    assert 2.5 * 2**30 < coyotos.full < 3.3 * 2**30
