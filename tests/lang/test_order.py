"""What keeps accesses in order where the processor does not: the instructions that atomics become (core/locks.py)."""

import re
import shutil
import subprocess

import pytest

from kernmalloc.lang import backend
from kernmalloc.lang import models as ir
from kernmalloc.lang.c import models as c
from kernmalloc.machine.arch import TARGETS

ARGUMENTS = {
    "cas32": 3,
    "cas64": 3,
    "load_acquire32": 1,
    "load_acquire64": 1,
    "store_release32": 2,
    "store_before32": 2,
}
LLVM = {
    "aarch64": {
        "cas32": r"ldaxr.*stlxr|casal",
        "cas64": r"ldaxr.*stlxr|casal",
        "load_acquire32": r"ldar\b",
        "load_acquire64": r"ldar\b",
        "store_release32": r"stlr\b",
        "store_before32": r"str\b",
    },
    "riscv64": {
        "cas32": r"lr\.w\.aq|sc\.w\.aq",
        "cas64": r"lr\.d\.aq|sc\.d\.aq",
        "load_acquire32": r"lwu?\b.*fence\s+(r|iorw),\s*(rw|iorw)",
        "load_acquire64": r"ld\b.*fence\s+(r|iorw),\s*(rw|iorw)",
        "store_release32": r"fence\s+(rw|iorw),\s*(w|ow).*(sw\b|amoswap)",
        "store_before32": r"sw\b",
    },
    "armv7": {
        "cas32": r"ldrex.*dmb.*strex.*dmb",
        "load_acquire32": r"ldr\b.*dmb",
        "store_release32": r"dmb.*str\b",
        "store_before32": r"str\b",
    },
}
"""Each atomic of a target: what its instructions are, in order. gcc before 14 makes a cas no release on RISC-V: none is
needed (core/locks.py)."""
FENCES = r"\b(dmb|fence|stlr|ldar|amo)"
COMPILERS = {"aarch64": "aarch64-linux-gnu-gcc", "riscv64": "riscv64-linux-gnu-gcc"}


def of(assembly: str, name: str) -> str:
    """The instructions of a function, on one line."""
    return " ".join(assembly.partition(f"\n{name}:")[2].partition(f".size\t{name}")[0].split())


def holds(assembly: str, target: str) -> None:
    for name, pattern in LLVM[target].items():
        made = of(assembly, f"km_{name}")
        assert re.search(pattern, made), f"{name}: {made}"
    assert not re.search(FENCES, of(assembly, "km_store_before32")), "no fence, on any machine"


@pytest.mark.parametrize("target", LLVM)
def test_of_llvm(target):
    machine = backend.target_machine(TARGETS[target])
    calls = []
    for name, count in ARGUMENTS.items():
        given = ", ".join(f"i64 %a{number}" for number in range(count))
        calls.append(f'define i64 @km_{name}({given}) {{\n %v = call i64 @"km.{name}"({given})\n ret i64 %v\n}}')
    module = backend._module(machine, "\n".join([ir.definitions("km", ""), *calls]))
    backend._optimise(module, machine)
    holds(machine.emit_assembly(module), target)


@pytest.mark.parametrize("target", COMPILERS)
def test_of_gcc(target, tmp_path):
    """C11's atomics as gcc compiles them."""
    if shutil.which(COMPILERS[target]) is None:
        pytest.skip(f"{COMPILERS[target]} is not installed: package gcc-{target}-linux-gnu")
    text = ["#include <stdint.h>", c.HEADER, c.MACROS, *c.helpers(set(ARGUMENTS))]
    for name, count in ARGUMENTS.items():
        given = [f"int64_t a{number}" for number in range(count)]
        text.append(f"int64_t km_{name}({', '.join(given)}) {{ return {name}({', '.join(g[8:] for g in given)}); }}")
    (tmp_path / "order.c").write_text("\n".join(text))
    inline = ["-mno-outline-atomics"] if target == "aarch64" else []
    command = [COMPILERS[target], "-O2", "-ffreestanding", *inline]
    subprocess.run([*command, "-S", "-o", tmp_path / "order.s", tmp_path / "order.c"], check=True)
    holds("\n" + (tmp_path / "order.s").read_text(), target)
