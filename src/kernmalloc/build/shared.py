"""The kernel of mode raw as C, compiled on the user's machine to a shared object, in place of LLVM's object.

    with lives.loading(shared.loader("clang", "-O2")):
        Kernel.boot(machine, profile)        # this kernel is clang's

It is the text that `export` writes, but for the primitives, which are the host's. What is compiled is kept with this
version's objects, by compiler and flags.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from kernmalloc.build import apart
from kernmalloc.lang import cache, objects
from kernmalloc.lang.layout import LAYOUT

FLAGS = ("-std=c11", "-fPIC", "-shared", "-fno-semantic-interposition", "-fno-delete-null-pointer-checks")


class NoCompiler(Exception):
    """A C compiler is not installed, or refuses the kernel: one line."""


class Library(objects.Library):
    """A shared object, loaded by the system: each is a copy of its own."""

    def __init__(self, data: bytes) -> None:
        self._file = tempfile.NamedTemporaryFile(suffix=".so")  # noqa: SIM115 (a sanitizer reads it for its report)
        self._file.write(data)
        self._file.flush()
        self._loaded = ctypes.CDLL(self._file.name)
        self._word = ctypes.c_int64.in_dll(self._loaded, "km_machine")
        told = ctypes.c_char.in_dll(self._loaded, "km_entries")
        self.entries = objects.entries(ctypes.string_at(ctypes.addressof(told)))
        self._functions = {}

    def address(self, name: str) -> int:
        return ctypes.cast(getattr(self._loaded, self.entries[name].symbol), ctypes.c_void_p).value or 0


def loader(*command: str) -> objects.Load:
    """What loads the kernel of mode raw as a compiler and its flags made it; other lives are LLVM's still. NoCompiler,
    or as `objects.load`."""
    data = built(*command)
    return lambda life: Library(data) if life == "raw" else objects.load(life)


def built(*command: str) -> bytes:
    """The shared object. NoCompiler, or as `objects.built`."""
    compiler = shutil.which(command[0])
    if not compiler:
        raise NoCompiler(f"{command[0]} is not installed")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    flags = (*command[1:], *FLAGS)
    name = hashlib.sha256("\0".join((version, *flags)).encode()).hexdigest()[:8]

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as work:
            for file, text in apart.made(LAYOUT, "raw").items():
                Path(work, file).write_text(text)
            compilation = [compiler, *flags, f"{work}/kernmalloc.c", "-o", f"{work}/kernel.so"]
            done = subprocess.run(compilation, capture_output=True, text=True)
            if done.returncode:
                first = next((line for line in done.stderr.splitlines() if "error" in line), "it does not say why")
                raise NoCompiler(f"{' '.join(command)} does not compile the kernel: {first}")
            return Path(work, "kernel.so").read_bytes()

    return cache.kept(f"raw-{command[0]}-{name}.so", make)
