"""A plan and a boot of the same come to the same."""

import pytest

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.facade.configure import configure
from kernmalloc.facade.errors import TooSmall
from kernmalloc.plan.plan import plan

LARGE = {True: 6 << 30, False: 2 << 30}  # bytes: affine heaps and others that are more than a test should write


def agree(computer: Machine, profile: Profile) -> bool:
    """A plan and a boot of the same come to the same, and with the devices published no bound is passed and no promise
    broken; whether there was one. Heaps too large to boot here are passed over."""
    try:
        made = plan(computer, profile)
    except TooSmall as error:
        with pytest.raises(TooSmall) as refused:
            Kernel.boot(computer, profile)
        assert str(refused.value) == str(error)
        return False
    if made.top > LARGE[bool(made.fixed)]:
        return False
    told = f"{computer.file}, {profile.name}, {profile.strategy}"
    with Kernel.boot(computer, profile) as kernel:
        assert kernel.heap.used == kernel.heap.planned == made.planned, told
        assert sum(item.bytes for item in made.items) == made.top, told
        assert (kernel.ledger.promised, kernel.ledger.available) == (made.promised, made.available), told
        assert kernel.mappings.entries == made.tlb.entries and kernel.mappings.large == made.tlb.large, told
        assert int(kernel.view.kern["heap_pages"]) * made.page == made.most, told
        assert (kernel.heap.backed, kernel.heap.bound) == (made.backed, made.bound), told
        assert made.planned <= made.backed <= made.bound, told
        if made.fixed:
            assert kernel.view.shares() == (1.0, 1.0), told
            assert kernel.view.pa(int(kernel.view.kern["heap"])) == made.fixed.pa, told
        done = configure(kernel)
        if made.configured:
            now = done.released, done.ledger.available, done.ledger.broken_by, done.tlb.entries
            assert now == (made.after.released, made.after.available, made.after.broken_by, made.after.tlb), told
        assert int(kernel.view.kern["backed"]) * made.page <= made.most, told
        assert made.lenient or kernel.ledger.broken_by == 0, told
    return True
