"""Dumps: the memory of a machine or of a process, from a file of RAM, an ELF core, or a process that runs.

`Dump.open` is the boundary. It tells which bytes are the memory at which addresses, and reads none: a dump may be as
large as the machine was, and is sparse where nobody wrote. Where addresses are those of a process, or of a file of RAM
whose first byte lies somewhere, whoever knows what is in the memory finds out where physical address 0 is.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from errno import EACCES, EIO, EPERM
from io import BufferedReader
from pathlib import Path

from kernmalloc.inputs.dumps import process
from kernmalloc.inputs.dumps.segments import Segment, data_in
from kernmalloc.inputs.errors import InputError

OTHERS = {
    b"\x1f\x8b": "compressed by gzip: unpack it",
    b"\xfd7zXZ\0": "compressed by xz: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it",
    b"BZh": "compressed by bzip2: unpack it",
    b"KDUMP   ": "a dump in kdump's own form: dump as ELF, in QEMU without -z, -l and -s",
    b"makedumpfile": "a dump in kdump's own form: dump as ELF, in QEMU without -z, -l and -s",
    b"PAGEDU": "a dump in the form of Windows: dump as ELF, in QEMU without -w",
    b"QFI\xfb": "a disk of QEMU: use pmemsave or dump-guest-memory",
    b"EMiL": "a dump of LiME: write it in its raw form",
}
"""How files begin that hold memory in a form that is not read here, and what to do about it."""


CORES = (b"\4\0", b"\0\4")
"""What an ELF file's type is that is a core."""
AT_ONCE = 1 << 24  # bytes that are read at a time


class Dump:
    """The memory that a file holds. `form` says which form it has; `physical` whether its addresses are; `live` whether
    it may change. Use it in a `with` block, or `close` it."""

    def __init__(self, name: str, form: str, segments: list[Segment], physical: bool, live: bool, end: ExitStack):
        self.name, self.form, self.segments, self.physical, self.live = name, form, segments, physical, live
        self._end = end

    @classmethod
    def open(cls, path: str | Path) -> "Dump":
        """The memory in a file. Raises InputError if it cannot be read."""
        name = str(path)
        end = ExitStack()
        try:
            file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
            return cls._read(end.enter_context(file), name, end)
        except OSError as error:
            end.close()
            advice = ""
            if process.PATH.fullmatch(os.path.realpath(name)) and error.errno in (EACCES, EPERM):
                advice = "its owner may, unless kernel.yama.ptrace_scope forbids it; root may"
            raise InputError(name, 0, error.strerror or str(error), advice) from None
        except BaseException:
            end.close()
            raise

    def close(self) -> None:
        """Let the files go."""
        self._end.close()

    def __enter__(self) -> "Dump":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def data(self, near: int = 0) -> Iterator[Segment]:
        """The segments without the holes of their files; those of up to `near` bytes count as data."""
        for segment in self.segments:
            shift = segment.address - segment.offset
            for start, end in data_in(segment.file, segment.offset, segment.offset + segment.size, near):
                yield segment.part(start + shift, end + shift)

    def read(self, address: int, size: int) -> bytes:
        """Memory at an address; less where the rest is missing."""
        for segment in self.segments:
            if segment.address <= address < segment.end:
                part = segment.part(address, address + size)
                got = read(part.file, part.size, part.offset)
                return got if len(got) < part.size or part.size == size else got + self.read(part.end, size - part.size)
        return b""

    def other_form(self) -> str:
        """What is to be done about a file that seems to be something else; empty if it does not."""
        head = read(self.segments[0].file, 16, 0) if self.form == "raw memory" and self.segments else b""
        if head[:4] == b"\x7fELF":
            return "an ELF file, but no core: name a dump of memory"
        return next((advice for start, advice in OTHERS.items() if head.startswith(start)), "")

    @classmethod
    def _read(cls, file: BufferedReader, name: str, end: ExitStack) -> "Dump":
        number = file.fileno()
        running = process.PATH.fullmatch(os.path.realpath(name))
        if running:
            segments, opened = process.read(f"/proc/{running[1]}", number)
            for each in opened:
                end.callback(os.close, each)
            return cls(name, f"process {running[1]}", segments, False, True, end)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise InputError(name, 0, "no file that can be mapped", "copy it to a file")
        head = os.pread(number, 18, 0)
        if head[:4] == b"\x7fELF" and head[16:] in CORES:
            from kernmalloc.inputs.dumps import core

            segments, physical = core.read(file, name)
            return cls(name, "ELF core", segments, physical, False, end)
        held = os.fstat(number).st_size
        return cls(name, "raw memory", [Segment(0, held, number, 0)] if held else [], False, False, end)


def read(file: int, size: int, offset: int) -> bytes:
    """Bytes of a file; fewer at its end, and none of memory that its process has no more."""
    try:
        got = os.pread(file, min(size, AT_ONCE), offset)
    except OSError as error:
        if error.errno != EIO:
            raise
        return b""
    return got if len(got) in (0, size) else got + read(file, size - len(got), offset + len(got))
