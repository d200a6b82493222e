"""Advice: what to set so that nothing is refused, proved by planning again with it (C15, C16, C22, E39).

Of devices and of RAM that comes later it is the smallest tunables with which they fit. Which tunable it is follows from
the strategy: frames and ranges in the reserve, or the excess, where the heap does not grow; how far the heap may grow
where it does. Where these help nothing, or not the RAM, it is the first other strategy with which all fits, with its
own smallest tunables. Of a machine that cannot hold a kernel it is the largest reserves with which it can, else a
strategy. What nothing cures (the address limit, the memory map, the window) is said, not tuned.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import msgspec

from kernmalloc.facade.configure import ADDED, FITS, REFUSED, Added, Published
from kernmalloc.facade.places import refusal
from kernmalloc.facade.profile import STRATEGIES, Bytes, Profile
from kernmalloc.inputs.sizes import size
from kernmalloc.kernel.devices import CHUNK_FRAMES, chunks_guaranteed
from kernmalloc.lang.status import NO_FRAMES, NO_VA, TOO_SMALL
from kernmalloc.machine.added_ram import SELF_HOSTED
from kernmalloc.machine.memory_map import Machine, Range
from kernmalloc.plan.devices import Device
from kernmalloc.plan.plan import Plan, plan, planned, with_strategy

Settings = Mapping[
    str, int | str
]  # by the name of the command line's option: the strategy in words, all others numbers
STRATEGY = "strategy"
DEVICE_FRAMES = 1 << 18  # that a profile which does not say it reserves at most
IN_BYTES = ("growable", "excess")  # the others count frames or ranges
KNOWN_TO = {  # by option name: the strategies that take it into account
    "device-frames": [name for name, strategy in STRATEGIES.items() if strategy.devices],
    "device-ranges": [name for name, strategy in STRATEGIES.items() if not strategy.grows],
    "growable": [name for name, strategy in STRATEGIES.items() if strategy.affine and strategy.grows],
    "excess": [name for name, strategy in STRATEGIES.items() if strategy.excess],
    "withheld": list(STRATEGIES),
    "window": list(STRATEGIES),
}
SLACK = 64  # pages: of slabs that do not fit the last pages of a run
ROUND = 1024  # pages, frames: to which what could ever be needed is rounded, so that like machines share plans
CURABLE = [refusal(code) for code in (NO_VA, NO_FRAMES, TOO_SMALL)]
"""Why RAM is refused that another setting may let in."""


@dataclass(frozen=True)
class Advice:
    """What to set so that all fits that can, and the plan that proves it; and, if nothing helps all or some, why.

    `beyond` are the ranges, by base, of devices and of RAM, that lack something and that the settings do not help: the
    largest, as few as let the others be helped."""

    settings: Settings
    proof: Plan | None
    reason: str = ""
    beyond: frozenset[int] = frozenset()

    @property
    def options(self) -> str:
        """The settings as one types them."""
        return " ".join(f"--{name} {value}" for name, value in self.settings.items())

    @cached_property
    def _right(self) -> set[tuple[int, int]]:
        """Ranges, by base and size, that are as they should be in the proof."""
        after = ranges(self.proof) if self.proof else ()
        return {(each.base, each.size) for each in after if each.status in (FITS, ADDED)}

    def helps(self, each: "Became") -> bool:
        """Whether a range is not as it should be, and is so in the proof."""
        return each.status not in (FITS, ADDED) and (each.base, each.size) in self._right


Became = Device | Published | Added
"""What became of a range of device memory, or of RAM that came later; or what will."""


def tuned(profile: Profile, settings: Settings) -> Profile:
    """The profile with settings by option name: strategy, device-frames and -ranges, growable, excess and window
    (bytes), withheld (frames)."""
    for name, value in settings.items():
        if isinstance(value, str):
            profile = with_strategy(profile, value)
            continue
        table, key = {
            "device-frames": ("devices", "frames"),
            "device-ranges": ("devices", "ranges"),
            "growable": ("heap", "growable"),
            "excess": ("heap", "excess"),
            "withheld": ("bank", "withheld"),
            "window": ("va", "size"),
        }[name]
        part = msgspec.structs.replace(getattr(profile, table), **{key: Bytes(value) if name in IN_BYTES else value})
        profile = msgspec.structs.replace(profile, **{table: part})
    return profile


def _tunables(made: Plan, beyond: frozenset[int] = frozenset()) -> tuple[dict[str, int], dict[str, int]]:
    """The tunables of a plan's strategy, as they are and as large as its devices, and the RAM that is refused, could
    ever need, but for those `beyond` help, by option name."""
    profile, strategy = made.profile, STRATEGIES[made.profile.strategy]
    helped = [device for device in made.devices if device.curable and device.base not in beyond]
    windows = [(device.base // made.page, device.size // made.page) for device in helped]
    chunks = sum(chunks_guaranteed(first, frames, frames) for first, frames in windows)
    if strategy.excess and not strategy.devices:
        now = {"excess": int(profile.heap.excess), "device-ranges": profile.devices.ranges}
        most = {"excess": _bytes(made, chunks, len(windows)), "device-ranges": len(windows)}
    elif not strategy.grows:
        now = {"device-frames": made.device_frames, "device-ranges": profile.devices.ranges}
        most = {"device-frames": chunks * CHUNK_FRAMES, "device-ranges": len(windows)}
    elif strategy.affine:
        now = {"growable": int(profile.heap.growable)}
        most = {"growable": _bytes(made, chunks, len(windows))}
    elif not made.lenient:
        now, most = {"withheld": profile.bank.withheld}, {"withheld": made.available // 2}
    else:
        now = most = {}
    most = {name: max(value, now[name]) for name, value in most.items()}
    if any(lacks(each) and each.base not in beyond for each in made.added):
        for name in IN_BYTES:
            if profile.strategy in KNOWN_TO[name]:
                now = {**now, name: int(getattr(profile.heap, name))}
                most[name] = max(most.get(name, 0), now[name]) + _ram_bytes(made)
    return now, most


def ranges(made: Plan) -> list[Device | Added]:
    """The ranges of a plan: of devices that have a place, then of RAM that comes later."""
    return [*made.devices, *made.added]


def lacks(each: Became) -> bool:
    """Whether a range lacks something that a setting may give it."""
    if isinstance(each, Device):
        return each.status != FITS and each.curable
    return each.status == REFUSED and each.reason in CURABLE


def _ram_bytes(made: Plan) -> int:
    """Bytes that the page structures of all RAM that comes later could ever take."""
    entry = made.profile.core.stride + made.profile.core.identity
    pages = sum(each.size // made.page for each in made.added) * entry // made.page
    return (pages * 5 // 4 + SLACK) * made.page


def _bytes(made: Plan, chunks: int, ranges: int) -> int:
    """Bytes that so many chunks and region records could ever take, with what describes and maps their pages."""
    room = made.basis.room
    pages = (
        room.chunks.kind.slabs(chunks) * room.chunks.kind.pages
        + room.regions.kind.slabs(ranges) * room.regions.kind.pages
    )
    return pages + (pages >> 5) + room.grown.step + SLACK << room.page_shift


def _rounded(made: Plan, settings: dict[str, int]) -> dict[str, int]:
    """Settings rounded up, ranges to 64: a plan with them has probably been made, for another machine."""
    unit = {name: ROUND * made.page if name in IN_BYTES else ROUND for name in settings if name != "device-ranges"}
    return {name: -(-value // unit.get(name, 64)) * unit.get(name, 64) for name, value in settings.items()}


def fits_tuned(made: Plan) -> bool:
    """Whether one re-tuning makes all devices fit that can be published at all."""
    now, most = _tunables(made)
    return most != now and any(_fits(made, frozenset(), s, False) for s in (_rounded(made, most), most))


def advise(made: Plan) -> Advice | None:
    """Advice for a plan in which a device lacks entries, or RAM that comes later room, that a setting may give; None if
    there is none, as without a heap."""
    short = [each for each in ranges(made) if lacks(each)]
    if not short or made.profile.heapless:
        return None
    bases = frozenset(each.base for each in short)
    cures = ((way, settings) for way in _ways(made) if (settings := _cure(made, way)) is not None)
    beyond, settings = next(cures, (bases, {}))
    helped = bases - beyond
    ram_left = any(each.base in beyond for each in made.added if lacks(each))
    if (not helped or ram_left) and (other := _other(made)):
        return other
    if not helped:
        return Advice({}, None, _why_not(made, short), bases)
    return _proved(made, settings)


def _ways(made: Plan) -> Iterator[frozenset[int]]:
    """Ranges, by base, that may be left out: none, then more and more of the largest that a setting may help; of the
    devices one more only when leaving out RAM that is refused does not do."""

    def bases(each: Iterable[Device | Added]) -> list[int]:
        return [one.base for one in sorted(each, key=lambda one: -one.size)]

    devices = bases(device for device in made.devices if device.curable)
    ram = bases(each for each in made.added if lacks(each))
    for count in range(len(devices) + 1):
        for left in range(len(ram) + 1):
            yield frozenset(devices[:count] + ram[:left])


def _proved(made: Plan, settings: Settings, other: Settings | None = None) -> Advice:
    """Advice to tune a plan so, `other` settings being given; what of it differs from the plan's is said."""
    now, _ = _tunables(made)
    proof = plan(made.machine, tuned(made.profile, settings), _later(made))
    changed = {name: value for name, value in settings.items() if value != now[name]}
    left = [each for each in ranges(proof) if lacks(each)]
    reason = _why_not(made, left) if left else ""
    return Advice({**(other or {}), **changed}, proof, reason, frozenset(each.base for each in left))


