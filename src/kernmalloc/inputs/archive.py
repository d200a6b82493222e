"""The files of a tar archive, one after the other, read as streams: nothing is extracted, nothing is held.

An archive is blocks of 512 bytes: a header for each file, then its contents, filled up with zeros.  POSIX's pax and GNU
tar put a name that is too long for a header into contents of their own, before the file's.  Source: POSIX.1-2017, pax,
"ustar Interchange Format" and "pax Extended Header"; GNU tar's manual, "Basic Tar Format".

What is no file (links, devices) and whose name leads out of the archive is skipped and counted, and so are sparse files
and, as in a folder, hidden ones.  Headers are read here and not by Python's `tarfile`, which holds a name, and the map
of a sparse file, in memory, however long the archive says that they are.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.folders import HIDDEN, is_hidden
from kernmalloc.inputs.limits import hold
from kernmalloc.inputs.packed import BUFFER, Readable

BLOCK = 512  # bytes
LONGEST_NAME = 64 << 10  # bytes of a name and what else pax tells of a file

_MAGIC = slice(257, 262)
_CHECKSUM = slice(148, 156)
_SKIPPED = {"1": "link", "2": "link", "3": "device", "4": "device", "6": "device", "S": "sparse file", "5": ""}


class Contents:
    """What is left of a file in an archive: bytes to read."""

    def __init__(self, stream: Readable, size: int, file: str) -> None:
        self._stream, self._left, self._file = stream, size, file

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(min(size, self._left))
        if not data and self._left and size:
            raise damaged(self._file, "it ends in the middle of a file")
        self._left -= len(data)
        return data

    def drop(self) -> None:
        """Read the rest, for nobody."""
        while self.read(BUFFER):
            pass


def recognises(head: bytes) -> bool:
    """Whether a file that begins with `head`, of at least 512 bytes, is a tar archive."""
    return head[_MAGIC] == b"ustar" and _checksum(head[:BLOCK]) == _number(head[_CHECKSUM])


def members(stream: Readable, file: str, skipped: Counter[str]) -> Iterator[tuple[str, Contents]]:
    """The name in the archive and the contents of each file in it; contents can be read until the next is asked for.
    What is skipped is counted in `skipped`, by reason.  Raises UnreadableError, which names `file`, where the archive
    is damaged, and what `stream` raises."""
    told: dict[str, str] = {}  # of the next file, by what stands before it
    count = 0
    while header := _header(stream, file):
        count += 1
        hold("files", count, file)
        size, kind = _number(header[124:136]), chr(header[156])
        if size is None:
            raise damaged(file, "a size that is no number")
        if kind in "xLKg":
            told |= _extended(stream, file, size, kind)
            continue
        if "size" in told:
            size = int(told["size"]) if told["size"].isdecimal() else size
        name = told.get("path") or _name(header)
        if kind == "S":
            _skip_map(stream, file, header)
        contents = Contents(stream, 0 if kind in "123456" else size, file)
        reason = "sparse file" if any(key.startswith("GNU.sparse") for key in told) else _reason(name, kind)
        if reason is None:
            yield name, contents
        elif reason:
            skipped[reason] += 1
        contents.drop()
        if kind not in "123456":
            Contents(stream, -size % BLOCK, file).drop()
        told = {}


def damaged(file: str, reason: str) -> UnreadableError:
    """What to raise of an archive that is not whole."""
    return UnreadableError(file, 0, f"damaged tar archive: {reason}")


def _reason(name: str, kind: str) -> str | None:
    """Why an entry of that name and kind is skipped; "" of a folder, None of a file that is read."""
    if kind in _SKIPPED:
        return _SKIPPED[kind]
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return "path that leaves the archive"
    return HIDDEN if any(map(is_hidden, path.parts)) else "" if name.endswith("/") else None


def _header(stream: Readable, file: str) -> bytes:
    """The next header; none at the end of the archive, which is a block of zeros or the end of the stream."""
    header = stream.read(BLOCK)
    if not header.strip(b"\0"):
        return b""
    if len(header) < BLOCK:
        raise damaged(file, "it ends in the middle of a header")
    if header[_MAGIC] != b"ustar" or _checksum(header) != _number(header[_CHECKSUM]):
        raise damaged(file, "a header whose checksum is wrong")
    return header


def _checksum(header: bytes) -> int:
    """The sum of a header's bytes, in which the bytes of the checksum count as spaces."""
    return sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ")


def _number(field: bytes) -> int | None:
    """A number of a header: octal, or binary after a byte of 0x80; None if it is neither."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits or b"0", 8) if not digits.strip(b"01234567") else None


def _name(header: bytes) -> str:
    """The name in a header: of POSIX's with what stands before its last part, of GNU tar's alone."""
    name = _text(header[:100])
    before = _text(header[345:500]) if header[262:263] == b"\0" else ""
    return f"{before}/{name}" if before else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _extended(stream: Readable, file: str, size: int, kind: str) -> dict[str, str]:
    """What an extended header tells of the next file; a header for GNU's long names tells its path."""
    if size > LONGEST_NAME:
        raise damaged(file, f"a name or what pax tells of a file in more than {LONGEST_NAME:,} bytes")
    contents = Contents(stream, size, file)
    data = b"".join(iter(lambda: contents.read(BLOCK), b""))
    Contents(stream, -size % BLOCK, file).drop()
    if kind == "L":
        return {"path": _text(data)}
    return dict(_pax(data)) if kind == "x" else {}


def _pax(data: bytes) -> Iterator[tuple[str, str]]:
    """The records of pax, each `LENGTH KEY=VALUE` and a newline; what is none ends them."""
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or len(length) > 5 or not len(length) < int(length) <= len(data):
            return
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        yield key.decode(errors="replace"), value.decode(errors="replace")
        data = data[int(length) :]


def _skip_map(stream: Readable, file: str, header: bytes) -> None:
    """Read what follows the header of a sparse file: blocks, of which each says whether there is one more."""
    more = header[482]
    while more:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            raise damaged(file, "it ends in the middle of a header")
        more = block[504]
