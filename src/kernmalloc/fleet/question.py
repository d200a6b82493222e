"""What a fleet is asked: which setting, under which kernel, with what added to every machine.

A question is data, so that workers answer it piece by piece, and so that work that was interrupted is known again.
"""

import shlex
from functools import cache

import msgspec

from kernmalloc.facade.choice import Choice, usual_kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.fleet.guests import Hole, HotAdd
from kernmalloc.fleet.hotadd import AS_BOOTED, Policy
from kernmalloc.fleet.need import Need
from kernmalloc.fleet.purpose import Purpose
from kernmalloc.fleet.reserve import Heap, Reserve
from kernmalloc.fleet.rows import Judged
from kernmalloc.inputs.cards import Card, cards_of
from kernmalloc.machine.cards import NoPlaceError, plugged
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.advice import tuned
from kernmalloc.plan.plan import with_strategy

PURPOSES = ("reserve", "heap", "hole", "hotadd")
NO_VALUE = "no value covers so many machines"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`purpose` is one of `PURPOSES`. `named` is the kernel, None where every machine has its usual one; `strategy` and
    `settings` say something else than the profile; `cards` are added to every machine. `word` names the kernel on a
    command line. Of hot-added RAM, guests grow to `target` bytes, under a policy."""

    purpose: str
    named: Profile | None = None
    word: str = ""
    strategy: str = ""
    settings: dict[str, int] = {}
    cards: tuple[str, ...] = ()
    target: int = 0
    policy: Policy = AS_BOOTED

    @property
    def asked(self) -> Purpose:
        """What is asked for."""
        return _purpose(self.purpose, self.target, self.policy)

    def equipped(self, machine: Machine) -> Machine:
        """A machine with the cards. Raises NoPlaceError."""
        for card in _cards(self.cards):
            machine = plugged(machine, card)
        return machine

    def kernel(self, machine: Machine) -> Choice:
        """The kernel of a machine, as it is asked about."""
        profile, note = (self.named, "") if self.named else usual_kernel(machine)
        return Choice(self.tuned(profile), note)

    def group(self, profile: Profile) -> str:
        """What has an answer of its own: the kernel's name, "" where the setting belongs to no kernel."""
        return profile.name if self.asked.of_kernels else ""

    def boot(self, profile: Profile) -> str:
        """The command that boots a kernel on a machine, as it is asked about."""
        settings = {name: value for name, value in self.settings.items() if name != self.asked.option(profile)}
        options = {"kernel": self.word or profile.name, "strategy": profile.strategy, **settings}
        cards = [word for card in self.cards for word in ("--with", card)]
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return shlex.join(["kernmalloc", "boot", "FILE", *cards, *words])

    def tuned(self, profile: Profile) -> Profile:
        """A kernel as it is asked about."""
        settings = tuple(self.settings.items())
        return _tuned(profile, self.purpose, self.target, self.policy, self.strategy, settings)

    def need(self, machine: Machine, profile: Profile) -> Need:
        """What a machine needs. A card without a place on it leaves it over, whatever the value."""
        try:
            return self.asked.need(self.equipped(machine), profile)
        except NoPlaceError as error:
            return Need(None, None, str(error))

    def judge(self, machine: Machine, profile: Profile, value: int | None) -> Judged:
        """What a value comes to on a machine; None: no value covers so many."""
        if value is None:
            return Judged(False, NO_VALUE)
        try:
            return self.asked.judge(self.equipped(machine), profile, value)
        except NoPlaceError as error:
            return Judged(False, str(error))


@cache
def _purpose(name: str, target: int, policy: Policy) -> Purpose:
    made: dict[str, Purpose] = {"reserve": Reserve(), "heap": Heap(), "hole": Hole(), "hotadd": HotAdd(target, policy)}
    return made[name]


@cache
def _cards(words: tuple[str, ...]) -> tuple[Card, ...]:
    """The cards that words ask for, some of which are lists in files."""
    return tuple(card for word in words for card in cards_of(word))


@cache
def _tuned(
    profile: Profile, name: str, target: int, policy: Policy, strategy: str, settings: tuple[tuple[str, int], ...]
) -> Profile:
    """A kernel as it is asked about: one object for all machines, as plans are kept for it."""
    profile = with_strategy(profile, strategy) if strategy else profile
    return _purpose(name, target, policy).kernel(tuned(profile, dict(settings)))
