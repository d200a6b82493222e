"""What `kernmalloc emulate` says of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernmalloc.emulate.console import Told
    from kernmalloc.emulate.simulation import Outcome


def compared(told: Told, outcome: Outcome | None) -> Iterator[str]:
    """Whether the simulation, if there was one, did the calls with equal results and came to an equal end."""
    if told.status:
        yield f"the kernel ended with status {told.status}"
    if outcome is not None:
        yield from simulated(outcome)


def simulated(outcome: Outcome) -> Iterator[str]:
    """Whether a simulation did the calls with equal results and came to an equal end."""
    if outcome.differences:
        yield f"the simulation differs, after {outcome.calls:,} calls with equal results:"
        yield from (f"  {difference}" for difference in outcome.differences)
    else:
        yield (
            f"simulated: {outcome.calls:,} calls with equal results, and in the end equal regions, frames by type and "
            "heap; check passes in both"
        )
