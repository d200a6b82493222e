"""Where RAM that is added later lies, if nobody says."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from small_machines import MIB, machine

from kernmalloc.inputs.facts import Device, Range
from kernmalloc.inputs.sizes import Ram
from kernmalloc.machine.added_ram import ALIGN, place_ram

GIB = 1 << 30


def test_above_4_gib_on_a_pc_and_above_all_ram_on_a_board() -> None:
    """A hypervisor puts it there; a board has nothing to keep clear of."""
    pc = machine((0, 256 * MIB))
    assert [r.base for r in place_ram(pc, [Ram(12 * GIB), Ram(GIB)])] == [4 * GIB, 16 * GIB]
    board = replace(machine((GIB, 512 * MIB)), arch="arm64")
    assert place_ram(board, [Ram(MIB)])[0].base == GIB + 512 * MIB
    assert place_ram(board, [Ram(MIB, 3 * MIB)])[0].base == 3 * MIB, "where it is said"


ranges = st.lists(st.tuples(st.integers(0, 64), st.integers(1, 9)), max_size=6)


@given(
    st.sampled_from(("i386", "x86_64", "?", "arm64", "riscv64")),
    ranges,
    ranges,
    st.lists(st.integers(1, 40), max_size=4),
)
def test_it_overlaps_nothing(arch: str, firmware: list, windows: list, amounts: list) -> None:
    """Neither RAM, firmware, devices nor what was placed before; and begins at a multiple of Linux's block."""
    step = 96 * MIB
    made = replace(
        machine((0, 3 * step)),
        arch=arch,
        firmware=tuple(Range(4 * GIB + at * step, size * step, "reserved", "", 0) for at, size in firmware),
        devices=tuple(Device(base=at * step, size=size * step, name="device") for at, size in windows),
    )
    placed = place_ram(made, [Ram(amount * 64 * MIB) for amount in amounts])
    for number, each in enumerate(placed):
        assert each.base % ALIGN == 0 and (each.base >= 4 * GIB or arch in ("arm64", "riscv64"))
        for other in (*made.ram, *made.firmware, *made.devices, *placed[:number]):
            assert each.end <= other.base or other.end <= each.base
