"""What a compressed file holds: gzip, zstd and xz, told by their first bytes, whatever the file is called."""

import gzip
import io
import lzma
import zlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from backports import zstd

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.limits import hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

BUFFER = 1 << 20  # bytes
XZ_MEMORY = 256 << 20  # bytes that unpacking xz may take: four times what `xz -9` needs


class Readable(Protocol):
    """What bytes are read from: at most so many, none at its end."""

    def read(self, size: int, /) -> bytes: ...


class Buffered(Readable, Protocol):
    """What is read by lines, too, and of which the beginning can be seen before it is read."""

    def peek(self, size: int, /) -> bytes: ...
    def readline(self, size: int, /) -> bytes: ...


class Packer(NamedTuple):
    """A form of packing: its name, what opens a packed stream, and what that raises for damaged data."""

    name: str
    opened: "Callable[[io.BufferedReader[_Inner]], Readable]"
    errors: tuple[type[Exception], ...]


class _Xz:
    """What one or several streams of xz hold, within `XZ_MEMORY`, which `lzma.open` does not limit."""

    def __init__(self, packed: Readable) -> None:
        self._packed, self._decoder = packed, _xz_decoder()

    def read(self, size: int, /) -> bytes:
        while True:
            data = b""
            if self._decoder.eof:  # zeros may follow a stream, and another stream them
                data = self._decoder.unused_data.lstrip(b"\0") or self._packed.read(BUFFER).lstrip(b"\0")
                if not data:
                    return b""
                self._decoder = _xz_decoder()
            elif self._decoder.needs_input:
                data = self._packed.read(BUFFER)
                if not data:
                    raise EOFError("it ends in the middle")
            if found := self._decoder.decompress(data, size):
                return found


def _xz_decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY)


PACKERS = {
    b"\x1f\x8b": Packer("gzip", gzip.open, (OSError, EOFError, zlib.error)),
    b"\x28\xb5\x2f\xfd": Packer("zstd", zstd.open, (EOFError, zstd.ZstdError)),
    b"\xfd7zXZ\0": Packer("xz", _Xz, (EOFError, lzma.LZMAError)),
}
HEAD = max(map(len, PACKERS))  # bytes that tell


def is_packed(head: bytes) -> bool:
    """Whether a file that begins with `head`, of at least `HEAD` bytes, is compressed."""
    return head.startswith(tuple(PACKERS))


def unpacked(stream: Readable, file: str, limit: str) -> "io.BufferedReader[_Inner]":
    """A stream of what the binary stream holds: the same bytes if it is not compressed. Reading from it raises
    UnreadableError, which names `file`, where the compressed data are damaged, and where more comes out of it than the
    limit of that name allows."""
    outer = io.BufferedReader(_Inner(stream, "damaged file", (), file, limit), BUFFER)
    head = outer.peek(HEAD)
    for magic, packer in PACKERS.items():
        if head.startswith(magic):
            inner = _Inner(packer.opened(outer), f"damaged {packer.name} file", packer.errors, file, limit)
            return io.BufferedReader(inner, BUFFER)
    return outer


class _Inner(io.RawIOBase):
    """What is in a stream, packed or not; what is wrong with the packing is wrong with the input."""

    def __init__(
        self, inner: Readable, reason: str, errors: tuple[type[Exception], ...], file: str, limit: str
    ) -> None:
        self._inner, self._reason, self._errors, self._file = inner, reason, errors, file
        self._limit, self._count = limit, 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: "WriteableBuffer") -> int:
        room = memoryview(into)
        try:
            data = self._inner.read(len(room))
        except self._errors as error:
            raise UnreadableError(self._file, 0, f"{self._reason}: {error}") from None
        self._count += len(data)
        hold(self._limit, self._count, self._file)
        room[: len(data)] = data
        return len(data)
