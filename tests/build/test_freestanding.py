"""The kernel as a freestanding object, for every target."""

import io

import pytest
from elftools.elf.elffile import ELFFile

from kernmalloc.build.freestanding import architectures, freestanding
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.machine.bare import INSTRUCTIONS

MACHINES = {"i386": "EM_386", "x86_64": "EM_X86_64", "riscv64": "EM_RISCV", "armv7": "EM_ARM", "aarch64": "EM_AARCH64"}
BITS = {"i386": 32, "armv7": 32, "x86_64": 64, "riscv64": 64, "aarch64": 64}


def test_every_target_has_an_object():
    assert set(architectures()) == set(MACHINES) == set(INSTRUCTIONS)


@pytest.mark.parametrize("architecture", sorted(MACHINES))
def test_no_undefined_symbol(architecture):
    """The object needs nothing: every symbol that it uses is in it, and no data can be written."""
    elf = ELFFile(io.BytesIO(freestanding(architecture)))
    assert elf["e_machine"] == MACHINES[architecture] and elf.elfclass == BITS[architecture]
    symbols = list(elf.get_section_by_name(".symtab").iter_symbols())
    assert [s.name for s in symbols if s.name and s["st_shndx"] == "SHN_UNDEF"] == []
    exported = {s.name for s in symbols if s["st_info"]["bind"] == "STB_GLOBAL"}
    entries = {
        f"km_{f.__name__}"
        for f, is_entry in REGISTRY.items()
        if is_entry and f.__module__.startswith("kernmalloc.kernel.")
    }
    assert entries and entries <= exported
    writable = [s.name for s in elf.iter_sections() if s["sh_flags"] & 1 and s["sh_size"]]
    assert writable == []
