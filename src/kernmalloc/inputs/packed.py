"""What a compressed file holds: gzip and zstd, told by their first bytes, whatever the file is called."""

import gzip
import io
import zlib
from typing import BinaryIO

from backports import zstd

from .errors import UnreadableError

BUFFER = 1 << 20  # bytes

PACKERS = {
    b"\x1f\x8b": ("gzip", gzip.open, (OSError, EOFError, zlib.error)),
    b"\x28\xb5\x2f\xfd": ("zstd", zstd.open, (EOFError, zstd.ZstdError)),
}


def unpacked(stream: BinaryIO, file: str) -> io.BufferedReader:
    """A stream of what the binary stream holds: the same bytes if it is not compressed. Reading from it raises
    UnreadableError, which names `file`, where the compressed data are damaged."""
    outer = io.BufferedReader(stream, BUFFER)
    head = outer.peek(4)
    for magic, (name, opened, errors) in PACKERS.items():
        if head.startswith(magic):
            return io.BufferedReader(_Inner(opened(outer), f"damaged {name} file", errors, file), BUFFER)
    return outer


class _Inner(io.RawIOBase):
    """What is packed in a stream; what is wrong with the packing is wrong with the input."""

    def __init__(self, inner: BinaryIO, reason: str, errors: tuple[type[Exception], ...], file: str) -> None:
        self._inner, self._reason, self._errors, self._file = inner, reason, errors, file

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:
        try:
            data = self._inner.read(len(into))
        except self._errors as error:
            raise UnreadableError(self._file, 0, f"{self._reason}: {error}") from None
        into[: len(data)] = data
        return len(data)
