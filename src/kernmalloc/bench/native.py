"""The harness in C: compiled on the user's machine when it is first needed, kept beside the kernel's objects."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from kernmalloc.inputs.errors import InputError
from kernmalloc.lang import cache

SOURCES = Path(__file__).parent / "c"
FLAGS = ("-O2", "-march=native", "-pthread")


class NoCompiler(InputError):
    """There is no C compiler, or it refuses the harness."""


class Wrong(Exception):
    """An allocator did not do its work: its figures would be worth nothing."""


def compiled(name: str, *flags: str) -> Path:
    """The file that `name`.c was compiled to, with more flags than usual. NoCompiler."""
    digest = hashlib.sha256(" ".join((_compiler(), *FLAGS, *flags)).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    folder = cache.folder().parent / "bench"
    made = folder / f"{name}-{digest.hexdigest()[:16]}{'.so' if '-shared' in flags else ''}"
    if not made.exists():
        _compile(SOURCES / f"{name}.c", made, flags)
    return made


def library(name: str) -> ctypes.CDLL:
    """The harness `name`.c, loaded. NoCompiler."""
    return ctypes.CDLL(str(compiled(name, "-shared", "-fPIC")))


def _compiler() -> str:
    return os.environ.get("CC") or "cc"


def _compile(source: Path, made: Path, flags: tuple[str, ...]) -> None:
    compiler = shutil.which(_compiler())
    if not compiler:
        raise NoCompiler(
            _compiler(), 0, "the harness is in C, and there is no such compiler: install gcc or clang, or set CC"
        )
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as work:
        out = Path(work) / "out"
        command = [compiler, *FLAGS, *flags, str(source), "-o", str(out), "-ldl", "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            first = next(
                (line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip() or "no reason"
            )
            raise NoCompiler(str(source), 0, f"{compiler} does not compile it: {first}")
        os.replace(out, made)
