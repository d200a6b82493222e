"""The answer of a fleet, in text: the value, what it covers and costs, the curve, and the machines left over."""

from collections.abc import Iterator, Sequence

from kernmalloc.fleet.answer import Answer, Answers
from kernmalloc.inputs.sizes import size
from kernmalloc.plan.curve import least
from kernmalloc.report.text import Cells, columns, fitted, paragraph, section
from kernmalloc.report.units import several

SHARES = (50, 75, 90, 95, 99, 99.9, 100)  # per cent of the machines, of which the table of a curve tells
TOLD = 12  # machines left over that are told without --verbose


def whole(found: Answers, what: str, verbose: bool) -> Iterator[str]:
    """All answers; `what` is the wish in words."""
    yield f"{what}: {several(sum(each.machines for each in found.answers), 'machine')}" + (
        f", {len(found.unreadable):,} unreadable." if found.unreadable else "."
    )
    for note, count in found.notes.items():
        yield from fitted(f"{several(count, 'machine')}: {note}")
    for each in found.answers:
        yield from section(title(each), _answer(each, verbose))


def title(answer: Answer) -> str:
    """Whose answer it is."""
    return f"Kernel {answer.kernel}, strategy {answer.strategy}" if answer.kernel else "Guests"


def _answer(answer: Answer, verbose: bool) -> Iterator[str]:
    for sentence in sentences(answer):
        yield from paragraph(sentence)
    yield from answer.lines
    for name in answer.wrong:
        yield from fitted(f"WRONG: tried with it, {name} is not what its need says")
    yield ""
    yield from columns([("covered", "machines", f"least {answer.setting}", "more"), *curve(answer)])
    if answer.left_over:
        yield ""
        yield from _left_over(answer, verbose)


def sentences(answer: Answer) -> list[str]:
    """The value, what it covers, and what it costs, if it costs memory."""
    return [verdict(answer), *([cost(answer)] if answer.costs.most else [])]


def verdict(answer: Answer) -> str:
    """The value and what it covers, in a sentence or two."""
    machines = several(answer.machines, "machine")
    if answer.value is None:
        return (
            f"No value of {answer.setting} covers {answer.wanted:,} of {machines}: the best covers {answer.most:,}, "
            f"{share(answer.most, answer.machines)}."
        )
    return (
        f"{answer.setting} = {text(answer.unit, answer.value)} covers {answer.covered:,} of {machines}, "
        f"{share(answer.covered, answer.machines)}; all were tried with it. It is the smallest that covers "
        f"{answer.wanted:,}."
    )


def cost(answer: Answer) -> str:
    """What the value costs, in a sentence."""
    costs = answer.costs
    return (
        f"It costs {size(costs.median)} on a machine in the middle, {size(costs.most)} at most, and {size(costs.sum)} "
        f"in sum."
    )


def curve(answer: Answer) -> Iterator[Cells]:
    """The curve at some shares: how many machines that is, the least value that covers them, and how much more that
    is than the fleet's."""
    for part in SHARES:
        machines = -(-int(part * 10) * answer.machines // 1000)
        value = least(answer.curve, machines)
        more = "" if value is None or answer.value is None else difference(answer.unit, value - answer.value)
        yield f"{part:g}%", f"{machines:,}", "none" if value is None else text(answer.unit, value), more


def _left_over(answer: Answer, verbose: bool) -> Iterator[str]:
    told = answer.left_over if verbose else answer.left_over[:TOLD]
    yield from columns([("left over", "why"), *((each.machine, each.reason) for each in told)], notes=True)
    if len(told) < len(answer.left_over):
        yield f"and {several(len(answer.left_over) - len(told), 'machine')} more (--verbose tells all)"


def text(unit: str, value: int) -> str:
    """A value of a setting."""
    return size(value) if unit == "bytes" else f"{value:,}"


def difference(unit: str, value: int) -> str:
    """How much more or less a value is."""
    return "0" if not value else f"{'+' if value > 0 else '-'}{text(unit, abs(value))}"


def share(count: int, machines: int) -> str:
    """A share of machines, rounded down: what is less than all is never 100%."""
    return f"{count * 1000 // max(machines, 1) / 10:g}%"


def rows(names: Sequence[str], found: Sequence[Sequence[object]]) -> Iterator[str]:
    """Rows of a table that a query made."""
    yield from columns([tuple(names), *(tuple("" if each is None else f"{each}" for each in row) for row in found)])
