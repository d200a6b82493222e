"""Whether what is timed is what a bare machine runs: the code of the hosted object beside that of the freestanding one.

Both are made from one intermediate form (`lang.backend`): what a life puts in are the primitives. Where an entry has a
quick path, which takes no lock and so calls no primitive, the machine code must be the same. Compared is every
instruction of that path and of the functions that it calls, up to the call that takes the lock: what it does, its
constants, and the offsets that it accesses memory at; how many there are of each. Registers and the order of
instructions are the code generator's choice, which differs with where the code may be put, and so are moves from one
register to another, saving them, and padding. An entry without a quick path is not compared: its primitives are in it.
"""

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kernmalloc.bench.rows import LIMIT, OURS, Goal, Row
from kernmalloc.build.freestanding import freestanding
from kernmalloc.lang import objects

TIMED = ("malloc", "free", "frame_get", "frame_put", "block_get", "cache_get", "cache_put")
COMPARED, DIFFER = "of the quick path", "that differ from the freestanding object's"
GOALS = [Goal("code", f"{DIFFER}: {entry}", 0, than=LIMIT) for entry in TIMED]
CALLS = "kernmalloc.kernel.calls."  # and the entry's name: a call's parts (kernel/calls.py)

_HEAD = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_LINE = re.compile(r"^\s*[0-9a-f]+:\t([^\t]+?)\s*(?:\t.*\t(?:\.text\.)?(\S+)-0x4)?$")  # the relocation behind it
_REGISTER = re.compile(r"%[a-z0-9]+")
_PADDING = re.compile(r"^(data16 |cs )*(nop|xchg +%ax,%ax)")
_SAVED = re.compile(r"^(push|pop) +%|^mov[a-z]* +%[a-z0-9]+,%[a-z0-9]+$")
_TARGET = re.compile(r"^(j[a-z]+|call) +[0-9a-f]+ <([^>+]+)(\+0x[0-9a-f]+)?>")

Code = dict[str, list[str]]  # by symbol, the instructions


class Comparison(NamedTuple):
    """An entry's quick path: instructions that were compared, and those that only the hosted or the bare object has."""

    entry: str
    instructions: int
    hosted: Counter[str]
    bare: Counter[str]

    @property
    def same(self) -> bool:
        return not self.hosted and not self.bare


class NoDisassembler(Exception):
    """objdump is not installed."""


def compare() -> list[Comparison]:
    """The entries of TIMED that have a quick path. NoDisassembler."""
    return compared(disassembled(objects.built("raw")), disassembled(freestanding("x86_64")))


def rows() -> Iterator[Row]:
    """Two of each entry: how many instructions were compared, and how many of either object the other has not."""
    for found in compare():
        yield Row("code", f"{COMPARED}: {found.entry}", OURS, "instructions", (float(found.instructions),))
        differ = found.hosted.total() + found.bare.total()
        yield Row("code", f"{DIFFER}: {found.entry}", OURS, "instructions", (float(differ),))


def compared(hosted: Code, bare: Code) -> list[Comparison]:
    """The same of code that is disassembled."""
    found = []
    for entry in TIMED:
        if any(_is_locked(name) and name.startswith(CALLS + entry) for name in hosted):
            one, other = path(hosted, f"km_call_{entry}"), path(bare, f"km_call_{entry}")
            found.append(Comparison(entry, one.total(), one - other, other - one))
    return found


def _is_locked(name: str) -> bool:
    """Whether a function is what takes the lock, and not a further quick way, which has a number."""
    return name.startswith(CALLS) and not re.search(r"_\d+$", name)


def disassembled(data: bytes) -> Code:
    """The functions of an object. A jump into another section is one to the function that its relocation names."""
    tool = shutil.which("objdump")
    if not tool:
        raise NoDisassembler("objdump is not installed (it is in binutils)")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "object"
        file.write_bytes(data)
        command = [tool, "--disassemble", "--reloc", "--no-show-raw-insn", "--wide", str(file)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    code: Code = {}
    at: list[str] = []
    for line in lines:
        if head := _HEAD.match(line):
            at = code.setdefault(head[1], [])
        elif instruction := _LINE.match(line):
            text, name = instruction.groups()
            at.append(re.sub(r"<.*>", f"<{name}>", text) if name else text)
    return code


def path(code: Code, start: str) -> Counter[str]:
    """What is executed from a function on before the lock: instructions without registers, and how often each."""
    found: Counter[str] = Counter()
    todo, seen = [start], {start}
    while todo:
        for text in code[todo.pop()]:
            if _PADDING.match(text) or _SAVED.match(text):
                continue
            jump = _TARGET.match(text)
            if jump and not _is_locked(jump[2]) and jump[2] not in seen:
                seen.add(jump[2])
                todo.append(jump[2])
            found[jump[1] if jump else _REGISTER.sub("%", text)] += 1
    return found
