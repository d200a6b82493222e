"""ELF cores: the memory of a machine, as QEMU's dump-guest-memory writes it, or that of a process.

A program header of type PT_LOAD tells of one segment. A machine's have physical addresses; of a process the kernel and
gdb leave those 0, and addresses are virtual. What a header promises and the file does not hold is missing.
"""

import os
from typing import BinaryIO

from elftools.common.exceptions import ELFError
from elftools.common.utils import struct_parse
from elftools.elf.elffile import ELFFile

from kernmalloc.inputs.dumps.segments import Segment
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.limits import hold

HEAD = b"\x7fELF"
DAMAGE = (ELFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError)
"""What the library raises for headers that contradict each other."""


def read(file: BinaryIO, name: str) -> tuple[list[Segment], bool]:
    """The segments of a core, and whether their addresses are physical. Raises UnreadableError."""
    try:
        elf = ELFFile(file)
        kind, count = elf["e_type"], elf.num_segments()
        if kind != "ET_CORE":
            raise UnreadableError(name, 0, f"an ELF file of type {kind}, no core", "name a dump of memory")
        hold("ranges", count, name)
        step, start = elf["e_phentsize"], elf["e_phoff"]
        headers = [struct_parse(elf.structs.Elf_Phdr, file, start + i * step) for i in range(count)]
    except UnreadableError:
        raise
    except DAMAGE as error:
        said = str(error) or type(error).__name__
        raise UnreadableError(name, 0, f"its ELF headers cannot be read: {said}", "dump again") from None
    loads = [header for header in headers if header["p_type"] == "PT_LOAD"]
    physical = any(header["p_paddr"] for header in loads)
    held = os.fstat(file.fileno()).st_size
    segments = [
        Segment(
            header["p_paddr" if physical else "p_vaddr"],
            max(min(header["p_filesz"], held - header["p_offset"]), 0),
            file.fileno(),
            header["p_offset"],
        )
        for header in loads
    ]
    return [segment for segment in segments if segment.size], physical
