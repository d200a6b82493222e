"""The part of a page that shows a run or a replay over time: its samples, and the maps of its frames."""

from kernmalloc.sim.samples import Samples
from kernmalloc.web.page import Part

VIEW = "overTime"


def over_time_part(samples: Samples) -> Part:
    """What was seen, as `Samples.to_json` has it."""
    return Part(VIEW, f"Over time: {samples.title}", samples.to_json())
