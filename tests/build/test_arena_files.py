"""An exported arena: C that compilers take as it is, small, and a heap for a process and for small processors."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from kernmalloc.build import arena_files
from kernmalloc.build.arena import Shape
from kernmalloc.build.export import write
from kernmalloc.inputs.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = r"""
#include "kernmalloc.h"

static _Alignas(64) char block[BYTES];
static int inside;
static struct km_cpu *heap;
struct km_cpu *km_port_processor(void) { return heap; }

int64_t km_port_copy(int64_t to, int64_t of, int64_t bytes)
{
	for (int64_t i = 0; i < bytes; i++)
		((volatile char *)(uintptr_t)to)[i] = ((char *)(uintptr_t)of)[i];
	return 0;
}
int64_t km_port_zero(int64_t va, int64_t bytes)
{
	for (int64_t i = 0; i < bytes; i++)
		((volatile char *)(uintptr_t)va)[i] = 0;
	return 0;
}
int64_t km_port_interrupts_save(void) { return inside++; }
int64_t km_port_interrupts_restore(int64_t flags) { inside = (int)flags; return 0; }

int main(void)
{
	heap = km_arena(block, sizeof block - sizeof block / 4 * SEVERAL);
#if SEVERAL
	if (km_arena_add(block + sizeof block / 4 * 3, sizeof block / 4) != KM_OK)
		return 7;
#endif
	int64_t type = km_call_cache_create(heap, 40, 1000), at, last = 0, count = 0, objects = 0;

	for (int round = 0; round < 2; round++) {
		while ((at = km_call_malloc(heap, 8 + (int)count * 7 % 600)) > 0) {
			*(int64_t *)(uintptr_t)at = last;
			last = at;
			count++;
		}
		if (at != KM_NO_VA || km_call_check(heap) != KM_OK)
			return 1;
		for (; last; last = at) {
			at = *(int64_t *)(uintptr_t)last;
			if (km_call_free(heap, last) != KM_OK || km_call_free(heap, last) >= 0)
				return 2;
		}
		for (; (at = km_call_cache_get(heap, type)) > 0; last = at, objects++)
			*(int64_t *)(uintptr_t)at = last;
		if (at != KM_NO_VA && at != KM_LIMIT)
			return 3;
		for (; last; last = at) {
			at = *(int64_t *)(uintptr_t)last;
			if (km_call_cache_put(heap, type, last) != KM_OK)
				return 5;
		}
		km_call_drain(heap);
	}
	at = km_call_realloc(heap, km_call_calloc(heap, 10, 10), 300);
	if (at <= 0 || *(char *)(uintptr_t)(at + 99) || km_call_free_sized(heap, at, 300) != KM_OK)
		return 6;
	void *one = km_malloc(100), *other = km_malloc(100);
	if (!one || !other || km_free(one) || km_free(other) || km_free(one) != KM_NOT_ALLOCATED || km_malloc(1 << 20))
		return 8;
	return count > 40 && objects > 300 && km_call_check(heap) == KM_OK && inside == 0 ? 0 : 4;
}

#ifdef __i386__
void _start(void) { __asm__ volatile("int $0x80" : : "a"(1), "b"(main())); }
#endif
"""


def gcc(prefix: str) -> str:
    """A gcc by its prefix, or the test is skipped."""
    name = f"{prefix}gcc"
    if shutil.which(name) is None:
        package = f"gcc-{prefix}".rstrip("-")
        pytest.skip(f"{name} is not installed: apt install {package}")
    return name


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of exports, by architecture."""
    folders = {}
    for name, shape in SHAPES.items():
        folders[name] = tmp_path_factory.mktemp("arena") / name
        write(folders[name], arena_files.files([name], shape))
    return folders


SHAPES = {"x86_64": Shape(), "i386": Shape(several=True), "armv7m": Shape()}
TEXT = {
    "arm-none-eabi-": ("armv7m", "-mcpu=cortex-m3 -mthumb -Os", 14 << 10),
    "m68k-linux-gnu-": ("armv7m", "-mcpu=5208 -Os", 22 << 10),
    "": ("x86_64", "-Os", 16 << 10),
    "riscv64-linux-gnu-": ("x86_64", "-Os", 16 << 10),
    "aarch64-linux-gnu-": ("x86_64", "-Os", 16 << 10),
}


