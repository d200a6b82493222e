"""The part of a page that shows a fleet's answer for one kernel: machines covered against the setting, the value, and
the machines left over."""

import msgspec

from kernmalloc.fleet.answer import Answer
from kernmalloc.report.fleet import sentences, title
from kernmalloc.web.page import Part

VIEW = "fleet"
MOST = 2000  # machines left over that a page names


def fleet_part(answer: Answer) -> Part:
    """The answer, as --json prints it, with the sentences of the text; of very many machines left over the first."""
    data = msgspec.to_builtins(answer)
    data["left_over"] = data["left_over"][:MOST]
    data["says"] = sentences(answer)
    data["all_left_over"] = len(answer.left_over)
    return Part(VIEW, f"{title(answer)}: {answer.machines:,} machines", data)
