"""Advice as data: what became of the advice about one machine, as `--json` prints it and a table of a fleet holds it
(docs/json.md)."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from kernmalloc.facade.configure import ADDED, FITS, UNPLACED
from kernmalloc.plan.advice import STRATEGY, Advice, Became, Settings, ranges
from kernmalloc.plan.plan import Plan


class Standing(msgspec.Struct, frozen=True):
    """A planned kernel: bytes of its heap at the end of the boot, frames that it leaves for page space, device ranges
    that fit in full, ranges of RAM that can be added."""

    heap: int
    available: int
    fits: int
    added: int

    @classmethod
    def of(cls, made: Plan) -> "Standing":
        """How a kernel with this plan stands."""
        fits = sum(device.status == FITS for device in made.devices)
        return cls(made.top, made.available, fits, sum(each.status == ADDED for each in made.added))


class Proof(msgspec.Struct, frozen=True):
    """The machine planned with the settings, `after`, and as it was asked for, `before`; None: it cannot hold that."""

    before: Standing | None
    after: Standing


class Flat(NamedTuple):
    """Advice as columns of a table. `setting` is the option that is set first, "" for none, and `value` its number;
    where that option is the strategy, `strategy` is its name and `value` is 0. `options` are all settings as one types
    them, and `proved` says whether a plan proves them."""

    setting: str
    value: int
    strategy: str
    options: str
    proved: bool
    reason: str


class Advised(msgspec.Struct, frozen=True):
    """What to set on one machine where something is refused, by option name; the plan that proves it; why what it does
    not help is refused still, one line; and the command that boots the machine so. Without settings there is no proof
    and no line."""

    settings: Settings
    proof: Proof | None = None
    line: str = ""
    reason: str = ""

    @property
    def flat(self) -> Flat:
        """It as columns of a table."""
        options = " ".join(f"--{name} {value}" for name, value in self.settings.items())
        name, value = next(iter(self.settings.items()), ("", 0))
        number = value if isinstance(value, int) else 0
        return Flat(name, number, str(self.settings.get(STRATEGY, "")), options, self.proof is not None, self.reason)


def proved(before: Plan | None, after: Plan) -> Proof:
    """The proof that a plan is, of settings without which the plan is `before`."""
    return Proof(Standing.of(before) if before else None, Standing.of(after))


def refusals(became: Iterable[Became]) -> list[Became]:
    """The ranges that do not fit in full, or cannot be added. Those of devices that have no place are not among them:
    no kernel refused them."""
    return [each for each in became if each.status not in (FITS, ADDED, UNPLACED)]


def advised(made: Plan, advice: Advice | None, line: str, became: Iterable[Became] = ()) -> Advised | None:
    """The data of the advice for a plan; None if all devices that have a place fit, and all RAM can be added. `line` is
    the boot line that takes the advice, `became` what became of the ranges in a boot."""
    refused = refusals(became or ranges(made))
    if not refused:
        return None
    if advice is None:
        return Advised({}, reason=_joined(each.reason for each in refused))
    still = (each.reason for each in refused if not advice.helps(each) and each.base not in advice.beyond)
    reason = _joined([advice.reason, *still])
    if advice.proof is None:
        return Advised({}, reason=reason)
    return Advised(advice.settings, proved(made, advice.proof), line, reason)


def _joined(reasons: Iterable[str]) -> str:
    """Reasons on one line, each once."""
    return "; ".join(dict.fromkeys(filter(None, reasons)))
