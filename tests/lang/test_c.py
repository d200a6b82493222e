"""The C back end: what gcc, clang and tcc make of it does what the twin does, and every ABI lays records out alike."""

import ctypes
import os
import random
import re
import shutil
import subprocess

import pytest
from c_sample import hosted, lists, numbers, records
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.lang import c, gates, twin
from kernmalloc.lang.functions import REGISTRY, signature

MODULES = [module.__name__ for module in (records, numbers, lists, hosted)]
FUNCTIONS = [function for function in REGISTRY if function.__module__ in MODULES]
NUMBERS = [function.__name__ for function in FUNCTIONS if function.__name__.startswith("n_")]

WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
SANITIZERS = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
HOSTED = {
    "gcc": ["gcc", "-O2", "-Wpedantic"],
    "gcc unoptimised": ["gcc", "-O0"],
    "gcc in halves": ["gcc", "-O2", "-DKM_COUNTS=32"],
    "gcc undefined": ["gcc", "-O1", *SANITIZERS],
    "clang": ["clang", "-O2", "-Wpedantic"],
    "tcc": ["tcc", "-DKM_CPUS=1"],
}
ALONE = ["-DKM_CPUS=1", "-ffreestanding", "-O2"]
BARE = {
    "x86_64": ["gcc", "-O2", "-ffreestanding"],
    "i386": ["clang", "--target=i386-none-elf", *ALONE],
    "5208": ["m68k-linux-gnu-gcc", "-mcpu=5208", *ALONE],
    "547x": ["m68k-linux-gnu-gcc", "-mcpu=547x", *ALONE],
    "cortex-m3": ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", *ALONE],
    "cortex-m4": ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", *ALONE],
    "riscv64": ["riscv64-linux-gnu-gcc", "-O2", "-ffreestanding"],
}
HELPERS = {
    "__muldi3",
    "__ashldi3",
    "__ashrdi3",
    "__lshrdi3",
    "__aeabi_lmul",
    "__aeabi_llsl",
    "__aeabi_lasr",
    "__aeabi_llsr",
}
"""Arithmetic of 64 bits, which compilers for 32 bits may call."""

EDGES = [0, 1, -1, 2, 3, 5, 7, -7, 31, 32, 63, 64, 100, 4095, 4096, 2**31, 2**32, -(2**31), -(2**63), 2**63 - 1]
NUMBER = st.one_of(st.sampled_from(EDGES), st.integers(-100, 100), st.integers(-(2**63), 2**63 - 1))


def run(command, *more):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run([*command, *more], capture_output=True, text=True, check=False)


def compiled(command, *more):
    done = run(command, *WARNINGS, *more)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.fixture(scope="session")
def texts():
    gates.check(FUNCTIONS)
    return {life: c.source(FUNCTIONS, life) for life in ("raw", "bare")}


@pytest.fixture(scope="session")
def folder(texts, tmp_path_factory):
    """A folder for each life, with both files."""
    base = tmp_path_factory.mktemp("c")
    for life, files in texts.items():
        (base / life).mkdir()
        for name, text in files.items():
            (base / life / name).write_text(text)
    return base


@pytest.fixture(scope="session", params=HOSTED)
def library(request, folder):
    """The raw life as a shared object of each compiler."""
    made = folder / f"{request.param.replace(' ', '-')}.so"
    compiled(HOSTED[request.param], "-fPIC", "-shared", str(folder / "raw" / "kernmalloc.c"), "-o", str(made))
    return ctypes.CDLL(str(made))


def entry_of(library, name):
    found = getattr(library, f"km_call_{name}")
    found.restype = ctypes.c_int64
    arity = next(function for function in FUNCTIONS if function.__name__ == name).__code__.co_argcount
    found.argtypes = [ctypes.c_int64] * arity
    return found


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(library, name):
    checked, built = twin.compile([getattr(numbers, name)])[name], entry_of(library, name)

    def same(a, b):
        try:
            expected = checked(a, b)
        except twin.TwinError:
            return
        assert built(a, b) == expected, f"{name}({a}, {b})"

    for a in EDGES:
        for b in EDGES:
            same(a, b)
    settings(max_examples=100 * EFFORT, deadline=None)(given(NUMBER, NUMBER)(same))()


