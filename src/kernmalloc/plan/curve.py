"""How many machines each value of one setting covers.

A machine is covered from a least value on, up to a most or without end. So a curve may rise and fall, and it is level
between its steps.
"""

from collections.abc import Iterable, Mapping

Steps = tuple[tuple[int, int], ...]
"""Pairs of a value and machines: with that value, and up to the next pair's, so many machines are covered. The first is
at 0."""

Covered = tuple[int, int | None]
"""The values that cover a machine: the least, and the most; None: there is none."""


def steps(machines: Mapping[Covered, int]) -> Steps:
    """The curve of machines that are counted by the values that cover them."""
    changes = {0: 0}
    for (least, most), count in machines.items():
        changes[least] = changes.get(least, 0) + count
        if most is not None:
            changes[most + 1] = changes.get(most + 1, 0) - count
    covered, found = 0, []
    for value, change in sorted(changes.items()):
        if change or not value:
            covered += change
            found.append((value, covered))
    return tuple(found)


def at(curve: Steps, value: int) -> int:
    """Machines that a value covers."""
    return next(covered for first, covered in reversed(curve) if first <= value)


def least(curve: Iterable[tuple[int, int]], machines: int) -> int | None:
    """The smallest value that covers so many machines; None if no value does."""
    return next((value for value, covered in curve if covered >= machines), None)
