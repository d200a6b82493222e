"""The part of a page that shows a plan: the heap to the byte, its TLB reach, what devices cost, and every strategy.

Sizes are bytes unless they say frames. What may exceed 2^53 (kernel addresses) is text: JavaScript's numbers are exact
up to there. The numbers are the plan's, from which `plan --json` has its own.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from kernmalloc.facade.configure import FITS, LAST, REFUSED, UNPLACED
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES, Profile
from kernmalloc.inputs.cards import cards_of
from kernmalloc.inputs.errors import InputError
from kernmalloc.kernel.devices import CHUNK_FRAMES, chunks_guaranteed
from kernmalloc.machine.cards import with_card
from kernmalloc.machine.memory_map import Machine, Range
from kernmalloc.plan.advice import Advice, advise, cure
from kernmalloc.plan.compare import CARDS
from kernmalloc.plan.devices import Device
from kernmalloc.plan.plan import Plan, plan, with_strategy
from kernmalloc.report.outcome import Outcome
from kernmalloc.report.plan import counsel, layout, space, way_out
from kernmalloc.web.page import Part

VIEW = "planTree"
Json = dict[str, Any]


def plan_part(made: Plan, advice: Advice | None, line: str, more: Sequence[Range] = ()) -> Part:
    """What will be, of a plan with the advice about it; `line` is the boot line that takes the advice, `more` the RAM
    that comes later."""
    return Part(
        VIEW,
        f"The plan for {made.profile.name}",
        {
            "machine": made.machine.name or made.machine.file,
            "kernel": made.profile.name,
            "strategy": made.profile.strategy,
            "page": made.page,
            "refused": "",
            "outcome": msgspec.to_builtins(
                Outcome.planned(
                    made, advice, line if advice and advice.proof else "", 0.0, made.machine.file, made.machine.name, ""
                )
            ),
            "items": [item._asdict() for item in made.items],
            "beside": [item._asdict() for item in made.beside],
            "heap": made.top,
            "layout": [*layout(made), *space(made)],
            "tlb": _tlb(made),
            "devices": [_device(made, device) for device in (*made.devices, *made.unplaced)],
            "advice": [counsel(made, advice), line if advice.proof else ""] if advice else [],
            "reserve": _reserve(made),
            "cards": [_card(made, card, more) for card in CARDS if card],
            "strategies": [_strategy(made.machine, made.profile, name, more) for name in STRATEGIES],
        },
    )


def refused_part(machine: Machine, profile: Profile, reason: str, more: Sequence[Range] = ()) -> Part:
    """Why a machine cannot hold a kernel, and which strategies would do."""
    return Part(
        VIEW,
        f"The plan for {profile.name}",
        {
            "machine": machine.name or machine.file,
            "kernel": profile.name,
            "strategy": profile.strategy,
            "page": profile.page,
            "refused": reason,
            "strategies": [_strategy(machine, profile, name, more) for name in STRATEGIES],
        },
    )


def _tlb(made: Plan) -> Json:
    """Entries that map the window, and how much of the heap each TLB reaches at once: all its entries full of pages of
    one size, of which the heap has some."""
    sizes = [size for size, count in ((made.profile.large_page, made.tlb.large), (made.page, made.tlb.small)) if count]
    processor = made.profile.processor
    reaches = [
        {
            "name": tlb.name,
            "level": tlb.level,
            "entries": tlb.entries,
            "page": size,
            "reach": tlb.entries * size,
            "wanted": made.tlb.large if size == made.profile.large_page else made.tlb.small,
        }
        for tlb in (processor.tlbs if processor else ())
        if tlb.kind != "instruction"
        for size in sizes
        if size in tlb.pages
    ]
    return {**made.tlb._asdict(), "processor": processor.title if processor else "", "reaches": reaches}


def _entries(device: Device, page: int) -> int:
    """Frames of a range that have an entry for certain once it is published."""
    frames = device.size // page
    return frames if device.status == FITS else min(frames, CHUNK_FRAMES) if device.status == LAST else 0


def _device(made: Plan, device: Device) -> Json:
    return {
        "base": device.base if device.status != UNPLACED else None,
        "size": device.size,
        "names": [name for name in device.names if name],
        "status": device.status,
        "frames": device.size // made.page,
        "entries": _entries(device, made.page),
        "cost": device.cost,
        "reason": device.reason,
    }


def _wanted(made: Plan) -> int:
    """Frames that the entries describe which all curable devices ask for, whole chunks."""
    return CHUNK_FRAMES * sum(
        chunks_guaranteed(device.base // made.page, frames, frames)
        for device in made.devices
        if device.curable and (frames := device.size // made.page)
    )


def _reserve(made: Plan) -> Json:
    """Frames of devices whose entries are reserved at boot; those for which entries can be had at most, with what the
    heap has to spare and may grow by; those that the devices ask for; and what of that is described once they are
    published, by entries for every frame."""
    chunks = made.basis.room.chunks
    fits = [device for device in made.devices if device.status == FITS]
    at_most = 1 << 40  # chunks: more than any machine has
    free = at_most - made.basis.room.lacks(chunks, at_most)
    return {
        "reserved": made.device_frames,
        "most": free * CHUNK_FRAMES,
        "wanted": _wanted(made),
        "fitting": sum(device.size // made.page for device in fits),
        "last_words": made.last_words,
    }


def _card(made: Plan, card: str, more: Sequence[Range]) -> Json:
    """What a card that is not there yet would cost: of its largest window. Its status is that of the window."""
    window = max(cards_of(card)[0].windows)
    said = {"card": card, "window": window, "frames": window // made.page}
    try:
        planned = made.on(with_card(made.machine, card), more)
    except InputError as error:
        return {**said, "entries": 0, "cost": 0, "status": UNPLACED, "reason": error.reason, "advice": "", "wanted": 0}
    device = next(each for each in planned.devices if card in each.names)
    advice = advise(planned) if device.status != FITS else None
    return {
        **said,
        "entries": _entries(device, made.page),
        "cost": device.cost,
        "status": device.status,
        "reason": device.reason,
        "advice": counsel(planned, advice) if advice else "",
        "wanted": _wanted(planned),
    }


def _strategy(machine: Machine, profile: Profile, name: str, more: Sequence[Range]) -> Json:
    """What a strategy would come to on the same machine; why it is refused, and what would do."""
    other = with_strategy(profile, name)
    try:
        made = plan(machine, other, more)
    except TooSmall as error:
        told = f"Advice: {way_out(cure(machine, other, more))}."
        return {"strategy": name, "status": REFUSED, "reason": str(error), "advice": told}
    advice = advise(made)
    return {
        "strategy": name,
        "status": "planned",
        "reason": "",
        "advice": counsel(made, advice) if advice else "",
        "heap": made.top,
        "bound": made.bound,
        "available": made.after.available,
        "promised": made.after.promised,
        "broken_by": made.after.broken_by,
        "released": made.after.released,
        "tlb": made.after.tlb,
        "devices": Counter(device.status for device in (*made.devices, *made.unplaced)),
    }
