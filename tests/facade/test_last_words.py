"""Last words: console and boot devices are recognised, and configured whatever else is used up (C22)."""

from contextlib import suppress
from itertools import permutations

import pytest
from effort import EFFORT
from heap_model import read, write
from msgspec.structs import replace
from small_machines import MIB, conserved, machine
from typer.testing import CliRunner

from kernmalloc import Kernel, Profile
from kernmalloc.cli import app
from kernmalloc.facade.configure import FITS, LAST, configure
from kernmalloc.facade.errors import OutOfMemory, Promised, WouldBlock
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.inputs.facts import Device
from kernmalloc.plan.advice import advise, tuned
from kernmalloc.plan.plan import plan, with_strategy
from kernmalloc.report.plan import advised

GIB = 1 << 30
FULL = (OutOfMemory, Promised, WouldBlock)
CARD = Device(base=8 * GIB, size=4 * GIB, name="card")
SCREEN = Device(base=4 * GIB, size=16 * MIB, name="vga")  # more frames than last words have entries for
SERIAL = Device(base=5 * GIB, size=4096, name="serial@140000000")


def until_refused(take) -> None:
    """Take until there is no more."""
    for _ in range(1 << 20):
        try:
            take()
        except FULL:
            return
    raise AssertionError("it does not run out")


class Exhaust:
    """The ways in which a kernel is used up, each to its last bit."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.next = kernel, 32 * GIB

    def entries(self) -> None:
        """Chunks for device frames: a card's first uses take all that are left of them."""
        self.records(1 << 21)
        frame = self.next // 4096

        def use() -> None:
            nonlocal frame
            frame -= 32
            self.kernel.devices.get(frame)

        try:
            until_refused(use)
        except Exception as error:
            assert "BAD_FRAME" in str(error)  # no record was left for the card

    def records(self, frames: int = 1) -> None:
        """Region records: ranges published by their extents; or one range of so many frames."""

        def publish() -> None:
            self.kernel.devices.publish(self.next, frames * 4096, 0)
            self.next += frames * 4096

        if frames == 1:
            return until_refused(publish)
        with suppress(FULL):
            publish()

    def pages(self) -> None:
        """Heap pages, and with them the virtual window: large blocks, then small ones."""
        for size in (16 * MIB, MIB, 40_000, 4096, 560, 16):
            until_refused(lambda size=size: self.kernel.malloc(size))

    def frames(self) -> None:
        """Frames of page space, and those for mapping tables: all are pages."""
        until_refused(self.kernel.frame_get)

    def objects(self) -> None:
        """Every object type."""
        for cache in self.kernel.caches:
            if not cache.own:
                until_refused(cache.get)


WAYS = ("entries", "records", "pages", "frames", "objects")
ORDERS = list(permutations(WAYS))


def small(strategy: str) -> Profile:
    """A kernel that is used up soon."""
    profile = tuned(with_strategy(Profile.load("eros2"), strategy), {"excess": 4 * MIB, "growable": 2 * MIB})
    if STRATEGIES[strategy].devices:
        profile = tuned(profile, {"device-frames": 640})
    return replace(
        profile, va=replace(profile.va, size=type(profile.va.size)(32 * MIB)), bank=replace(profile.bank, withheld=64)
    )


@pytest.mark.parametrize("first, strategy", [*enumerate(STRATEGIES)])
def test_C22_whatever_is_used_up_in_any_order(first, strategy):
    """C22: in every order of exhausting entries, records, heap pages and window, frames, and objects, the console's
    drivers publish, get all that they need, and say what to tune. The orders are dealt out to the strategies; at night,
    each has all."""
    computer = replace(machine((MIB, 15 * MIB)), devices=(CARD, SCREEN, SERIAL))
    profile = small(strategy)
    made = plan(computer, profile)
    told = "\n".join(advised(made, advise(made), "kernmalloc boot"))
    assert "Advice: " in told
    with Kernel.boot(computer, profile) as kernel:
        assert kernel.heap.used == kernel.heap.planned
        fresh, state = kernel.snapshot(), (kernel.heap.used, kernel.ledger)
        for order in ORDERS[first :: 1 if EFFORT > 1 else len(STRATEGIES)]:
            full = Exhaust(kernel)
            for way in order:
                getattr(full, way)()
            for way in WAYS:  # what one way gave back to another is used up, too
                getattr(full, way)()
            before = kernel.ledger.available
            kernel.devices.publish(SERIAL.base, SERIAL.size, last_words=True)
            kernel.devices.publish(SCREEN.base, SCREEN.size, 32, last_words=True)
            for pfn in (SERIAL.base // 4096, *range(SCREEN.base // 4096, SCREEN.base // 4096 + 32)):
                kernel.devices.get(pfn)
            needs = {"node": 16, "process": 1, "depend": 16, "thread": 1, "mapping frame": 8}
            held = [
                (kernel.last_words[name], kernel.last_words[name].get())
                for name, count in needs.items()
                for _ in range(count)
            ]
            assert kernel.ledger.available == before, "none of it is the bank's"
            buffer = held[-1][1]
            write(kernel, buffer, told.encode())
            assert read(kernel, buffer, len(told)).decode() == told
            assert kernel.check().passed
            for cache, va in held:
                cache.put(va)
            kernel.restore(fresh)
        assert (kernel.heap.used, kernel.ledger) == state
        conserved(kernel)


@pytest.mark.parametrize("strategy", ["static", "reserve"])
def test_C22_configure_uses_the_tier_by_itself(strategy):
    """C22: where a card has all entries, the serial port fits and the screen has what a message needs; as planned."""
    computer = replace(
        machine((MIB, 15 * MIB)),
        devices=tuple(
            replace(d, role=role)
            for d, role in (
                (replace(CARD, base=2 * GIB, size=640 * 4096), ""),
                (SCREEN, "console"),
                (SERIAL, "console"),
                (CARD, ""),
            )
        ),
    )
    profile = tuned(small(strategy), {"excess": 0, "device-frames": 640})
    profile = replace(profile, heap=replace(profile.heap, spare=type(profile.heap.spare)(0)))
    made = plan(computer, profile)
    with Kernel.boot(computer, profile) as kernel:
        done = configure(kernel)
        found = {d.base: d.status for d in done.devices}
        assert [(d.base, d.status, d.cost) for d in done.devices] == [(d.base, d.status, d.cost) for d in made.devices]
        assert found[SERIAL.base] == FITS and found[SCREEN.base] == LAST
        assert advise(made) is not None
        conserved(kernel)


def test_C22_the_advice_is_printed(tmp_path):
    """C22: the command line shows which device had last words, and what to type so that all fit."""
    file = tmp_path / "machine.toml"
    file.write_text(f"""
memory = [{{ base = 0x100000, size = 0x3f00000, kind = "ram" }}]
devices = [
  {{ base = {2 * GIB:#x}, size = {32 * MIB:#x}, name = "card" }},
  {{ base = {4 * GIB:#x}, size = {16 * MIB:#x}, name = "a screen", role = "console" }},
]
""")
    for command in (("plan",), ("boot", "--verbose")):
        shown = (
            CliRunner().invoke(app, [*command, str(file), "--strategy", "reserve", "--device-frames", "8192"]).output
        )
        assert "last-words" in shown and "1 fits, 1 last-words, 0 extent-only, 0 refused" in shown, shown
        assert "Advice: a screen" in shown and "--device-frames" in shown.split("Advice:")[1]
