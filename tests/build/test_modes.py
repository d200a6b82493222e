"""A build for guests: less code, and the same kernel."""

import ctypes
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from small_machines import MIB, guest, machine

from kernmalloc.build import archive, export, freestanding, modes, sizes
from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.boot.config import Config
from kernmalloc.kernel.core.kern import DMA, PAGE
from kernmalloc.lang import failed
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.lang.status import BAD_BOOT, OK
from kernmalloc.machine.arch import TARGETS

GUEST = modes.LAYOUTS["guest"]
CALLS = sorted(name.rpartition(".")[2] for name in GUEST.entries)
MOST = 45 << 10
"""Bytes of code that a guest on x86_64 with heap and frames may take."""
PORT = """
long long km_port_interrupts_save(void) { return 0; }
long long km_port_interrupts_restore(long long flags) { return flags - flags; }
"""
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed (Debian's package gcc)")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The library for guests, in this process."""
    folder = tmp_path_factory.mktemp("guest")
    name = archive.names("x86_64")[0]
    (folder / name).write_bytes(archive.libraries("x86_64", GUEST)[name])
    (folder / "port.c").write_text(PORT)
    whole = ["-Wl,--whole-archive", folder / name, "-Wl,--no-whole-archive"]
    subprocess.run(["gcc", "-shared", "-fPIC", folder / "port.c", *whole, "-o", folder / "guest.so"], check=True)
    return ctypes.CDLL(str(folder / "guest.so"))


def work(kernel: Kernel) -> list[int]:
    """What a kernel answers to two thousand calls."""
    chance, answers = random.Random(5), list[int]()
    held: dict[str, list[int]] = {"free": [], "frame_put": [], "cache_put": []}
    cache = kernel.call("cache_create", 200, 1000)

    def ask(entry: str, *args: int, put: str = "") -> None:
        answers.append(kernel.call(entry, *args))
        if put and not failed(answers[-1]):
            held[put].append(answers[-1])

    for _ in range(2000):
        size = chance.choice((1, 100, 700, 5000, 40_000, 300_000))
        match chance.randrange(9):
            case 0 | 1:
                ask("malloc", size, put="free")
            case 2:
                ask("calloc", 3, size, put="free")
            case 3:
                ask("malloc_aligned", size, 1 << chance.randrange(4, 14), put="free")
            case 4:
                ask("block_get", chance.randrange(5), chance.choice((PAGE, DMA)), put="frame_put")
            case 5:
                ask("cache_get", cache, put="cache_put")
            case 6:
                ask("range_get", chance.randrange(1, 40), 4, 0, 1 << 20, 0, DMA)
                if not failed(answers[-1]):
                    ask("range_put", answers[-1], chance.randrange(1, 40))
            case _:
                put = chance.choice([name for name in held if held[name]] or ["free"])
                value = held[put].pop(chance.randrange(len(held[put]))) if held[put] else chance.randrange(1 << 40)
                ask(put, *([cache] if put == "cache_put" else []), value)
    return answers


@needs_gcc
def test_it_answers_as_every_build_does_and_leaves_the_same_memory(library: ctypes.CDLL) -> None:
    """Byte by byte, after two thousand calls of the whole kernel, and of the build for guests; both pass check."""
    found = []
    for alone in (False, True):
        with Kernel.boot(machine((0, 24 * MIB)), guest(), "raw") as kernel:
            if alone:
                for name in CALLS:
                    entry = kernel.handle.life.library.entries[name]
                    kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * entry.arity)
                    kernel.handle.life._entries[name] = kind((entry.symbol, library))
            answers = work(kernel)
            kernel.call("range_get", 1, 1, 0, 0, 0, DMA)  # there is no such place: what was wanted before is forgotten
            found.append((answers, kernel.snapshot()))
            assert kernel.call("check") == OK
    assert found[0] == found[1]


@needs_gcc
def test_another_mode_is_refused(library: ctypes.CDLL) -> None:
    """An owner's configuration, as the header of either build has it."""
    with Kernel.boot(machine((0, 24 * MIB)), guest(), "raw") as kernel:
        config = bytearray(Config.size)
        config[:] = kernel.handle.loaded.info.tobytes()
    at = Config.offset("mode")
    config[at : at + 8] = bytes(8)
    held = (ctypes.c_char * len(config)).from_buffer(config)
    asked = library.km_call_area_bytes
    asked.restype, asked.argtypes = ctypes.c_int64, [ctypes.c_void_p]
    assert asked(ctypes.addressof(held)) == BAD_BOOT


