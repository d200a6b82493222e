"""The kernel as a freestanding object, for every target."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import kernmalloc
from kernmalloc.build.freestanding import freestanding
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.machine.arch import TARGETS


def test_the_whole_kernel_is_in_it():
    """Whoever builds it first, whatever else that process has imported: the object is kept for all."""
    code = "import kernmalloc.build.freestanding, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    root = Path(kernmalloc.__file__).parent
    for file in (root / "kernel").rglob("*.py"):
        module = ".".join(("kernmalloc", *file.relative_to(root).with_suffix("").parts))
        assert module.removesuffix(".__init__") in loaded


@pytest.mark.parametrize("architecture", TARGETS)
def test_no_undefined_symbol(architecture):
    """The object needs nothing: every symbol that it uses is in it, and no data can be written."""
    elf = ELFFile(io.BytesIO(freestanding(architecture)))
    symbols = list(elf.get_section_by_name(".symtab").iter_symbols())
    assert [s.name for s in symbols if s.name and s["st_shndx"] == "SHN_UNDEF"] == []
    exported = {s.name for s in symbols if s["st_info"]["bind"] == "STB_GLOBAL"}
    entries = {
        f"km_call_{f.__name__}"
        for f, is_entry in REGISTRY.items()
        if is_entry and f.__module__.startswith("kernmalloc.kernel.")
    }
    assert entries and entries <= exported
    writable = [s.name for s in elf.iter_sections() if s["sh_flags"] & 1 and s["sh_size"]]
    assert writable == []
