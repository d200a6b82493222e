"""The sample kernel of tests/lang as a freestanding object for a target, and the machine code of an architecture."""

import importlib
import io
import re
import sys
from functools import cache
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kernmalloc.lang import backend, frontend
from kernmalloc.lang.functions import REGISTRY, group, symbol
from kernmalloc.machine.arch import ARCHES, TARGETS

sys.path.insert(0, str(Path(__file__).parent / "lang"))
SAMPLE = {
    importlib.import_module(f"lang_sample.{name}").__name__ for name in ("arithmetic", "bare", "lists", "records")
}
FUNCTIONS = [function for function in REGISTRY if function.__module__ in SAMPLE]


@cache
def groups() -> dict[str, str]:
    """The sample's IR."""
    return frontend.compile(FUNCTIONS)


@cache
def object_of(architecture: str) -> bytes:
    """The sample as an object for a target."""
    return backend.link(groups(), "bare", TARGETS[architecture])


def linked(architecture: str) -> tuple[str, int]:
    """Link the sample for a target: (machine, bits) of the object. It needs nothing, and exports its entries only."""
    elf = ELFFile(io.BytesIO(object_of(architecture)))
    assert elf["e_type"] == "ET_REL" and elf.little_endian
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    symbols = [each for each in table.iter_symbols() if each.name]
    assert not [each.name for each in symbols if each["st_shndx"] == "SHN_UNDEF"]
    exported = {each.name for each in symbols if each["st_info"]["bind"] != "STB_LOCAL"}
    assert exported == {symbol(each) for each in FUNCTIONS if REGISTRY[each] and group(each) in ("kernel", "bare")}
    return elf["e_machine"], elf.elfclass


def assembly(architecture: str) -> str:
    """The sample as the target's assembly."""
    target = TARGETS[architecture]
    text: str = backend.target_machine(target).emit_assembly(backend.linked(groups(), "bare", target))
    return text


def words(architecture: str, primitive: str) -> list[int]:
    """The machine code that an architecture gives for a primitive."""
    found = re.search(rf"^@{primitive}_code = .* \[(i32 [^]]*)\]", ARCHES[architecture].instructions, re.MULTILINE)
    assert found
    return [int(word) for word in re.findall(r"i32 (\d+)", found[1])]
