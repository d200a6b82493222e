"""What is registered: found by being there, and told apart."""

import importlib
import pkgutil
import shutil
import subprocess
from pathlib import Path

import pytest

from kernmalloc.machine import arch, mmu
from kernmalloc.machine.arch import ARCHES, ATTRIBUTE_NAMES, FORMATS, TARGETS
from kernmalloc.machine.arch.model import Arch, Compiler

COMPILERS = [compiler for each in ARCHES.values() for compiler in each.compilers]


def test_every_module_is_an_architecture_and_has_its_tests() -> None:
    modules = {module.name for module in pkgutil.iter_modules(arch.__path__)} - {
        "entries",
        "model",
        "machine_code",
        "processors",
    }
    for name in modules:
        module = importlib.import_module(f"{arch.__name__}.{name}")
        made = [each for each in vars(module).values() if isinstance(each, Arch)]
        assert made and all(ARCHES[each.name] is each for each in made)
    assert modules <= {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}


def test_names_and_numbers_tell_formats_apart() -> None:
    formats = [format for each in ARCHES.values() for format in each.formats]
    numbers = [format.number for format in formats]
    assert list(FORMATS.values()) == sorted(formats, key=lambda format: format.number)
    assert len(set(numbers)) == len({format.name for format in formats}) == len(formats)
    assert 0 not in numbers, "what no kernel has filled in"


def test_targets_bring_what_no_language_has() -> None:
    for name in TARGETS:
        for primitive in ("invalidate", "interrupts_save", "interrupts_restore"):
            assert f"define i64 @km_port_{primitive}(" in ARCHES[name].instructions


def test_ways_to_cache_have_the_kernels_numbers() -> None:
    ways = (mmu.WRITE_BACK, mmu.WRITE_THROUGH, mmu.UNCACHED, mmu.WRITE_COMBINING)
    assert ways == tuple(range(mmu.ATTRIBUTES))
    assert ATTRIBUTE_NAMES == ("write-back", "write-through", "uncached", "write-combining")


@pytest.mark.parametrize("compiler", COMPILERS, ids=lambda compiler: " ".join(compiler.command))
def test_compilers_know_their_flags(compiler: Compiler, tmp_path: Path) -> None:
    if shutil.which(compiler.command[0]) is None:
        pytest.skip(f"{compiler.command[0]} is not installed")
    source = tmp_path / "f.c"
    source.write_text("#include <stdint.h>\nint64_t f(int64_t a) { return a + 1; }\n")
    words = [*compiler.command, "-std=c11", "-Wall", "-Werror", "-O2", "-c", str(source), "-o"]
    subprocess.run([*words, str(tmp_path / "f.o")], check=True)
