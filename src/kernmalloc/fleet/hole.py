"""The hole: the room for devices' memory that a hypervisor leaves between a guest's addresses, the smallest that holds.

The guest is QEMU's q35 with OVMF, which has the RAM and the devices of a machine: each device behind the bridge that it
is behind on the machine (`buses`), placed as OVMF places it (`placing`).  It has two holes:

- *low*, below 4 GiB, for what has 32 bits.  OVMF of 2022 leaves 960 MiB there (OvmfPkg/Library/PlatformInitLib:
  PlatformMemMapInitialization: from the end of MMCONFIG, 0xC0000000, to 0xFC000000), and nothing changes that;
- the *aperture*, above RAM, for what is high.  Its length is set: for OVMF in MiB by `opt/ovmf/X-PciMmio64Mb`, at most
  16 TiB, for QEMU in bytes by `pci-hole64-size`.  Both round it up to 1 GiB.  It begins at a multiple of the largest
  power of two that is not longer than it (PlatformGetFirstNonAddress), above the end of RAM.

Without the setting OVMF takes 32 GiB, and, since edk2-stable202211, an eighth of the address space if that is more and
it trusts the processor's number of bits (PlatformDynamicMmioWindow); QEMU tells the guest of 32 GiB on q35 and of 2 on
i440fx.  QEMU's q35 has RAM below 4 GiB up to 2.75 GiB, or, if there is more, up to 2 GiB; what is left begins at 4 GiB
(hw/i386/pc_q35.c).  On processors of AMD, QEMU moves RAM and aperture above 1 TiB where they would reach 1,012 GiB;
that, and RAM to be added later, is not reckoned with.

A physical address of the guest has as many bits as its processor says.  OVMF uses at most 46 of them, and at most 40 if
the processor has no pages of 1 GiB (PlatformAddressWidthFromCpuid): give 40 for such a one.
"""

from typing import NamedTuple

from kernmalloc.fleet.buses import HIGH, root_buses
from kernmalloc.fleet.need import Need
from kernmalloc.fleet.placing import Placed, Request, place, up, wants
from kernmalloc.inputs.facts import Range
from kernmalloc.inputs.sizes import size
from kernmalloc.machine.memory_map import Machine

LOW_HOLE = Range(0xC000_0000, 0x3C00_0000, "window", "low hole")
STEP = 1 << 30
"""Unit of the aperture, bytes."""

MOST = 16 << 40
"""Bytes of the longest aperture that OVMF can be told to leave."""

BITS = 46
"""Bits of physical addresses that OVMF uses at most."""

_LOW_RAM, _LOW_RAM_OF_MORE = 0xB000_0000, 0x8000_0000


class Placement(NamedTuple):
    """A guest's two holes, and everything in them at its place, registers and bridges' windows."""

    low_hole: Range
    aperture: Range
    placed: tuple[Placed, ...]


class Refusal(NamedTuple):
    """Why not everything can be placed, in one line."""

    reason: str


def need(machine: Machine, bits: int = BITS) -> Need:
    """The lengths of an aperture, in bytes, with which everything of a machine can be placed in a guest that has `bits`
    bits of physical addresses: a multiple of `STEP`, 0 where nothing is high."""
    low, high = wants(root_buses(machine).values())
    least = up(high.size, STEP)
    if reason := _refused(machine, low, high, least, bits):
        return Need(None, None, reason)
    return Need(least, _most(machine, bits))


def proof(machine: Machine, aperture: int, bits: int = BITS) -> Placement | Refusal:
    """Where everything of a machine is placed with an aperture of so many bytes, or why not everything can be."""
    low, high = wants(root_buses(machine).values())
    length = up(aperture, STEP)
    if reason := _refused(machine, low, high, length, bits):
        return Refusal(reason)
    base = aperture_base(machine, length)
    placed = (*place(low, LOW_HOLE.base), *place(high, base))
    return Placement(LOW_HOLE, Range(base, length, "window", "aperture"), tuple(sorted(placed)))


def aperture_base(machine: Machine, length: int) -> int:
    """Where an aperture of so many bytes begins in a guest with a machine's RAM."""
    ram = machine.ram_bytes
    end = HIGH + (ram - _LOW_RAM_OF_MORE if ram >= _LOW_RAM else 0)
    return up(end, max(STEP, 1 << length.bit_length() - 1 if length else 0))


def bits_for(machine: Machine, aperture: int) -> int:
    """Bits of physical addresses that a guest with a machine's RAM and such an aperture must have."""
    length = up(aperture, STEP)
    return (aperture_base(machine, length) + length - 1).bit_length()


def _refused(machine: Machine, low: Request, high: Request, length: int, bits: int) -> str:
    """Why an aperture of `length` bytes does not do; "" if it does."""
    if low.size > LOW_HOLE.size:
        return f"registers of 32 bits take {size(low.size)}: the hole below 4 GiB has {size(LOW_HOLE.size)}"
    if high.size > length:
        return f"registers above 4 GiB take {size(high.size)}: the aperture has {size(length)}"
    if length > MOST:
        return f"an aperture of {size(length)}: OVMF can be told to leave {size(MOST)} at most"
    if (needed := bits_for(machine, length)) > bits:
        return f"an aperture of {size(length)} above RAM takes {needed} bits of physical addresses: there are {bits}"
    return ""


def _most(machine: Machine, bits: int) -> int:
    """The longest aperture that ends below `1 << bits`: of each order of length there is, the longest that fits."""
    limit, longest = 1 << bits, 0
    for order in range(STEP.bit_length() - 1, MOST.bit_length()):
        room = min(limit - aperture_base(machine, 1 << order), (2 << order) - STEP, MOST)
        if room >= 1 << order:
            longest = room // STEP * STEP
    return longest
