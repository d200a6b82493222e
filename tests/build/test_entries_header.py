"""kernmalloc_entries.h compiles, and C finds the bits that Python finds."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kernmalloc.build.entries_header import NAME, entries_header
from kernmalloc.machine.arch import ARCHES

FORMATS = [format for arch in ARCHES.values() for format in arch.formats if format.has_tables]


def name(*words: str) -> str:
    return "_".join(("KM", *words)).upper().replace("-", "_").replace(".", "_")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: cc")
def test_C_has_every_field_and_what_the_kernel_makes(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(entries_header(FORMATS))
    asked: dict[str, int] = {}
    for format in FORMATS:
        for kind, fields in format.fields.items():
            for field in fields:
                asked[name(format.name, kind, field.name)] = field.mask
                if field.width > 1:
                    asked[name(format.name, kind, field.name, "shift")] = field.low
        for made in format.made._fields:
            asked[name(format.name, "made", made)] = getattr(format, made)
        for number in ("address", "present", "page_shift", "index_bits", "pa_shift", "va_bits", "phys_bits"):
            asked[name(format.name, number)] = getattr(format, number)
        for register in format.registers:
            asked[name(format.name, "set", register.name)] = register.value
    claims = "\n".join(f'_Static_assert({each} == UINT64_C({value}), "{each}");' for each, value in asked.items())
    source = tmp_path / "claims.c"
    source.write_text(f'#include "{NAME}"\n#include "{NAME}"\n{claims}\n')
    subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", "-pedantic", "-fsyntax-only", source], check=True)
    defined = [line.split()[1] for line in (tmp_path / NAME).read_text().splitlines() if line.startswith("#define KM")]
    assert sorted(defined) == sorted(asked)


def test_each_field_is_told_with_its_source() -> None:
    lines = entries_header(ARCHES["riscv64"].formats).splitlines()
    assert "#define KM_RISCV64_SV39_LEAF_A UINT64_C(0x40) /* accessed (4.4.1) */" in lines
