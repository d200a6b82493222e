"""Names of PCI devices by number, as the list pci.ids has them that lspci takes its own from.

10de  NVIDIA Corporation
    2684  AD102 [GeForce RTX 4090]
            1043 889a  …                        a card of another maker: not looked at
"""

from pathlib import Path

from kernmalloc.inputs.text import clean

PLACES = (Path("/usr/share/misc/pci.ids"), Path("/usr/share/hwdata/pci.ids"))
"""Where systems have the list."""
LONGEST = 1 << 24  # characters of a list that are looked at


def device_name(id: str, beside: Path) -> str:
    """What a list calls the device of an id (vendor:device); "" where there is no list or it is not in one.  A list
    `beside` the input counts before the system's."""
    vendor, device = id.split(":")
    for file in (beside / "pci.ids", *PLACES):
        try:
            with open(file, encoding="utf-8", errors="replace") as stream:
                lines = stream.read(LONGEST).split("\n")
        except OSError:
            continue
        theirs = False
        for line in lines:
            if line[:1] not in ("\t", "#", ""):
                theirs = line.startswith(f"{vendor}  ")
            elif theirs and line.startswith(f"\t{device}  "):
                return clean(line[6:])
    return ""
