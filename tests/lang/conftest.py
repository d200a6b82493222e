"""The sample kernel in every life, on the same bytes."""

import ctypes
import sys
from pathlib import Path

import pytest

from kernmalloc.lang import twin
from kernmalloc.lang.functions import REGISTRY

sys.path.insert(0, str(Path(__file__).parent))

from lang_sample import arithmetic, bare, hosted, lists, records, soft  # noqa: E402

SAMPLE = (arithmetic, bare, hosted, lists, records, soft)
PAGES, NODES = 8, 100
CPU, KERN, TABLE = 0x100, 0x200, 0x1000  # where the sample's records are


def sample_functions():
    return [function for function in REGISTRY if function.__module__ in [module.__name__ for module in SAMPLE]]


class Memory:
    """Flat bytes from address `base`, as twin memory and as what the raw life sees."""

    def __init__(self, size=PAGES << 12):
        self.bytes = bytearray(size)
        self.base = 0
        self.machine = self
        whole = memoryview(self.bytes)
        self.views = {1: whole, 2: whole.cast("H"), 4: whole.cast("I"), 8: whole.cast("q")}

    @property
    def host(self):
        return ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))

    def load(self, addr, width):
        return self.views[width][self.place(addr, width)]

    def store(self, addr, width, value):
        self.views[width][self.place(addr, width)] = value

    def place(self, addr, width):
        offset = addr - self.base
        if not 0 <= offset <= len(self.bytes) - width or offset % width:
            raise twin.TwinFault(f"{width} bytes at {addr:#x}")
        return offset // width

    def km_fill(self, addr, value, n):
        for i in range(n):
            self.store(addr + i, 1, value & 0xFF)
        return n

    def word(self, addr, value):
        self.views[8][addr // 8] = value

    def boot(self, base=0):
        """Lay out the sample's records, with addresses counted from `base`."""
        self.bytes[:] = bytes(len(self.bytes))
        self.word(CPU, base + KERN)
        self.word(KERN, base + TABLE)
        self.word(KERN + 8, NODES)

    def without_addresses(self):
        """Everything but the two words that hold addresses."""
        copy = bytearray(self.bytes)
        copy[CPU : CPU + 8] = copy[KERN : KERN + 8] = bytes(8)
        return bytes(copy)


class SoftMachine:
    """Page table and TLB of the soft sample; frames are shuffled, so that translation shows."""

    order = [5, 3, 7, 1, 0, 2, 6, 4]

    def __init__(self, library):
        self.ram, self.table, self.state = Memory(), (ctypes.c_int64 * PAGES)(), (ctypes.c_int64 * 40)()
        self.table[:] = [frame + 1 for frame in self.order]
        self.state[0:3] = [self.ram.host, ctypes.addressof(self.table), PAGES]
        library.machine = ctypes.addressof(self.state)

    def page(self, page):
        return slice(self.order[page] << 12, (self.order[page] + 1) << 12)

    def write(self, flat):
        for page in range(PAGES):
            self.ram.bytes[self.page(page)] = flat[page << 12 : (page + 1) << 12]

    def read(self):
        return b"".join(bytes(self.ram.bytes[self.page(page)]) for page in range(PAGES))


@pytest.fixture(scope="session")
def groups():
    """The sample's IR: what the front end makes of it."""
    from kernmalloc.lang import frontend, gates

    functions = sample_functions()
    gates.check(functions)
    return frontend.compile(functions)


@pytest.fixture(scope="session")
def objects(groups):
    from kernmalloc.lang import backend

    return {life: backend.link(groups, life) for life in ("raw", "soft")}


@pytest.fixture
def raw(objects):
    from kernmalloc.lang.objects import Library

    return Library(objects["raw"])


@pytest.fixture
def soft_library(objects):
    from kernmalloc.lang.objects import Library

    return Library(objects["soft"])


@pytest.fixture
def memory():
    memory = Memory()
    memory.boot()
    twin.use(memory)
    return memory


@pytest.fixture
def define(tmp_path):
    """Makes a registered function out of text, in a module of its own with the names of kernmalloc.lang."""
    from importlib.util import module_from_spec, spec_from_file_location

    made = []

    def define(source, name="f"):
        path = tmp_path / f"made{len(made)}.py"
        path.write_text("from kernmalloc.lang import *\n" + source)
        spec = spec_from_file_location(path.stem, path)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        made.append(module)
        return getattr(module, name)

    yield define
    for module in made:
        for value in vars(module).values():
            if callable(value) and getattr(value, "__module__", None) == module.__name__:
                REGISTRY.pop(value, None)
