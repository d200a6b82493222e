"""Cards of a machine, as `lspci -v`, `-vv`, `-nn` or `-n` list them.

    01:00.0 VGA compatible controller [0300]: NVIDIA Corporation AD102 [GeForce RTX 4090] [10de:2684] (rev a1)
            Region 1: Memory at 6000000000 (64-bit, prefetchable) [size=256M]
            Capabilities: [bb0 v1] Physical Resizable BAR
                    BAR 1: current size: 256MB, supported: 64MB 128MB 256MB … 32GB

Every function that has a window of 16 MiB or more is taken for a card, but the functions of bus 00, which are part of
the processor or the chipset; one that is named by its place always.  A register is as large as it is listed, or as the
largest size that the card supports for it, which only root is told, and with -vv.  Registers of virtual functions and
ROMs are no part of it.  A device that lspci knew by number alone has its name from pci.ids, if there is one.
"""

import re
from pathlib import Path

from kernmalloc.inputs.cards.card import Card
from kernmalloc.inputs.cards.pci_ids import device_name
from kernmalloc.inputs.devices import lspci
from kernmalloc.inputs.devices.pci_dump import lines
from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.limits import hold
from kernmalloc.inputs.packed import unpacked
from kernmalloc.inputs.sizes import parse_size
from kernmalloc.inputs.text import clean, decode

LEAST_WINDOW = 16 << 20
"""Bytes of the largest window of what is taken for a card: network and storage ask for less."""

_CAPABILITY = re.compile(r"Capabilities: \[\w+(?: v\d+)?\] (.*)")
_SUPPORTED = re.compile(r"BAR (\d): current size: \w+, supported: ([\dKMGTB ]+)")
_NOTES = re.compile(r"(?: \((?:rev|prog-if) [^()]*\))+$")
_ID = re.compile(r"(?:^(?:Device )?|\[)([0-9a-f]{4}:[0-9a-f]{4})\]?$")
_MODEL = re.compile(r"\[([^\[\]]+)\]$")
_NUMBER = re.compile(r"Device(?: [0-9a-f]{4})?$")


def cards_in(file: str, place: str = "") -> tuple[Card, ...]:
    """The cards of a list of PCI devices: all that are large enough, or the functions at a place (`01:00.0`, or `01:00`
    for all of a slot).  Raises InputError."""
    text = _text(file)
    found = _functions(text, file)
    if place:
        wanted = lspci.place_of(f"{place}.0" if "." not in place else place)
        cards = [card for at, card in found.items() if at == wanted or ("." not in place and at[:-1] == wanted[:-1])]
    else:
        cards = [card for at, card in found.items() if ":00:" not in at and max(card.bars) >= LEAST_WINDOW]
    if not cards:
        what = f"no register with a size at {place}" if place else "no card with a window of 16 MiB or more"
        raise InputError(file, 0, what, "sudo lspci -vv lists them; FILE:01:00.0 names one that is smaller")
    return tuple(cards)


def _functions(text: str, file: str) -> dict[str, Card]:
    """Each function that has registers with a size, by its place."""
    titles: dict[str, str] = {}
    most: dict[tuple[str, int], int] = {}  # bytes, by place and register
    at, resizing = "", False
    for _, line in lines(text):
        if head := lspci.HEAD.match(line):
            at, resizing = lspci.place_of(line), False
            titles[at] = line[head.end() :]
        elif capability := _CAPABILITY.match(line):
            resizing = capability[1].startswith("Physical Resizable BAR")
        elif resizing and (supported := _SUPPORTED.match(line)):
            most[at, int(supported[1])] = max(map(parse_size, supported[2].split()))
    bars: dict[str, list[int]] = {}
    for device in lspci.read(text, file)[0].devices:
        if device.kind == "bar":
            bars.setdefault(device.name, []).append(max(device.size, most.get((device.name, device.bar), 0)))
    beside = Path(file).parent
    return {
        at: _card(titles.get(at, ""), at, tuple(sizes), any(each == at for each, _ in most), file, beside)
        for at, sizes in bars.items()
    }


def _card(title: str, at: str, bars: tuple[int, ...], resizable: bool, file: str, beside: Path) -> Card:
    """The card of a line such as `NVIDIA Corporation AD102 [GeForce RTX 4090] [10de:2684] (rev a1)`."""
    title = _NOTES.sub("", clean(title))
    id = _ID.search(title)
    name = _ID.sub("", title).strip()
    if id and (not name or _NUMBER.search(name)):
        name = device_name(id[1], beside) or id[1]
    model = _MODEL.search(name)
    return Card(model[1] if model else name or at, (id[1],) if id else (), 0, bars, resizable or None, f"{file}: {at}")


def _text(file: str) -> str:
    """The text of a list, within the `limits`."""
    try:
        with open(file, "rb") as stream:
            text = decode(unpacked(stream, file, "bytes").read(), file)
    except OSError as error:
        raise UnreadableError(file, 0, error.strerror or str(error)) from None
    hold("lines", text.count("\n"), file)
    if not lspci.recognises(text):
        raise UnreadableError(file, 0, "no list of PCI devices", "give the output of sudo lspci -vv")
    return text
