"""Readers of machines: boot logs, /proc/iomem, device trees, board constants, PCI dumps, fleets, TOML.

`read` is the boundary.  Each reader is one module with `recognises(head) -> bool` and `read(text, file) ->
list[Facts]`, tried in the order of `READERS`; a new form of input is one more module in that tuple.  Those in
`BINARY_READERS` are given bytes.  Whatever is compressed (`packed`) is read as what it holds.  Traces have readers of
their own: `traces`.
"""

import io
from pathlib import Path
from typing import BinaryIO, Protocol

from . import devicetree, dmesg, fleet, iomem, lspci, pciconf, sysfs_resource, toml_facts, uboot_board
from .errors import InputError, UnreadableError
from .facts import Facts
from .packed import unpacked
from .sizes import size
from .text import decode

__all__ = ["BINARY_READERS", "READERS", "Facts", "InputError", "UnreadableError", "read", "read_bytes", "read_stream"]


class Reader(Protocol):
    """A reader of text."""

    def recognises(self, head: str, /) -> bool: ...
    def read(self, text: str, file: str, /) -> list[Facts]: ...


class BinaryReader(Protocol):
    """A reader of bytes."""

    def recognises(self, head: bytes, /) -> bool: ...
    def read(self, data: bytes, file: str, /) -> list[Facts]: ...


READERS: tuple[Reader, ...] = (fleet, toml_facts, uboot_board, dmesg, iomem, pciconf, sysfs_resource, lspci)
BINARY_READERS: tuple[BinaryReader, ...] = (devicetree,)

LIMIT = 256 << 20
"""Bytes of input that are read at most: no log is larger, and a device file may never end."""


def read(path: str | Path) -> list[Facts]:
    """Facts of every machine or boot in the file, in its order.  Raises InputError, whatever the file holds."""
    file = str(path)
    try:
        with open(path, "rb") as stream:
            return read_stream(stream, file)
    except OSError as error:
        raise UnreadableError(file, 0, error.strerror or str(error)) from None


def read_stream(stream: BinaryIO, file: str) -> list[Facts]:
    """Facts of every machine or boot in a binary stream; `file` names it in messages.  Raises as `read`."""
    data = unpacked(stream, file).read(LIMIT + 1)
    if len(data) > LIMIT:
        raise UnreadableError(file, 0, f"more than {size(LIMIT)}")
    return _read(data, file)


def read_bytes(data: bytes, file: str) -> list[Facts]:
    """Facts of every machine or boot in bytes at hand; `file` names them in messages.  Raises as `read`."""
    return read_stream(io.BytesIO(data), file)


def _read(data: bytes, file: str) -> list[Facts]:
    for binary in BINARY_READERS:
        if binary.recognises(data):
            return binary.read(data, file)
    text = decode(data, file)
    if not text.strip():
        raise UnreadableError(file, 0, "empty")
    for reader in READERS:
        if reader.recognises(text):
            return reader.read(text, file)
    raise UnreadableError(
        file,
        0,
        "not a boot log, /proc/iomem, device tree, board's constants, list of PCI devices or machine in TOML",
        "give the output of dmesg or sudo cat /proc/iomem",
    )
