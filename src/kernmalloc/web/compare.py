"""The part of a page that shows strategies compared: machines covered against device frames reserved, and all figures
of `kernmalloc compare`."""

from collections.abc import Sequence

import msgspec

from kernmalloc.plan.compare import Summary
from kernmalloc.plan.coverage import Coverage
from kernmalloc.plan.least import MOST
from kernmalloc.report.compare import MEANING
from kernmalloc.web.page import Part

VIEW = "coverage"


def compare_part(found: Sequence[Summary], curves: Sequence[Coverage], kernel: str) -> Part:
    """Strategies on the same machines: their figures, as --json prints them, and their curves."""
    return Part(
        VIEW,
        f"Strategies compared: {kernel}, {found[0].machines:,} machines",
        {
            "most": MOST,
            "curves": [msgspec.to_builtins(curve) for curve in curves],
            "found": [summary._asdict() for summary in found],
            "meaning": MEANING.replace("\n", " "),
        },
    )
