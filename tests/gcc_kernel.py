"""The kernel as C, built by gcc, in place of LLVM's object of the raw life.

`use()` puts it there, for this process. As a plugin of pytest (`-p gcc_kernel`) it serves all tests of a run, with the
flags in KERNMALLOC_GCC. A build is kept with this version's objects.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kernmalloc.lang import cache, objects

FLAGS = ("-std=c11", "-O2", "-g1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fno-delete-null-pointer-checks")


WRITE = """
import pathlib, sys
from kernmalloc.lang import c, pipeline
pipeline.import_kernel()
for name, text in c.source(None, "raw").items():
    pathlib.Path(sys.argv[1], name).write_text(text)
"""


def sources(folder: Path) -> None:
    """Write the raw life as C, with all drivers: in a process of its own, whose only kernel functions are these."""
    subprocess.run([sys.executable, "-c", WRITE, str(folder)], check=True)


def built(*flags: str) -> bytes:
    """The raw life as gcc's shared object."""
    version = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout
    name = hashlib.sha256("\0".join((version, *FLAGS, *flags)).encode()).hexdigest()[:8]

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as work:
            sources(Path(work))
            made = f"{work}/kernel.so"
            subprocess.run(["gcc", *FLAGS, *flags, f"{work}/kernmalloc.c", "-o", made], check=True)
            return Path(made).read_bytes()

    return cache.kept(f"raw-gcc-{name}.so", make)


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


def use(*flags: str) -> None:
    """From now on raw kernels of this process run gcc's code."""
    data, others = built(*flags), objects.load

    def load(life: str, progress: objects.Progress | None = None) -> objects.Library:
        return Library(data) if life == "raw" else others(life, progress)

    objects.load = load


def installed() -> bool:
    """True if there is a gcc."""
    return shutil.which("gcc") is not None


def pytest_configure() -> None:
    use(*os.environ.get("KERNMALLOC_GCC", "").split())
