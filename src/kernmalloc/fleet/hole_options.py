"""What to write where so that a hole is left: the options of QEMU, OVMF, cloud-hypervisor and Linux.

QEMU's `pci-hole64-size` is what ACPI tells the guest's system, and what must end below the processor's limit (QEMU
refuses to start otherwise: "phys-bits too low"); OVMF does not read it, and SeaBIOS needs no setting: it puts registers
of 64 bits above RAM once there is no room below 4 GiB.  libvirt writes the same as <pcihole64> and <maxphysaddr>.

cloud-hypervisor gives its PCI segments all addresses from the end of RAM to the processor's limit, in whole units of 4
GiB (issue 4375 of the project: to 0x3fff3fffffff of 46 bits); each has a share by its weight (`--pci-segment
pci_segment=0,mmio64_aperture_weight=2`).  With one segment the limit is the only setting.

Linux on the machine itself leaves room behind every slot with hot plug, also an empty one: `hpmmioprefsize` for
prefetchable registers and `hpmmiosize` for the others (both 2 MiB by default: kernel-parameters.txt in its
Documentation/admin-guide).  With `realloc` it gives bridges new windows where firmware's are too small, within the
windows of the host bridge that ACPI tells; with `nocrs` it does not heed these, which is a last resort.
"""

from collections.abc import Iterable
from typing import NamedTuple

from kernmalloc.fleet.buses import HIGH
from kernmalloc.fleet.hole import STEP, Placement
from kernmalloc.fleet.placing import GRAIN, up

_KEPT = 4 << 30  # below the limit, of cloud-hypervisor


class Options(NamedTuple):
    """The settings for one hole, each as it is written: `qemu` and `i440fx` are for the two kinds of QEMU's machines,
    `host` and `model` for a guest with the host's processor and for one with another, `linux` and `last_resort` are
    boot parameters of a machine with slots for hot plug."""

    qemu: str
    i440fx: str
    ovmf: str
    host: str
    model: str
    cloud_hypervisor: str
    linux: str
    last_resort: str


def options(aperture: int, end: int, prefetchable: int, memory: int) -> Options:
    """The options for an aperture of so many bytes, of which the highest in any guest ends at address `end`, and for
    bridges' windows of so many bytes (`room_behind_bridges`)."""
    length = up(aperture, STEP)
    bits = (max(end, HIGH) - 1).bit_length()
    return Options(
        qemu=f"-global q35-pcihost.pci-hole64-size={length >> 30}G",
        i440fx=f"-global i440FX-pcihost.pci-hole64-size={length >> 30}G",
        ovmf=f"-fw_cfg name=opt/ovmf/X-PciMmio64Mb,string={length >> 20}",
        host="-cpu host,host-phys-bits=on",
        model=f"-cpu max,phys-bits={bits}",
        cloud_hypervisor=f"--cpus boot=1,max_phys_bits={(max(end, HIGH) + _KEPT - 1).bit_length()}",
        linux=f"pci=realloc,hpmmioprefsize={prefetchable >> 20}M,hpmmiosize={memory >> 20}M",
        last_resort="pci=nocrs",
    )


def room_behind_bridges(placements: Iterable[Placement]) -> tuple[int, int]:
    """Bytes of the longest prefetchable window of any bridge, and of the longest of the others."""
    longest = {"prefetchable": GRAIN, "memory": GRAIN}
    for placement in placements:
        for each in placement.placed:
            if each.window:
                longest[each.window] = max(longest[each.window], each.size)
    return longest["prefetchable"], longest["memory"]
