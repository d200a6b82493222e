"""The sample kernel in every life, on the same bytes."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from kernmalloc.lang import twin
from kernmalloc.lang.functions import REGISTRY, Function
from kernmalloc.lang.objects import Library

sys.path.insert(0, str(Path(__file__).parent))

from lang_sample import arithmetic, bare, hosted, lists, records, soft

SAMPLE = (arithmetic, bare, hosted, lists, records, soft)
PAGES, NODES = 8, 100
CPU, KERN, TABLE = 0x100, 0x200, 0x1000  # where the sample's records are
NODE = records.Node.size

Define = Callable[..., Any]


def sample_functions() -> list[Function]:
    return [function for function in REGISTRY if function.__module__ in [module.__name__ for module in SAMPLE]]


class Memory:
    """Flat bytes from address `base`, as twin memory and as what the raw life sees."""

    def __init__(self, base: int = 0) -> None:
        self.bytes = bytearray(PAGES << 12)
        self.base = base
        self.machine = self
        whole = memoryview(self.bytes)
        self.views = {1: whole, 2: whole.cast("H"), 4: whole.cast("I"), 8: whole.cast("q")}

    @property
    def host(self) -> int:
        return ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))

    def load(self, addr: int, width: int) -> int:
        return int(self.views[width][self.place(addr, width)])

    def store(self, addr: int, width: int, value: int) -> None:
        self.views[width][self.place(addr, width)] = value

    def place(self, addr: int, width: int) -> int:
        offset = addr - self.base
        if not 0 <= offset <= len(self.bytes) - width or offset % width:
            raise twin.TwinFault(f"{width} bytes at {addr:#x}")
        return offset // width

    def km_port_fill(self, addr: int, value: int, n: int) -> int:
        for i in range(n):
            self.store(addr + i, 1, value & 0xFF)
        return n

    def boot(self, base: int = 0) -> None:
        """Lay out the sample's records, with addresses counted from `base`."""
        words = self.views[8]
        self.bytes[:] = bytes(len(self.bytes))
        words[CPU // 8] = base + KERN
        words[KERN // 8], words[KERN // 8 + 1] = base + TABLE, NODES

    def relative(self, base: int) -> bytes:
        """The bytes, with every address counted from `base`."""
        friends = range(TABLE + records.Node.offset("friend"), TABLE + NODES * NODE, NODE)
        copy = bytearray(self.bytes)
        words = memoryview(copy).cast("q")
        for at in (CPU, KERN, *friends):
            words[at // 8] -= base if words[at // 8] else 0
        return bytes(copy)


class SoftMachine:
    """Page table and TLB of the soft sample; frames are shuffled, so that translation shows."""

    order = (5, 3, 7, 1, 0, 2, 6, 4)

    def __init__(self, library: Library, base: int = 0) -> None:
        self.ram, self.table, self.state = Memory(), (ctypes.c_int64 * PAGES)(), (ctypes.c_int64 * 40)()
        self.table[:] = [frame + 1 for frame in self.order]
        self.state[0:3] = [self.ram.host, ctypes.addressof(self.table), PAGES]
        self.state[5] = base >> 12
        library.machine = ctypes.addressof(self.state)

    @property
    def misses(self) -> int:
        return self.state[3]

    @property
    def fault(self) -> int:
        return self.state[4]

    def page(self, page: int) -> slice:
        return slice(self.order[page] << 12, (self.order[page] + 1) << 12)

    def write(self, flat: bytes | bytearray) -> None:
        for page in range(PAGES):
            self.ram.bytes[self.page(page)] = flat[page << 12 : (page + 1) << 12]

    def read(self) -> bytes:
        return b"".join(bytes(self.ram.bytes[self.page(page)]) for page in range(PAGES))


@pytest.fixture(scope="session")
def groups() -> dict[str, str]:
    """The sample's IR: what the front end makes of it."""
    from kernmalloc.lang import frontend, gates

    functions = sample_functions()
    gates.check(functions)
    return frontend.compile(functions)


@pytest.fixture(scope="session")
def objects(groups: dict[str, str]) -> dict[str, bytes]:
    from kernmalloc.lang import backend

    return {life: backend.link(groups, life) for life in ("raw", "soft")}


@pytest.fixture
def raw(objects: dict[str, bytes]) -> Library:
    return Library(objects["raw"])


@pytest.fixture
def soft_library(objects: dict[str, bytes]) -> Library:
    return Library(objects["soft"])


@pytest.fixture
def memory() -> Memory:
    memory = Memory()
    memory.boot()
    twin.use(memory)
    return memory


@pytest.fixture
def define(tmp_path: Path) -> Iterator[Define]:
    """Makes a registered function out of text, in a module of its own with the names of kernmalloc.lang."""
    from importlib.util import module_from_spec, spec_from_file_location

    made: list[ModuleType] = []

    def define(source: str, name: str = "f") -> Any:
        path = tmp_path / f"made{len(made)}.py"
        path.write_text("from kernmalloc.lang import *\n" + source)
        spec = spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        made.append(module)
        return getattr(module, name)

    yield define
    for module in made:
        for value in vars(module).values():
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                REGISTRY.pop(value, None)