class Memory:
    """Bytes where they are, as the twin sees them; a second copy is for what is compiled."""

    nodes = 8

    def __init__(self):
        raw = (ctypes.c_char * 8192)()
        self.keep = raw
        self.base = -(-ctypes.addressof(raw) // 128) * 128
        self.bytes = (ctypes.c_char * 4096).from_address(self.base)
        self.machine = self
        whole = memoryview(self.bytes).cast("B")
        self.views = {1: whole, 2: whole.cast("H"), 4: whole.cast("I"), 8: whole.cast("q")}
        root, nodes = self.base + 128, self.base + 1024
        self.root = root
        for at, value in ((root + 8, nodes), (root + 16, self.nodes)):
            self.store(at, 8, value)

    def load(self, addr, width):
        return self.views[width][self.place(addr, width)]

    def store(self, addr, width, value):
        self.views[width][self.place(addr, width)] = value

    def place(self, addr, width):
        offset = addr - self.base
        if not 0 <= offset <= 4096 - width or offset % width:
            raise twin.TwinFault(f"{width} bytes at {addr:#x}")
        return offset // width

    def km_port_c_fill(self, addr, value, n):
        for i in range(n):
            self.store(addr + i, 1, value & 0xFF)
        return n


CALLS = [function for function in FUNCTIONS if function.__module__ == lists.__name__ and REGISTRY[function]]


def test_a_sequence_leaves_the_same_bytes(library):
    checked = twin.compile(CALLS)
    built = {name: entry_of(library, name) for name in checked}
    memory = Memory()
    twin.use(memory)
    rnd = random.Random(7)
    for step in range(3000 * EFFORT):
        name = rnd.choice(list(checked))
        arguments = [memory.root]
        for kind in signature(getattr(lists, name)).arguments[1:]:
            small = rnd.randrange(memory.nodes)
            arguments.append(memory.base if kind else small)
        if name in ("c_push", "c_scribble", "c_narrow", "c_change", "c_wipe"):
            arguments[2] = rnd.choice([*EDGES, rnd.getrandbits(40)])
        if name == "c_atomics":
            arguments[1] = rnd.choice([0, 0, 1, 2])
            if not memory.load(memory.root, 8):
                continue
        before = bytes(memory.bytes)
        try:
            expected = checked[name](*arguments)
        except twin.TwinError:
            memory.bytes[:] = before
            continue
        after = bytes(memory.bytes)
        memory.bytes[:] = before
        result = built[name](*arguments)
        assert (result, bytes(memory.bytes)) == (expected, after), f"step {step}: {name}{tuple(arguments)}"


def test_the_machine(library):
    assert entry_of(library, "c_record")() == 0
    ctypes.c_int64.in_dll(library, "km_machine").value = 77
    assert entry_of(library, "c_record")() == 77
    memory = (ctypes.c_char * 32)()
    at = ctypes.addressof(memory)
    assert library.km_port_c_fill(ctypes.c_int64(at), 0x141, 16) == 16
    assert entry_of(library, "c_copy")(at + 16, at, 15) == 0
    assert bytes(memory) == b"A" * 31 + b"\0"
    entries = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, "km_entries"))).decode()
    assert {"km_call_c_push/3", "km_call_c_record/0", "km_port_c_fill/3"} <= set(entries.split())


@pytest.mark.parametrize("target", BARE)
def test_every_target_takes_it_and_no_library_is_called(folder, target):
    made = folder / f"{target}.o"
    compiled(BARE[target], "-c", str(folder / "bare" / "kernmalloc.c"), "-o", str(made))
    undefined = re.findall(r" U (\S+)", run(["nm"], str(made)).stdout)
    assert {name for name in undefined if not name.startswith("km_")} <= HELPERS


def test_a_target_without_atomics_says_so(folder):
    done = run(BARE["5208"][:2], "-ffreestanding", "-c", str(folder / "bare" / "kernmalloc.c"), "-o", os.devnull)
    assert "compile with -DKM_CPUS=1" in done.stderr


def test_sanitizers_hear_of_poison(folder, tmp_path):
    """A program that touches what the kernel forbade: the sanitizer reports it."""
    program = tmp_path / "program.c"
    program.write_text(
        '#include "kernmalloc.h"\n'
        "int64_t km_port_c_fill(int64_t at, int64_t value, int64_t n)\n"
        "{ (void)value; (void)n; return *(char *)(uintptr_t)at; }\n"
        "static int64_t words[1024];\n"
        "int main(int count, char **names)\n"
        "{ (void)names; KM_POISON(words + 8, 64); return (int)words[count + 8]; }\n"
    )
    made = tmp_path / "program"
    sources = [str(program), str(folder / "bare" / "kernmalloc.c")]
    compiled(["gcc", "-g", "-fsanitize=address", "-I", str(folder / "bare")], *sources, "-o", str(made))
    done = run([str(made)])
    assert done.returncode != 0 and "use-after-poison" in done.stderr


def test_a_person_can_read_it(texts):
    text, header = texts["bare"]["kernmalloc.c"], texts["bare"]["kernmalloc.h"]
    for part in (
        "\tstruct km_node *n = root->head;\n",
        "\tif (n == NULL)\n\t\treturn NULL;\n",
        "\tn->spot.word = value >> 3;\n",
        "\tn->words[1].bits = n->spot.pins;\n",
        "\tfor (int64_t i = 0; i < (a & 31); i++) {\n",
        "\t\tif (i == 7) /* not this one */\n\t\t\tcontinue;\n",
        "\t/* the sum of it all */\n",
        "/* --- loops */\n",
        "static int64_t numbers_twice(int64_t a)\n",
        "static inline __attribute__((always_inline)) int64_t pick(int64_t static_, int64_t b,\n\t\tint64_t unused)\n",
        "static __attribute__((noinline)) int64_t index(int64_t a)\n",
        "#define MANY (INT64_C(1) << 40)",
        "/* above 32 bits */",
        " * The remarks in here * / are to be found in C.\n",
        "\t\treturn KM_BUSY;\n",
    ):
        assert part in text, part
    for part in (
        "int64_t km_call_c_push(struct km_root *root, int64_t i, int64_t value);",
        "struct km_node *km_call_c_pop(struct km_root *root);",
        " * After: they are the value.\n */\nint64_t km_port_c_fill(int64_t at, int64_t value, int64_t n);",
        "KM_BUSY = -10,",
        "/* Put a node at the head of the list: its index, or -1. */",
    ):
        assert part in header, part


def test_layout_is_stated(texts):
    text = "".join(texts["bare"].values())
    for kind in (records.Node, records.Spot, records.Root, records.Word):
        assert f"_Static_assert(sizeof(struct km_{kind.name.lower()}) == {kind.size}" in text
    assert "uint16_t default_;" in text and "users * / of it" in text


def test_the_text_depends_on_the_sources_only(texts):
    assert c.source(FUNCTIONS, "raw") == texts["raw"]
    assert os.getcwd() not in texts["raw"]["kernmalloc.c"]
