"""The interface in C: every compiler takes the header, and what is called is what the kernel does."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import loader_maps
import numpy
import pytest
from small_machines import MIB, conserved, machine

from kernmalloc.build import export
from kernmalloc.build.interface import WRITTEN, interface
from kernmalloc.build.texts import kernel_functions
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.boot.config import BootRange, Config
from kernmalloc.kernel.calls import free, malloc
from kernmalloc.kernel.core.kern import CARVED_MEMORY, Cpu
from kernmalloc.kernel.core.kern import RAM as RAM_CLASS
from kernmalloc.kernel.loaders import found
from kernmalloc.kernel.loaders.found import LoaderMap, LoaderRange
from kernmalloc.lang import status
from kernmalloc.machine.arch import ARCHES

PROCESS = Path(__file__).parent / "process.c"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")
COMPILERS = [
    *((compiler, f"-std={standard}") for compiler in ("gcc", "clang") for standard in ("c11", "c17")),
    *((compiler, f"-std={standard}") for compiler in ("g++", "clang++") for standard in ("c++17", "c++20")),
    *((*compiler.command, "-std=c11") for arch in ARCHES.values() for compiler in arch.compilers),
]
FUNCTION = re.compile(r"^static inline ([\w *]*?)(km_\w+)\(", re.MULTILINE)
PUBLIC = """
area_bytes init start cpu_online add_ram malloc calloc realloc malloc_aligned free free_sized size_of cache_create
cache_get cache_put frame_get frame_put block_get range_get range_put window_open window_close publish withdraw
page_get umap_make thread_make reclaim drain check
"""


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("header")
    (folder / "kernmalloc.h").write_text(export.c_files()["kernmalloc.h"])
    return folder / "kernmalloc.h"


@pytest.mark.parametrize("command", COMPILERS, ids=" ".join)
def test_every_compiler_takes_the_header(header: Path, command: tuple[str, ...], tmp_path: Path) -> None:
    """C11, C17 and C++, with every warning, for every target. Two files that include it can be linked."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    program = tmp_path / ("program.cc" if "++" in command[0] else "program.c")
    program.write_text(
        '#include "kernmalloc.h"\n#include "kernmalloc.h"\nint use(void);\nint use(void) { return 0; }\n'
    )
    words = [*command, *STRICT, "-ffreestanding", "-I", str(header.parent), "-c", str(program), "-o"]
    done = subprocess.run([*words, str(tmp_path / "program.o")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_interface_has_what_it_must_have(header: Path) -> None:
    assert {f"km_{name}" for name in PUBLIC.split()} <= {name for _, name in FUNCTION.findall(header.read_text())}


def test_what_a_kernel_has_not_got_is_left_out() -> None:
    """A kernel with two entries: no function names another, and none of those that these need is lacking."""
    text = interface([malloc, free])
    names = {name for _, name in FUNCTION.findall(text)}
    assert {"km_malloc", "km_free", "km_failed"} <= names
    assert not names & {"km_calloc", "km_usual_config", "km_umap_free"}
    assert set(re.findall(r"\bkm_call_\w+", text)) == {"km_call_malloc", "km_call_free"}
    assert set(re.findall(r"\bkm_\w+(?=\()", text)) <= names | {"km_port_processor", "km_call_malloc", "km_call_free"}


def test_every_part_is_of_some_kernel(header: Path) -> None:
    """Nothing is written for an entry that does not exist."""
    known = {f"km_call_{function.__name__}" for function in kernel_functions()}
    assert set(re.findall(r"\bkm_call_\w+", WRITTEN.read_text())) <= known


# --- what the functions do: a kernel in this process, and the header's functions as those of a library

LIBRARY = """
#include <stddef.h>
#include <stdint.h>
#define static
#define inline
#include "kernmalloc.h"
struct km_cpu *processor;
struct km_cpu *km_port_processor(void) { return processor; }
"""
RESULTS = {"void *": ctypes.c_void_p, "int64_t ": ctypes.c_int64, "uint64_t ": ctypes.c_uint64, "int ": ctypes.c_int}
RAM = machine((0, 12 * MIB), (16 * MIB, 32 * MIB))


@pytest.fixture(scope="module")
def library(header: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The functions of the header, whose entries are called through pointers."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("library")
    text = header.read_text()
    stubs = [LIBRARY]
    for name, arguments in re.findall(r"^int64_t (km_call_\w+)\(([^)]*)\);", text, re.MULTILINE):
        names = [argument.split()[-1].lstrip("*") for argument in arguments.split(",")]
        stubs.append(
            f"int64_t (*at_{name})({', '.join(['int64_t'] * len(names))});\n"
            f"int64_t {name}({arguments}) {{ return at_{name}({', '.join(f'(int64_t){each}' for each in names)}); }}\n"
        )
    (folder / "library.c").write_text("\n".join(stubs))
    words = ["gcc", "-shared", "-fPIC", "-O1", "-w", "-I", str(header.parent), str(folder / "library.c"), "-o"]
    subprocess.run([*words, str(folder / "library.so")], check=True)
    made = ctypes.CDLL(str(folder / "library.so"))
    for result, name in FUNCTION.findall(text):
        function = getattr(made, name)
        function.restype = RESULTS.get(result, ctypes.c_void_p if result.endswith("*") else None)
    return made


class Called:
    """A library's functions, on the first processor of a kernel. Arguments are numbers of 64 bits."""

    def __init__(self, library: Any, kernel: Kernel) -> None:
        self._library = library
        ctypes.c_void_p.in_dll(library, "processor").value = kernel.processor
        for name in set(re.findall(r"\bkm_call_\w+", WRITTEN.read_text())):
            if "_arena_" not in name:
                place = ctypes.c_void_p.in_dll(library, f"at_{name}")
                place.value = kernel.entry(name.removeprefix("km_call_"))

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, f"km_{name}")
        return lambda *args: function(*(ctypes.c_int64(arg) for arg in args))


@pytest.fixture
def kernel():  # type: ignore[no-untyped-def]
    with Kernel.boot(RAM, Profile.load("eros2"), mode="raw") as booted:
        yield booted
        conserved(booted)


@pytest.fixture
def km(library: Any, kernel: Kernel) -> Called:
    return Called(library, kernel)


def test_blocks(km: Called) -> None:
    at = km.malloc(100)
    assert at and km.size_of(at) == 112
    ctypes.memset(at, 0x5A, 100)
    moved = km.realloc(at, 5000)
    assert ctypes.string_at(moved, 100) == b"\x5a" * 100
    assert km.free(moved) == status.OK and km.free(moved) == status.NOT_ALLOCATED
    assert km.realloc(0, 24) and km.free(0) == km.free_sized(0, 8) == status.OK
    assert km.malloc_aligned(100, 4096) % 4096 == 0
    zeros = km.calloc(10, 100)
    assert ctypes.string_at(zeros, 1000) == bytes(1000) and km.free_sized(zeros, 1000) == status.OK


def test_what_is_refused_is_null(km: Called) -> None:
    assert km.malloc(0) is km.malloc(1 << 40) is km.malloc(-1) is km.calloc(1 << 40, 1 << 40) is None
    assert km.malloc_aligned(8, 3) is None and km.window_open(1 << 60) is None and km.cpu_online(1) is None
    assert km.free(km.malloc(64) + 1) == status.INTERIOR


def test_object_caches(km: Called) -> None:
    cache = km.cache_create(48, 1000)
    one = km.cache_get(cache)
    assert km.cache_put(cache, one) == status.OK and km.cache_put(cache, one) == status.NOT_ALLOCATED
    assert km.cache_get(km.cache_create_aligned(48, 10, 64)) % 64 == 0


def test_frames_are_physical_addresses(km: Called, kernel: Kernel) -> None:
    pa = km.frame_get(3)
    assert pa % 4096 == 0 and kernel.frame_type(pa >> 12) == "page"
    assert km.frame_type(pa) == km.frame_type(pa + 4095) == 3
    window = km.window_open(pa)
    ctypes.memset(window, 7, 4096)
    assert kernel.handle.life.ram.bytes[pa : pa + 4096] == b"\7" * 4096
    assert km.window_close(window) == status.OK
    block = km.block_get(3, 4)
    assert block % (8 * 4096) == 0 and kernel.frame_type((block >> 12) + 7) == "dma"
    assert km.copy_frame(block, pa) == km.zero_frame(pa) == status.OK
    here = km.malloc(64)
    assert km.copyin(here, block + 100, 64) == status.OK and ctypes.string_at(here, 64) == b"\7" * 64
    assert km.copyout(pa + 8, here, 8) == status.OK
    assert kernel.handle.life.ram.bytes[pa : pa + 20] == bytes(8) + b"\7" * 8 + bytes(4)
    assert km.frame_put(pa) == km.frame_put(block) == status.OK
    refused = km.frame_get(99)
    assert refused == (1 << 64) + status.BAD_FRAME and km.failed(refused) == 1


def test_ranges_with_limits(km: Called) -> None:
    """Sizes and limits in bytes, rounded to where whole frames are: inward for limits, up for sizes."""
    pa = km.range_get(10_000, 1 << 16, 17 * MIB + 1, 40 * MIB + 4095, 1 << 20, 4)
    assert pa % (1 << 16) == 0 and pa > 17 * MIB and pa + 3 * 4096 <= 40 * MIB
    assert km.range_put(pa, 10_000) == status.OK
    assert km.range_get(4096, 1, 0, 1, 0, 4) > 1 << 63


def test_devices(km: Called, kernel: Kernel) -> None:
    """All frames that a device's memory touches, however it lies in them."""
    base = 0xF000_0000
    assert km.publish(base + 0x800, 0x1000, 4, 0x1000, 1) == status.OK
    assert [(r.pfn << 12, r.frames) for r in kernel.regions if r.kind == "device"] == [(base, 2)]
    assert km.device_get(base + 0x1000) == status.OK and km.device_used(base) == 1
    assert km.withdraw(base) == status.BUSY and km.device_put(base + 0x1000) == status.OK
    assert km.device_cache(base, 2) == status.OK and km.device_attribute(base) == 2
    assert km.publish(base, 0, 4, 0, 1) < 0
    assert km.withdraw(base) == status.OK


def test_large_pages_and_devices_of_processes(km: Called) -> None:
    """By physical addresses and bytes: all frames that a device's memory touches, whole large pages."""
    base, large = 0xF000_0000, 2 * MIB
    assert km.publish(base, large, 4, large, 1) == status.OK
    space, pa = km.umap_make(), km.range_get(large, large, 0, 1 << 32, 0, 4)
    assert km.umap_map_large(space, 0, pa, 1) == km.umap_map_large(space, large, base, 0) == status.OK
    assert km.umap_map_device(space, 3 * large, base + 0x800, 0x1000, 1) == status.OK
    assert km.umap_unmap(space, 3 * large + 0x1000) == status.OK
    assert km.umap_unmap_range(space, large, large - 4096) == status.INTERIOR
    assert km.umap_unmap_range(space, large, 3 * large) == status.OK
    assert km.range_put(pa, large) == status.BUSY and km.withdraw(base) == status.OK
    assert km.umap_free(space) == km.range_put(pa, large) == status.OK


def test_later_ram_is_whole_frames(km: Called, kernel: Kernel) -> None:
    """As much of it as is whole frames: one byte more on each side is not."""
    assert km.add_ram(12 * MIB + 1, 2 * MIB) == status.OK
    (region,) = [r for r in kernel.regions if r.pfn << 12 == 12 * MIB + 4096]
    assert region.frames == 511
    assert km.add_ram(12 * MIB + 8192, 4096) == status.OVERLAP
    free = kernel.frames_by_type()["free"]
    assert km.add_ram_self_hosted(14 * MIB, 2 * MIB) == status.OK
    own = int(kernel.view.kern["adding"]["hosted"])
    assert own > 4 and kernel.frames_by_type()["free"] == free + 512 - own


def test_threads_pages_and_the_rest(km: Called, kernel: Kernel) -> None:
    thread = km.thread_make(0)
    assert km.thread_run(thread) == km.thread_run(0) == km.thread_free(thread) == status.OK
    assert km.thread_next() is None and km.tick(1) == 0
    assert km.page_get(5) == (1 << 64) + status.NO_SOURCE
    ring = km.source_open()
    assert ring and km.source_poll() == 0 and km.source_close() == status.OK
    space = km.umap_make()
    assert km.umap_unmap(space, 0x1000) == status.NOT_ALLOCATED and km.umap_free(space) == status.OK
    assert km.cpu_online(0) == kernel.processor
    assert km.wanted() == int(kernel.view.kern["wanted"])
    assert km.drain() == km.check() == status.OK


class Told(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint8 * Config.size),)


def test_a_configuration_is_answered(km: Called, library: Any) -> None:
    """What `km_usual_config` gives has the kernel's version; an area of any memory can be filled."""
    library.km_usual_config.restype = Told
    told = library.km_usual_config()
    config = Config.dtype
    view: Any = memoryview(told.bytes).cast("B")
    import numpy

    record = numpy.frombuffer(view, config, 1)[0:1]
    assert km.area_bytes(ctypes.addressof(told)) == status.BAD_BOOT, "there is no format 0"
    record["arch"], record["window"], record["window_bytes"] = 1, 0xD000_0000, 64 * MIB
    size = km.area_bytes(ctypes.addressof(told))
    area = ctypes.create_string_buffer(size + 4096)
    at = -(-ctypes.addressof(area) // 4096) * 4096
    assert km.init(ctypes.addressof(told), at) == (1 << 64) + status.AREA_SMALL
    record["area_room"] = size
    root = km.init(ctypes.addressof(told), at)
    assert root == int(record["root"][0])
    made = Cpu.dtype
    cpu = numpy.frombuffer((ctypes.c_uint8 * Cpu.size).from_address(at + int(record["cpu"][0])), made, 1)[0]
    assert int(cpu["kern"]) == 0xD000_0000 + int(record["kern"][0])


def test_what_a_loader_hands_over(library: Any, km: Called) -> None:
    """A map is made, read into, added to, and becomes the ranges of a configuration."""

    class Map(ctypes.Structure):
        _fields_ = [(name, ctypes.c_int64) for name in LoaderMap.fields]

    library.km_loader_map_at.restype = Map
    memory = ctypes.create_string_buffer(loader_maps.TOP)
    rows, frames = numpy.zeros(8, LoaderRange.dtype), numpy.zeros(8, BootRange.dtype)
    for pa, data in loader_maps.multiboot2(loader_maps.multiboot2_map([(0x100000, 0x80000, 1)])).items():
        memory[pa : pa + len(data)] = data
    arguments = (ctypes.addressof(memory), (1 << 64) - 1, rows.ctypes.data, len(rows))
    map = library.km_loader_map_at(*(ctypes.c_uint64(each) for each in arguments))
    assert (map.direct, map.reach, map.ranges, map.room) == (arguments[0], (1 << 63) - 1, *arguments[2:])
    at = ctypes.addressof(map)
    assert km.ranges_multiboot2(at, loader_maps.AT) == status.OK
    assert km.ranges_multiboot(at, loader_maps.AT) == status.BAD_MAP
    assert km.ranges_add(at, 0x100000, 0x3000, found.RANGE_IMAGE) == status.OK
    assert km.ranges_frames(at, frames.ctypes.data, len(frames), 12, 1 << 20) == 2
    assert frames[:2].tolist() == [(0x100, 3, CARVED_MEMORY), (0x103, 0x7D, RAM_CLASS)]
    assert km.ranges_find(frames.ctypes.data, 2, 0x101, 2, 0) == 0x103
    assert km.ranges_left(at, frames.ctypes.data, len(frames), 12, 1 << 20, found.RANGE_IMAGE) == 1
    assert frames[0].tolist() == (0x100, 3, RAM_CLASS)
    assert (map.count, map.dropped) == (3, 0)


# --- the port


@pytest.mark.parametrize("command", COMPILERS, ids=" ".join)
def test_the_port_has_what_its_architecture_has(header: Path, command: tuple[str, ...], tmp_path: Path) -> None:
    """All weak; and all that the header declares, but for flushes where there are no page tables."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    if "++" in command[0]:
        pytest.skip("it is C")
    strict = [word for word in STRICT if word != "-Wpedantic"]
    words = [*command, *strict, "-O2", "-ffreestanding", "-I", str(header.parent), "-c", str(export.PORT), "-o"]
    done = subprocess.run([*words, str(tmp_path / "port.o")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(["nm", str(tmp_path / "port.o")], capture_output=True, text=True, check=True).stdout
    weak = set(re.findall(r" W (km_port_\w+)", listed))
    assert weak == set(re.findall(r"\bkm_port_\w+", listed)) and not re.search(r" U (?!_GLOBAL_OFFSET)", listed)
    due = set(re.findall(r"\b(km_port_\w+)\(", header.read_text()))
    lacking = {"km_port_flush", "km_port_shootdown", "km_port_forget"}
    assert weak == due or (("m68k" in command[0] or "-mthumb" in command) and weak == due - lacking)


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++"])
def test_a_process_with_the_exported_files(compiler: str, header: Path, tmp_path: Path) -> None:
    """C and C++, with nothing but what is exported: a heap in a block of memory, by the interface alone."""
    if shutil.which(compiler) is None or shutil.which("gcc") is None:
        pytest.skip(f"{compiler} is not installed")
    (tmp_path / "kernmalloc.c").write_text(export.c_files()["kernmalloc.c"])
    places = ["-I", str(header.parent)]
    c = "gcc" if compiler == "g++" else compiler
    for source in (tmp_path / "kernmalloc.c", export.PORT):
        words = [c, *export.FLAGS, "-w", *places, "-c", str(source), "-o", str(tmp_path / f"{source.stem}.o")]
        subprocess.run(words, check=True)
    language = ["-std=c++17", "-x", "c++"] if compiler == "g++" else ["-std=c11"]
    program = [compiler, *language, "-O1", "-Wall", "-Wextra", "-Werror", *places, "-c", str(PROCESS)]
    subprocess.run([*program, "-o", str(tmp_path / "process.o")], check=True)
    objects = [str(tmp_path / f"{name}.o") for name in ("process", "kernmalloc", "port")]
    subprocess.run([compiler, *objects, "-o", str(tmp_path / "process")], check=True)
    line = subprocess.run([str(tmp_path / "process")], check=False).returncode
    assert line == 0, f"process.c, line {line}"