def _other(made: Plan) -> Advice | None:
    """The first other strategy with which all fits that can, with the smallest of its own tunables."""
    for name in STRATEGIES:
        if name == made.profile.strategy:
            continue
        again = _plan(made.machine, with_strategy(made.profile, name), {}, _later(made))
        if again and (settings := _cure(again, frozenset())) is not None:
            return _proved(again, settings, {STRATEGY: name})
    return None


def _later(made: Plan) -> list[Range]:
    """The RAM that comes later."""
    return [Range(each.base, each.size, SELF_HOSTED if each.self_hosted else "ram") for each in made.added]


def _cure(made: Plan, beyond: frozenset[int]) -> dict[str, int] | None:
    """The smallest settings with which all devices fit but those `beyond` help; None if there are none."""
    now, most = _tunables(made, beyond)
    if _fits(made, beyond, now, False):
        return now
    settings: dict[str, int] = {}
    if most == now or not _fits(made, beyond, most, True):
        return None
    for name, high in most.items():
        settings[name] = _smallest(made, beyond, {**most, **settings}, name, now[name], high)
    return settings if _fits(made, beyond, settings, False) else None


def _smallest(made: Plan, beyond: frozenset[int], settings: dict[str, int], name: str, low: int, high: int) -> int:
    """The smallest value of one setting, beside the others, with which all devices fit but those `beyond` help."""
    unit = made.page if name in IN_BYTES else 1
    return unit * _least(lambda n: _fits(made, beyond, {**settings, name: n * unit}, True), low // unit, high // unit)


def cure(machine: Machine, profile: Profile, more: Sequence[Range] = ()) -> Advice:
    """Advice for a machine that cannot hold a kernel: the largest reserves of its strategy with which it can, all but
    one of them as they are if that will do; else the first other strategy that does, at best with its reserves as they
    are. It is empty if the plan says that the machine holds the kernel."""
    if _plan(machine, profile, {}, more):
        return Advice({}, None)
    others = [with_strategy(profile, name) for name in STRATEGIES if name != profile.strategy]
    ways: Iterator[tuple[Profile, Settings | None]] = chain(
        [(profile, _most(machine, profile, more))],
        ((each, {} if _plan(machine, each, {}, more) else None) for each in others),
        ((each, _most(machine, each, more)) for each in others),
    )
    for each, settings in ways:
        if settings is None:
            continue
        if each is not profile:
            settings = {STRATEGY: each.strategy, **settings}
        if proof := _plan(machine, profile, settings, more):
            return Advice(settings, proof)
    return Advice({}, None, "no strategy helps, not even with nothing reserved")


def _most(machine: Machine, profile: Profile, more: Sequence[Range]) -> Settings | None:
    """The largest reserves with which a machine holds a kernel that is too large for it: one that is less than it is,
    or all; None if not even none will do."""
    frames, heap = profile.devices.frames, profile.heap
    reserves = {
        "device-frames": DEVICE_FRAMES if frames is None else frames,
        "excess": int(heap.excess),
        "growable": int(heap.growable),
        "device-ranges": profile.devices.ranges,
    }
    known = [name for name in reserves if profile.strategy in KNOWN_TO[name]]
    for names in (*([name] for name in known), known):
        settings = dict.fromkeys(names, 0)
        if not _plan(machine, profile, settings, more):
            continue
        for name in names:
            unit = profile.page if name in IN_BYTES else 1

            def too_much(value: int) -> bool:
                return _plan(machine, profile, {**settings, name: value * unit}, more) is None  # noqa: B023

            settings[name] = unit * (_least(too_much, 0, reserves[name] // unit + 1) - 1)
        return {name: value for name, value in settings.items() if value != reserves[name]}
    return None


def _plan(machine: Machine, profile: Profile, settings: Settings, more: Sequence[Range]) -> Plan | None:
    return planned(machine, tuned(profile, settings), more)


def _fits(made: Plan, beyond: frozenset[int], settings: Settings, refusal: bool) -> bool:
    """All devices and all RAM that comes later fit with these settings, but what they do not help, and those `beyond`
    help; or, `refusal`, the settings are so large that the kernel has no room for the rest."""
    again = _plan(made.machine, made.profile, settings, _later(made))
    if again is None:
        return refusal
    return not any(lacks(each) and each.base not in beyond for each in ranges(again))


def _least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number from low to high that holds; high does."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _why_not(made: Plan, short: Iterable[Device | Added]) -> str:
    """Why no tunable helps, in figures."""
    frames, core = sum(each.size // made.page for each in short), made.profile.core
    entries = sum(
        each.size // made.page * (core.stride + (core.identity if isinstance(each, Added) else 0)) for each in short
    )
    return (
        f"page structures for {frames:,} frames take {size(entries)} more; a heap that holds them does not fit into "
        f"the window of {size(made.profile.va.size)} or the RAM beside what is planned"
    )
