"""Readers of machines: boot logs, memory maps in any print, device trees, board constants, PCI dumps, fleets, TOML.

`read` is the boundary.  Each reader is one module with `recognises(head) -> bool` and `read(text, file) ->
list[Facts]`, tried in the order of `READERS`; a new form of input is one more module in that tuple.  A file that tells
the first nothing is the next one's: a log of Linux that was cut off may have its firmware's map before it.  Those in
`BINARY_READERS` are given bytes, those in `FOLDER_READERS` a folder.  Whatever is compressed (`packed`) is read as what
it holds, and nothing beyond the `limits`.  Traces have readers of their own: `traces`.
"""

import io
from pathlib import Path
from typing import BinaryIO, Protocol

from kernmalloc.inputs import fleet, toml_facts
from kernmalloc.inputs.devices import lshw, lspci, msinfo, pciconf, sysfs_resource
from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.facts import Facts
from kernmalloc.inputs.limits import hold
from kernmalloc.inputs.logs import dmesg
from kernmalloc.inputs.maps import (
    bsd,
    coreboot,
    dmidecode,
    firmware_memmap,
    iomem,
    loader_dump,
    loader_info,
    lsmem,
    meminfo,
    range_list,
    uboot_bdinfo,
    uboot_board,
    uefi,
    xen,
    zoneinfo,
)
from kernmalloc.inputs.packed import unpacked
from kernmalloc.inputs.text import decode
from kernmalloc.inputs.trees import devicetree, devicetree_source

__all__ = [
    "BINARY_READERS",
    "FOLDER_READERS",
    "READERS",
    "Facts",
    "InputError",
    "UnreadableError",
    "read",
    "read_bytes",
    "read_stream",
]


class Reader(Protocol):
    """A reader of text."""

    def recognises(self, head: str, /) -> bool: ...
    def read(self, text: str, file: str, /) -> list[Facts]: ...


class BinaryReader(Protocol):
    """A reader of bytes."""

    def recognises(self, head: bytes, /) -> bool: ...
    def read(self, data: bytes, file: str, /) -> list[Facts]: ...


class FolderReader(Protocol):
    """A reader of folders in which Linux shows something."""

    def recognises_folder(self, folder: Path, /) -> bool: ...
    def read_folder(self, folder: Path, /) -> list[Facts]: ...


READERS: tuple[Reader, ...] = (
    fleet,
    loader_dump,
    devicetree_source,
    toml_facts,
    uboot_board,
    dmesg,
    xen,
    bsd,
    iomem,
    pciconf,
    sysfs_resource,
    lspci,
    lshw,
    msinfo,
    uefi,
    coreboot,
    uboot_bdinfo,
    firmware_memmap,
    lsmem,
    zoneinfo,
    dmidecode,
    meminfo,
    range_list,
)
BINARY_READERS: tuple[BinaryReader, ...] = (devicetree, loader_info)
FOLDER_READERS: tuple[FolderReader, ...] = (devicetree, firmware_memmap)


def read(path: str | Path) -> list[Facts]:
    """Facts of every machine or boot in the file or folder, in its order.  Raises InputError, whatever it holds."""
    file = str(path)
    try:
        if Path(path).is_dir():
            return _limited(_read_folder(Path(path)), file)
        with open(path, "rb") as stream:
            return read_stream(stream, file)
    except OSError as error:
        raise UnreadableError(file, 0, error.strerror or str(error)) from None


def read_stream(stream: BinaryIO, file: str) -> list[Facts]:
    """Facts of every machine or boot in a binary stream, within the `limits`; `file` names it in messages.  Raises as
    `read`."""
    inner = unpacked(stream, file, "bytes")
    if _is_trace(inner.peek(1)):
        raise UnreadableError(file, 0, "a recording of what was allocated, no machine", "kernmalloc replay reads it")
    return _limited(_read(inner.read(), file), file)


def _is_trace(head: bytes) -> bool:
    """Whether a file that begins with `head` is a recording, and no log in which there is one, too."""
    from kernmalloc.inputs.traces.trace_readers import beginning, is_trace

    begins = beginning(head)
    return is_trace(begins) and not any(reader.recognises("".join(begins)) for reader in READERS)


def _limited(found: list[Facts], file: str) -> list[Facts]:
    """What was found, within the limits."""
    for facts in found:
        ranges = len(facts.memory) + len(facts.carved) + len(facts.devices) + len(facts.windows)
        hold("ranges", ranges, file, facts.line)
    return found


def read_bytes(data: bytes, file: str) -> list[Facts]:
    """Facts of every machine or boot in bytes at hand; `file` names them in messages.  Raises as `read`."""
    return read_stream(io.BytesIO(data), file)


def _read_folder(folder: Path) -> list[Facts]:
    for reader in FOLDER_READERS:
        if reader.recognises_folder(folder):
            return reader.read_folder(folder)
    raise UnreadableError(
        str(folder), 0, "a folder that is neither a device tree nor /sys/firmware/memmap", "name the files in it"
    )


def _read(data: bytes, file: str) -> list[Facts]:
    for binary in BINARY_READERS:
        if binary.recognises(data):
            return binary.read(data, file)
    text = decode(data, file)
    hold("lines", text.count("\n"), file)
    if not text.strip():
        raise UnreadableError(file, 0, "empty")
    silent: list[Facts] = []
    for reader in READERS:
        if reader.recognises(text):
            found = reader.read(text, file)
            if any(facts.memory or facts.total or facts.devices or facts.refusal for facts in found):
                return found
            silent = silent or found
    if silent:
        return silent
    raise UnreadableError(
        file,
        0,
        "not a boot log, printed memory map, /proc/iomem, device tree, list of PCI devices, nor machine in TOML",
        "give the output of dmesg or sudo cat /proc/iomem",
    )
