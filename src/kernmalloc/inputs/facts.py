"""Facts: what one file says about one machine, before anything is resolved.

A reader turns text into `Facts`; `kernmalloc.machine.memory_map` turns facts into a `Machine`.  Addresses and sizes
are bytes, as Python integers without limit: what does not fit a machine word is flagged later, never wrapped.
Ranges are half open: `base <= address < end`.
"""

import re
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from kernmalloc.inputs.errors import InputError

MAP_KINDS = ("ram", "soft", "reserved", "nvram", "rom")
"""Kinds of memory map entries, weakest first: where entries overlap the later one in this list wins.

`ram`       usable memory
`soft`      memory for a special purpose, such as that of an accelerator: soft reserved, EFI's specific purpose (SP)
`reserved`  anything that the firmware keeps or the reader does not know (also unusable, MMIO)
`nvram`     contents belong to somebody: ACPI data, ACPI NVS, persistent memory
`rom`       read-only memory (video, adapter and system ROMs)
"""

CARVED_KINDS = ("firmware", "table", "initrd", "image")
"""Kinds of RAM already taken when the kernel starts, weakest first: reserved in the device tree, boot tables, the
initial ramdisk, the kernel image."""

DEVICE_KINDS = ("bar", "rom", "resource")
"""Kinds of device windows: a base address register, an expansion ROM, and what may be either of them or belong to a
device outside PCI: an entry of /proc/iomem, a `reg` of a device tree."""

DEVICE_STATUS = ("assigned", "unassigned", "disabled", "beyond", "inside RAM")
"""Status of a device's window: it has its place, it has a size but no place, the device tree says that nobody uses it,
it reaches above 2^52, RAM is there."""


DEVICE_ROLES = ("", "console", "boot")
"""What a device is needed for when all else fails: to tell the user something, to load what comes next, or nothing."""

_CLASS_ROLES = {0x01: "boot", 0x03: "console", 0x07: "console"}  # mass storage; display; serial ports

_CONSOLE = re.compile(r"serial|uart|tty|vga|display|3d controller|framebuffer|console", re.I)
_BOOT = re.compile(r"mmc|sdhci|sd host|nand|flash|sata|ahci|nvme|non-volatile|scsi|raid|ide interface|storage", re.I)


def role_of(name: str) -> str:
    """The role of a device that is known by its name alone: serial@10000000, fe340000.mmc, VGA controller."""
    return "console" if _CONSOLE.search(name) else "boot" if _BOOT.search(name) else ""


def class_role(code: int) -> str:
    """The role of a PCI function by its class code of 24 bits; Linux before 2.6.37 prints the upper 16 of them."""
    return _CLASS_ROLES.get(code >> 16 or code >> 8, "")


class Range(msgspec.Struct, frozen=True):
    """`size` bytes of physical addresses from `base`; `line` is where the file says so (1-based, 0: nowhere)."""

    base: int
    size: int
    kind: str
    name: str = ""
    line: int = 0

    @property
    def end(self) -> int:
        """First address after the range."""
        return self.base + self.size


class Device(msgspec.Struct, frozen=True):
    """One memory window of a device: a PCI base address register, or what /proc/iomem or a device tree list.

    `kind` is one of `DEVICE_KINDS`, `name` is the PCI address (domain:bus:device.function) or the resource's name,
    `bar` the register's index (6 is the ROM; -1 unknown), `bits` 32 or 64 (0 unknown), `status` one of
    `DEVICE_STATUS`.  An unassigned window has a size but no true base (0).  `role` is one of `DEVICE_ROLES`.
    """

    base: int
    size: int
    kind: str = "bar"
    name: str = ""
    bar: int = -1
    bits: int = 0
    prefetch: bool = False
    status: str = "assigned"
    line: int = 0
    role: str = ""

    @property
    def end(self) -> int:
        """First address after the window."""
        return self.base + self.size


class Bridge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bridge between PCI buses: its address (domain:bus:device.function), and the buses behind it, `bus` to `last`,
    of which `bus` is the one that the bridge itself leads to."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]$")]
    bus: Annotated[int, msgspec.Meta(ge=0, le=255)]
    last: Annotated[int, msgspec.Meta(ge=0, le=255)]


class Problem(msgspec.Struct, frozen=True):
    """Something to tell about the input that did not stop the reading: the line (0: no single line), what, the text.

    `file` is the file that the line is in, if it is not the machine's own.
    """

    line: int
    reason: str
    text: str = ""
    file: str = ""


class Facts:
    """What one file (one boot in it) says.  `memory` is in the order of the file, unresolved.

    `origin` names the lines that the map came from.  `total` is the RAM in bytes as the kernel summed it up (0: not
    told).  `complete` is false for a boot of which the log holds no more than the beginning.  `refusal` is the error
    that forbids to use these facts, because a line that matters cannot be read.

    What there is to tell is in three lists: `problems` is what is wrong with the machine, `missing` what the file lacks
    to tell it whole, `unread` what the reader did not understand.  `ignored` counts harmless lines that were not used,
    by reason.

    `line` is the line that tells of this machine in a file that holds many (0: the file tells of one, perhaps in
    several boots).  Where `memory` holds no RAM, `lacks` says why and what to do about it; `ram_base` is where RAM
    begins, if the file tells that much (None: not told), and `like_pc` whether otherwise RAM may be taken to lie as on
    a PC.

    `domain` is the map of a domain, where `memory` is that of the machine under its hypervisor.  `removed` is what the
    kernel took out of the firmware's ranges after it had printed them, `unused` the RAM that it gave up: that of kind
    "ram" is in `memory`, too.

    `roles` are those of PCI functions whose class is told, by address; other devices have theirs by name.
    """

    def __init__(self, file: str):
        self.file = file
        self.name = PurePath(file).stem or file
        self.arch = "?"
        self.origin = ""
        self.licence = ""
        self.total = 0
        self.complete = True
        self.line = 0
        self.lacks = "no memory map in it", "give the whole boot log, from its first line"
        self.ram_base: int | None = None
        self.like_pc = True
        self.refusal: InputError | None = None
        self.memory: list[Range] = []
        self.domain: list[Range] = []
        self.removed: list[Range] = []
        self.unused: list[Range] = []
        self.devices: list[Device] = []
        self.roles: dict[str, str] = {}
        self.windows: list[Range] = []
        self.bridges: list[Bridge] = []
        self.carved: list[Range] = []
        self.ignored: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self.missing: list[Problem] = []
        self.unread: list[Problem] = []
