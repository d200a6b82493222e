"""A plan in figures: the row that it is in a table of plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernmalloc.facade.configure import EXTENT_ONLY, FITS, LAST, REFUSED

if TYPE_CHECKING:
    from kernmalloc.plan.plan import Plan


class PlanRow(NamedTuple):
    """A plan, under the names that figures have in `Plan`: bytes, but for counts of frames, of TLB entries, and of
    device ranges by what becomes of them."""

    machine: str
    kernel: str
    strategy: str
    page: int
    frames: int
    clipped: int
    planned: int
    top: int
    backed: int
    bound: int
    scale: float
    available: int
    promised: int
    tlb: int
    fits: int
    last_words: int
    extent_only: int
    refused: int


def figures(plan: Plan) -> PlanRow:
    """The row of a plan."""
    fits, last, extents, refused = (
        sum(d.status == status for d in plan.devices) for status in (FITS, LAST, EXTENT_ONLY, REFUSED)
    )
    return PlanRow(
        machine=plan.machine.name or plan.machine.file,
        kernel=plan.profile.name,
        strategy=plan.profile.strategy,
        page=plan.page,
        frames=plan.frames,
        clipped=plan.clipped,
        planned=plan.planned,
        top=plan.top,
        backed=plan.backed,
        bound=plan.bound,
        scale=plan.scale,
        available=plan.available,
        promised=plan.promised,
        tlb=plan.tlb.entries,
        fits=fits,
        last_words=last,
        extent_only=extents,
        refused=refused,
    )
