"""Machines made of PCI registers, for tests: as told, and at random."""

from hypothesis import strategies as st

from kernmalloc.inputs.facts import Bridge, Device, Range
from kernmalloc.machine.memory_map import Machine

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


def machine(*devices: Device, ram: int = GIB, bridges: tuple[Bridge, ...] = ()) -> Machine:
    return Machine(name="m", file="m", ram=(Range(0, ram, "ram"),), devices=devices, bridges=bridges)


def high(name: str, size: int, bar: int = 0, base: int = TIB) -> Device:
    """A prefetchable register of 64 bits."""
    return Device(base, size, name=name, bar=bar, bits=64, prefetch=True)


def low(name: str, size: int, bar: int = 0) -> Device:
    """A register of 32 bits that is not prefetchable."""
    return Device(0xF0000000, size, name=name, bar=bar, bits=32)


def cards(*windows: tuple[int, ...]) -> Machine:
    """A machine with cards behind root ports of their own, each with high registers of so many GiB."""
    return machine(
        *(
            high(f"card {number}", size * GIB, bar)
            for number, sizes in enumerate(windows)
            for bar, size in enumerate(sizes)
        )
    )


BUSES = ("0000:00", "0000:01", "0000:02", "0000:05", "0001:00", "0001:04")
BRIDGES = (
    Bridge("0000:00:1c.0", 1, 4),
    Bridge("0000:01:00.0", 2, 2),
    Bridge("0000:01:01.0", 5, 5),
    Bridge("0001:00:01.0", 4, 4),
)

_devices = st.builds(
    lambda bus, slot, bar, order, bits, prefetch: Device(
        (TIB if bits == 64 else 0xF0000000),
        1 << order,
        "rom" if bar == 6 else "bar",
        f"{bus}:{slot:02x}.0",
        bar,
        bits,
        prefetch,
    ),
    st.sampled_from(BUSES),
    st.integers(0, 5),
    st.sampled_from((0, 2, 4, 6)),
    st.integers(4, 26),
    st.sampled_from((32, 64)),
    st.booleans(),
)
_cards = st.builds(
    high,
    st.sampled_from(("a card", "another")),
    st.integers(20, 37).map(lambda order: 1 << order),
    st.sampled_from((0, 2)),
)
machines = st.builds(
    lambda devices, added, ram, bridges: machine(*devices, *added, ram=ram, bridges=bridges),
    st.lists(_devices, max_size=12),
    st.lists(_cards, max_size=6),
    st.integers(1, 1 << 12).map(lambda units: units << 28),
    st.sampled_from(((), BRIDGES, BRIDGES[:1])),
)
"""Machines of any shape, with 256 MiB to 1 TiB of RAM."""
