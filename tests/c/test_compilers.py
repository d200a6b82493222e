"""Compilers take the kernel's C, all of it, without a warning; and call no library that it does not say."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kernmalloc.build import export
from kernmalloc.machine.arch import ARCHES

WARNINGS = ("-Wall", "-Wextra", "-Werror")
HERE = {
    "gcc": ("gcc", "-std=c11", "-O2", "-Wpedantic", "-c"),
    "clang": ("clang", "-std=c11", "-O2", "-Wpedantic", "-c"),
    "tcc": ("tcc", "-std=c11", "-DKM_CPUS=1", "-c"),
}
COMMANDS = HERE | {
    " ".join(compiler.command): export.build_command(compiler)
    for arch in ARCHES.values()
    for compiler in arch.compilers
}
ALWAYS = {"gcc", "tcc", "m68k-linux-gnu-gcc"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    for name, text in export.c_files().items():
        (folder / name).write_text(text)
    return folder / "kernmalloc.c"


def _row(name: str, command: tuple[str, ...]) -> object:
    quick = command[0] in ALWAYS and "-mcpu=5208" not in command
    return pytest.param(command, id=name, marks=[] if quick else pytest.mark.nightly)


@pytest.mark.parametrize("command", [_row(*item) for item in COMMANDS.items()])
def test_no_warning_and_no_library(command: tuple[str, ...], source: Path, tmp_path: Path) -> None:
    """An object lacks the port's primitives, and of libgcc what the exported README lists for that compiler."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    made = str(tmp_path / "kernel.o")
    done = subprocess.run([*command, *WARNINGS, str(source), "-o", made], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    listed = subprocess.run(["nm", "-u", made], capture_output=True, text=True, check=True).stdout
    lacks = set(re.findall(r"U (\w+)", listed)) - {"_GLOBAL_OFFSET_TABLE_"}
    others = {name for name in lacks if not name.startswith("km_")}
    allowed = export.LIBRARY.get(command[0].removesuffix("-gcc"), ())
    if command[0] in ("gcc", "clang", "tcc"):
        assert others <= {"memset", "memcpy", "memmove"}
    else:
        assert others <= set(allowed)
    declared = source.with_suffix(".h").read_text().partition("/* The port")[2].partition("/* The entries. */")[0]
    assert lacks - others == set(re.findall(r"\b(km_\w+)\(", declared))