def test_the_page_cache_and_threads_are_gone() -> None:
    names = {function.__name__ for function, is_entry in REGISTRY.items() if is_entry}
    assert {*modes.PAGE_CACHE, *modes.THREADS} <= names
    assert not {*modes.PAGE_CACHE, *modes.THREADS} & set(CALLS)
    whole = {entry.__name__ for entry in freestanding.entries() if not entry.__name__.startswith("arena_")}
    assert whole - set(CALLS) == {*modes.PAGE_CACHE, *modes.THREADS, *modes.LOADED}


@pytest.mark.parametrize(
    "architecture", ["x86_64", *(pytest.param(it, marks=pytest.mark.nightly) for it in TARGETS if it != "x86_64")]
)
def test_it_is_smaller_and_no_larger_than_promised(architecture: str) -> None:
    """A kernel with heap and frames."""
    data = freestanding.freestanding(architecture, GUEST)
    took = sizes.code(data, sizes.USES["heap and frames"])
    assert took < 0.8 * sizes.code(freestanding.freestanding(architecture), sizes.USES["heap and frames"])
    assert took <= MOST or architecture != "x86_64"


FRAMES = modes.LAYOUTS["frames"]
MOST_FOR_FRAMES = 24 << 10
ITS_USE = ("area_bytes", "init", "start", "cpu_online", "frame_get", "block_get", "range_get", "frame_put", "range_put")


def test_the_page_allocator_alone_is_small_and_has_no_heap() -> None:
    calls = {name.rpartition(".")[2] for name in FRAMES.entries}
    assert set(CALLS) - calls == set(modes.HEAP) and set(ITS_USE) <= calls
    data = freestanding.freestanding("x86_64", FRAMES)
    assert sizes.code(data, ITS_USE) <= MOST_FOR_FRAMES


@needs_gcc
def test_frames_alone_come_and_go_as_in_every_build(tmp_path: Path) -> None:
    """Byte by byte, in the build for frames and in the whole kernel."""
    name = archive.names("x86_64")[0]
    (tmp_path / name).write_bytes(archive.libraries("x86_64", FRAMES)[name])
    (tmp_path / "port.c").write_text(PORT)
    whole = ["-Wl,--whole-archive", tmp_path / name, "-Wl,--no-whole-archive"]
    subprocess.run(["gcc", "-shared", "-fPIC", tmp_path / "port.c", *whole, "-o", tmp_path / "frames.so"], check=True)
    library, found = ctypes.CDLL(str(tmp_path / "frames.so")), []
    for alone in (False, True):
        with Kernel.boot(machine((0, 8 * MIB), (16 * MIB, 3 * MIB)), guest(name="frames"), "raw") as kernel:
            if alone:
                for call in (*ITS_USE[4:], "drain", "check"):
                    entry = kernel.handle.life.library.entries[call]
                    kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * entry.arity)
                    kernel.handle.life._entries[call] = kind((entry.symbol, library))
            chance, held, answers = random.Random(7), [], []
            for _ in range(2000):
                if held and chance.random() < 0.4:
                    answers.append(kernel.call("frame_put", held.pop(chance.randrange(len(held)))))
                    continue
                order = chance.choice((0, 0, 0, 3, 9))
                got = kernel.call("block_get", order, DMA) if order else kernel.call("frame_get", PAGE)
                answers.append(got)
                held += [got] if not failed(got) else []
            answers.append(kernel.call("range_get", 40, 8, 0, 1 << 20, 0, DMA))
            answers.append(kernel.call("drain"))
            found.append((answers, kernel.snapshot()))
            assert kernel.call("check") == OK
    assert found[0] == found[1]


def test_a_build_for_handlers_of_interrupts_has_no_quick_path_that_they_interrupt() -> None:
    """Between the port's save and restore; the usual build asks nobody on its way."""
    owner = modes.LAYOUTS["owner"]
    usual, bracketed = (export.c_files(each)["kernmalloc.c"] for each in (owner, modes.for_interrupts(owner)))

    def entry(text: str) -> str:
        begin = text.index("\nint64_t km_call_malloc(struct km_cpu *cpu, int64_t bytes)\n{")
        return text[begin : text.index("\n}", begin)]

    assert "km_port_interrupts" not in entry(usual)
    save, quick, restore = (
        entry(bracketed).index(word) for word in ("interrupts_save", "quick(", "interrupts_restore")
    )
    assert save < quick < restore
