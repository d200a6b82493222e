"""Objects: found or built once, loaded in milliseconds, without a compiler or a linker.

An object is the whole kernel for one hosted life. `load` takes it from the package (wheels ship them), else from the
user's cache folder, else builds it. Both places know which sources an object is of, so a stale one is never loaded.
`python -m kernmalloc.lang.objects [FOLDER]` puts objects where the package ships them, for `make wheel`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kernmalloc.lang import cache
from kernmalloc.lang.functions import CALL

SHIPPED = cache.PACKAGE / "_objects"

Progress = Callable[[str, float], None]


class BuildError(Exception):
    """The kernel could not be compiled; the message is the compiler's."""


class Entry(NamedTuple):
    """How an object's function is found and called."""

    symbol: str
    arity: int


def entries(told: bytes) -> dict[str, Entry]:
    """What an object says of its entries, by name: malloc is km_call_malloc, port_flush is km_port_flush."""
    pairs = [entry.split("/") for entry in told.decode().split()]
    return {symbol.removeprefix(CALL).removeprefix("km_"): Entry(symbol, int(arity)) for symbol, arity in pairs}


class Library:
    """One loaded object: its entries as ctypes functions, and the address of its machine's record.

    Every Library is a copy of its own. Calls release the GIL. Addresses are valid as long as the Library lives.
    """

    def __init__(self, data: bytes) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
        # llvmlite's memory manager keeps code and data in one piece, as the small code model needs
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=True)
        self._engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(data))
        self._engine.finalize_object()
        self._word = ctypes.c_int64.from_address(self._engine.get_global_value_address("km_machine"))
        self.entries = entries(ctypes.string_at(self._engine.get_global_value_address("km_entries")))
        self._functions: dict[str, Callable[..., int]] = {}

    def function(self, name: str) -> Callable[..., int]:
        """The entry of that name as a ctypes function; KeyError if there is none."""
        if name not in self._functions:
            kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * self.entries[name].arity)
            function = kind(self.address(name))
            vars(function)["library"] = self  # keeps the code as long as the function
            self._functions[name] = function
        return self._functions[name]

    def address(self, name: str) -> int:
        """Address of the entry of that name in this process; KeyError if there is none."""
        address: int = self._engine.get_function_address(self.entries[name].symbol)
        return address

    @property
    def machine(self) -> int:
        """Address of the host's record, which primitive machine_record gives to host-level code."""
        return self._word.value

    @machine.setter
    def machine(self, address: int) -> None:
        self._word.value = address


Load = Callable[[str], Library]
"""What gives a fresh copy of the kernel for a life."""


def load(life: str, progress: Progress | None = None) -> Library:
    """A fresh copy of the kernel for "raw" or "soft". Builds that one, with progress(stage, fraction), if it must.

    BuildError if the sources do not compile, OSError if there is no folder at all to build in.
    """
    return Library(built(life, progress))


def is_built(life: str) -> bool:
    """True if load will not have to build."""
    return (_shipped(life) or cache.found(f"{life}.o")) is not None


def built(life: str, progress: Progress | None = None) -> bytes:
    """The object file of a life, which `load` loads; of "wasm" the module (`wasm.py`). As `load`."""
    return _shipped(life) or cache.kept(f"{life}.o", lambda: _linked(life, progress), partial(_waiting, progress))


def _waiting(progress: Progress | None) -> None:
    if progress:
        progress("another process does it, waiting for that", 0.0)


def _shipped(life: str) -> bytes | None:
    digest_file = SHIPPED / "digest"
    if digest_file.exists() and digest_file.read_text() == cache.digest():
        return cache.whole(SHIPPED / f"{life}.o")
    return None


def _linked(life: str, progress: Progress | None) -> bytes:
    """What the back end makes for a life. Its input is kept, so that the next life needs the back end only."""
    groups = cache.kept("groups.json", lambda: _compiled(progress), partial(_waiting, progress))
    if progress:
        progress(f"optimising for {life}", 0.7)
    with tempfile.TemporaryDirectory() as work:
        Path(work, "groups.json").write_bytes(groups)
        _run(progress, "kernmalloc.lang.backend", life, work)
        if progress:
            progress(f"made {life}", 1.0)
        return Path(work, f"{life}.o").read_bytes()


def _compiled(progress: Progress | None) -> bytes:
    """What the front end makes for all lives."""
    with tempfile.TemporaryDirectory() as work:
        _run(progress, "kernmalloc.lang.pipeline", work)
        return Path(work, "groups.json").read_bytes()


def _run(progress: Progress | None, module: str, *arguments: str) -> None:
    """Run a part of the compiler in a process of its own, so that no other ever loads it."""
    path = os.pathsep.join(filter(None, [str(cache.PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        ) as process,
    ):
        for line in process.stdout or ():
            fraction, _, stage = line.strip().partition("\t")
            if progress:
                progress(stage, float(fraction))
        if process.wait():
            errors.seek(0)
            raise BuildError(errors.read().strip())


def main(folder: Path) -> None:
    """Put this version's objects and their digest into a folder, for the package to ship."""
    folder.mkdir(parents=True, exist_ok=True)
    for life in ("raw", "soft", "wasm"):
        made = built(life, lambda stage, fraction: print(f"{fraction:5.0%} {stage}", flush=True))
        cache.put(folder / f"{life}.o", made)
    (folder / "digest").write_text(cache.digest())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED)
