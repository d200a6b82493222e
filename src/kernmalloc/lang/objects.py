"""Objects: found or built once, loaded in milliseconds, without a compiler or a linker.

An object is the whole kernel for one hosted life. `load` takes it from the package (wheels ship them), else from the
user's cache, else builds it; both places are keyed by a digest of the sources, so a stale object is never loaded.
`python -m kernmalloc.lang.objects [FOLDER]` puts objects where the package ships them, for `make wheel`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent
SHIPPED = PACKAGE / "_objects"
KEPT = 4
"""Builds that stay in the cache: the newest."""

Progress = Callable[[str, float], None]


class BuildError(Exception):
    """The kernel could not be compiled; the message is the compiler's."""


class Library:
    """One loaded object: its entries (name to arity) as ctypes functions, and the address of its machine's record.

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
        text = ctypes.string_at(self._engine.get_global_value_address("km_entries")).decode()
        self.entries = {name: int(arity) for name, _, arity in (entry.partition("/") for entry in text.split())}
        self._functions: dict[str, Any] = {}

    def function(self, name: str) -> Callable[..., int]:
        """The entry km_<name> as a ctypes function; KeyError if there is none."""
        if name not in self._functions:
            kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * self.entries[name])
            function = kind(self.address(name))
            function.library = self  # keeps the code as long as the function
            self._functions[name] = function
        return self._functions[name]

    def address(self, name: str) -> int:
        """Address of the entry km_<name> in this process; KeyError if there is none."""
        if name not in self.entries:
            raise KeyError(name)
        return self._engine.get_function_address(f"km_{name}")

    @property
    def machine(self) -> int:
        """Address of the host's record, which primitive machine_record gives to host-level code."""
        return self._word.value

    @machine.setter
    def machine(self, address: int) -> None:
        self._word.value = address


def load(life: str, progress: Progress | None = None) -> Library:
    """A fresh copy of the kernel for "raw" or "soft". Builds both, with progress(stage, fraction), if it must.

    BuildError if the sources do not compile, OSError if the cache folder cannot be written.
    """
    return Library(built(life, progress))


def is_built() -> bool:
    """True if load will not have to build."""
    return any((folder / "soft.o").exists() for folder in _places())


def built(life: str, progress: Progress | None = None) -> bytes:
    """The object file of a life, which `load` loads. As `load`."""
    for folder in _places():
        if (folder / f"{life}.o").exists():
            return (folder / f"{life}.o").read_bytes()
    build(cache_folder(), progress)
    _forget_old(cache_folder().parent)
    return (cache_folder() / f"{life}.o").read_bytes()


def _places() -> Iterator[Path]:
    digest_file = SHIPPED / "digest"
    if digest_file.exists() and digest_file.read_text() == digest():
        yield SHIPPED
    yield cache_folder()


@cache
def digest() -> str:
    """Of every source that an object depends on, and of the processor's architecture."""
    sources = hashlib.sha256(platform.machine().encode())
    for folder in ("lang", "machine", "kernel", "drivers"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            sources.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return sources.hexdigest()[:32]


def cache_folder() -> Path:
    """Where this version's objects are kept for the user."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "kernmalloc" / digest()


def build(folder: Path, progress: Progress | None = None) -> None:
    """Build all hosted objects in a process of its own and move them into `folder`: nobody sees them half made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "kernmalloc.lang.pipeline"]
    environment = {**os.environ, "PYTHONPATH": path}
    with tempfile.TemporaryDirectory(dir=folder.parent) as work, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            [*command, work], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process:
            for line in process.stdout:
                fraction, _, stage = line.strip().partition("\t")
                if progress:
                    progress(stage, float(fraction))
        if process.returncode:
            errors.seek(0)
            raise BuildError(errors.read().strip())
        folder.mkdir(exist_ok=True)
        for made in Path(work).glob("*.o"):
            os.replace(made, folder / made.name)


def _forget_old(root: Path) -> None:
    builds = sorted(
        (folder for folder in root.iterdir() if (folder / "soft.o").exists()), key=lambda folder: folder.stat().st_mtime
    )
    for folder in builds[:-KEPT]:
        shutil.rmtree(folder, ignore_errors=True)


def main(folder: Path) -> None:
    """Put this version's objects and their digest into a folder, for the package to ship."""
    build(folder, lambda stage, fraction: print(f"{fraction:5.0%} {stage}", flush=True))
    (folder / "digest").write_text(digest())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED)
