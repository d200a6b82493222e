"""Advice: the smallest tunables with which every device fits, proved by planning again with them (C15, C22).

Which tunable it is follows from the strategy: frames and ranges in the reserve, or the excess, where the heap does not
grow; how far the heap may grow where it does. What no tunable cures (the address limit, the memory map, the window) is
said, not tuned.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from kernmalloc.facade.configure import ADDED, FITS
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES, Bytes, Profile
from kernmalloc.inputs.sizes import size
from kernmalloc.kernel.devices import CHUNK_FRAMES, chunks_guaranteed
from kernmalloc.machine.memory_map import Machine, Range
from kernmalloc.plan.devices import Device
from kernmalloc.plan.plan import Plan, plan

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


@dataclass(frozen=True)
class Advice:
    """What to set so that all curable devices fit, and the plan that proves it; and, if nothing helps all or some, why.

    `beyond` are the devices, by base, that no tunable helps: the largest, as few as let the others be helped."""

    settings: dict[str, int]  # by the name of the command line's option
    proof: Plan | None
    reason: str = ""
    beyond: frozenset[int] = frozenset()

    @property
    def options(self) -> str:
        """The settings as one types them."""
        return " ".join(f"--{name} {value}" for name, value in self.settings.items())


def tuned(profile: Profile, settings: dict[str, int]) -> Profile:
    """The profile with settings by option name: device-frames and -ranges, growable, excess and window (bytes),
    withheld (frames)."""
    for name, value in settings.items():
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
    """The tunables of a plan's strategy, as they are and as large as its devices could ever need, but for those
    `beyond` help, by option name."""
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
    return now, {name: max(value, now[name]) for name, value in most.items()}


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
    """Advice for a plan in which a device lacks entries that a tunable could give; None if there is none, as without a
    heap."""
    short = [device for device in made.devices if device.status != FITS and device.curable]
    if not short or made.profile.heapless:
        return None
    bases = [device.base for device in sorted(made.devices, key=lambda device: -device.size) if device.curable]
    ways = (frozenset(bases[:count]) for count in range(len(bases) + 1))
    beyond, settings = next((beyond, found) for beyond in ways if (found := _cure(made, beyond)) is not None)
    left = [device for device in short if device.base in beyond]
    if len(left) == len(short):
        return Advice({}, None, _why_not(made, short), beyond)
    now, _ = _tunables(made)
    proof = _plan(made.machine, made.profile, settings)
    changed = {name: value for name, value in settings.items() if value != now[name]}
    return Advice(changed, proof, _why_not(made, left) if left else "", beyond)


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


def room_for(made: Plan) -> str:
    """Where RAM that comes later is refused for want of heap: the smallest setting with which all of it can be added,
    else the strategies, in words, each proved by a plan; "" if nothing is known to help."""
    ranges = [Range(each.base, each.size, "ram") for each in made.added]
    entry = made.profile.core.stride + made.profile.core.identity
    most = sum(r.size // made.page for r in ranges) * entry // made.page * 5 // 4 + SLACK

    def adds(profile: Profile) -> bool:
        try:
            return all(each.status == ADDED for each in plan(made.machine, profile, ranges).added)
        except TooSmall:
            return False

    for name in IN_BYTES:
        now = int(getattr(made.profile.heap, name)) // made.page
        if made.profile.strategy in KNOWN_TO[name] and adds(tuned(made.profile, {name: (now + most) * made.page})):
            least = _least(lambda n: adds(tuned(made.profile, {name: n * made.page})), now, now + most)  # noqa: B023
            return f"--{name} {least * made.page} is the least with which it can be added"
    fitting = [name for name in STRATEGIES if adds(msgspec.structs.replace(made.profile, strategy=name))]
    return f"--strategy {' or '.join(fitting)} can add it" if fitting else ""


def cure(machine: Machine, profile: Profile) -> str:
    """Where a machine cannot hold a kernel, what to change so that it does, in words; "" if nothing is known. The one
    tunable that is too large, else another strategy, each proved by a plan."""
    frames, heap = profile.devices.frames or 1 << 18, profile.heap
    reserves = {"device-frames": frames, "excess": int(heap.excess), "growable": int(heap.growable)}
    for name, high in reserves.items():
        if profile.strategy in KNOWN_TO[name] and (without := _plan(machine, profile, {name: 0})):
            most = _most(machine, profile, name, without.page if name in IN_BYTES else 1, high)
            return f"--{name} {most} is the most that fits"
    fitting = [name for name in STRATEGIES if _plan(machine, msgspec.structs.replace(profile, strategy=name), {})]
    return f"--strategy {' or '.join(fitting)} would do" if fitting else ""


def _most(machine: Machine, profile: Profile, name: str, unit: int, high: int) -> int:
    """The largest value of one setting, in whole units, with which the machine holds the kernel."""
    return unit * (_least(lambda n: _plan(machine, profile, {name: n * unit}) is None, 0, high // unit) - 1)


def _plan(machine: Machine, profile: Profile, settings: dict[str, int]) -> Plan | None:
    try:
        return plan(machine, tuned(profile, settings))
    except TooSmall:
        return None


def _fits(made: Plan, beyond: frozenset[int], settings: dict[str, int], refusal: bool) -> bool:
    """All devices but those `beyond` help fit with these settings; or, `refusal`, the settings are so large that the
    kernel has no room for the rest."""
    again = _plan(made.machine, made.profile, settings)
    if again is None:
        return refusal
    return all(device.status == FITS or not device.curable or device.base in beyond for device in again.devices)


def _least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number from low to high that holds; high does."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _why_not(made: Plan, short: list[Device]) -> str:
    """Why no tunable helps, in figures."""
    frames = sum(device.size // made.page for device in short)
    entries = frames * made.profile.core.stride
    return (
        f"page structures for {frames:,} frames take {size(entries)} more; a heap that holds them does not fit into "
        f"the window of {size(made.profile.va.size)} or the RAM beside what is planned"
    )