@pytest.mark.parametrize("prefix", TEXT, ids=lambda prefix: prefix or "gcc")
def test_it_is_small(prefix: str, exported: dict[str, Path], tmp_path: Path) -> None:
    """With every entry; strict compilers say nothing; it needs the port, and of libgcc what the README says."""
    name, flags, most = TEXT[prefix]
    source = exported[name] / "kernmalloc.c"
    strict = ["-Wall", "-Wextra", "-Werror", "-ffreestanding", *arena_files.FLAGS, *flags.split()]
    made = tmp_path / "arena.o"
    subprocess.run([gcc(prefix), *strict, "-c", source, "-o", made], check=True)
    told = subprocess.run([f"{prefix}size", made], capture_output=True, text=True, check=True).stdout.split()
    text, data, bss = map(int, told[6:9])
    assert text <= most and data == bss == 0, told
    wanted = subprocess.run([f"{prefix}nm", "-u", made], capture_output=True, text=True, check=True).stdout.split()
    own = {each for each in wanted if each != "U" and not each.startswith("km_port_")}
    assert own <= {"memset", "memcpy", *arena_files.HELPERS}, own


@pytest.mark.parametrize("way", ["C", "library", "C of 32 bits"])
def test_a_process_has_a_heap(way: str, exported: dict[str, Path], tmp_path: Path) -> None:
    """All of a block is handed out, refused, given back and handed out again; whoever frees twice is told."""
    folder = exported["i386" if way == "C of 32 bits" else "x86_64"]
    compiler = gcc("i686-linux-gnu-" if way == "C of 32 bits" else "")
    source = tmp_path / "main.c"
    source.write_text(PROGRAM.replace("BYTES", "(40 << 10)").replace("SEVERAL", str(int("32" in way))))
    heap = folder / ("libkernmalloc-x86_64.a" if way == "library" else "kernmalloc.c")
    words = [compiler, "-Wall", "-Wextra", "-Werror", *arena_files.FLAGS, f"-I{folder}", source, heap]
    if way == "C of 32 bits":
        words += ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-mstackrealign"]
    subprocess.run([*words, "-o", tmp_path / "main"], check=True)
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 0


def test_fixed_memory_is_little(exported: dict[str, Path]) -> None:
    """The records of an arena of 16 classes and 8 types take at most 4 KiB, whatever is in it."""
    for folder in exported.values():
        text = (folder / "kernmalloc.h").read_text()
        bytes = {name: int(size) for name, size in re.findall(r"sizeof\(struct km_(\w+)\) == (\d+)", text)}
        assert bytes["cpu"] + bytes["kern"] + 24 * bytes["cache"] + 64 <= 4096, bytes


@pytest.mark.parametrize("compiler", ["g++ -std=c++17", "gcc -std=c17", "gcc -std=c11"])
def test_the_header_is_for_c_and_for_cpp(compiler: str, exported: dict[str, Path], tmp_path: Path) -> None:
    """The interface, too."""
    if shutil.which(compiler.split()[0]) is None:
        pytest.skip(f"{compiler.split()[0]} is not installed")
    source = tmp_path / ("a.cpp" if "++" in compiler else "a.c")
    source.write_text('#include "kernmalloc.h"\nvoid *f(void) { return km_realloc(km_calloc(2, 3), 40); }\n')
    words = [*compiler.split(), "-Wall", "-Wextra", "-Werror", f"-I{exported['x86_64']}", "-c", source]
    subprocess.run([*words, "-o", tmp_path / "a.o"], check=True)


def test_widths_do_not_mix() -> None:
    with pytest.raises(InputError, match="an arena has references of one width: not coldfire and x86_64"):
        arena_files.files(["x86_64", "coldfire"], Shape())
