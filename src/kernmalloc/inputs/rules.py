"""Rules: what lines that tell nothing are known by."""

from typing import NamedTuple


class Rule(NamedTuple):
    """What lines of a kind are called, a pattern of what they hold, and one of them, which is the rule's test.

    Whoever has the rule says where in a line the pattern may begin."""

    name: str
    pattern: str
    example: str
