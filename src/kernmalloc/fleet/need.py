"""What one machine needs of a setting that is the same for a whole fleet."""

from typing import NamedTuple


class Need(NamedTuple):
    """The values of a setting with which a machine is covered: from `least` to `most`, None: to any. `least` is None of
    a machine that no value covers, and `reason` says why, in one line."""

    least: int | None
    most: int | None = None
    reason: str = ""

    def met(self, value: int) -> bool:
        """Whether a value covers the machine."""
        return self.least is not None and self.least <= value and (self.most is None or value <= self.most)
