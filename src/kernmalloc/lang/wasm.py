"""The soft machine and the kernel as a WebAssembly module: what differs from an object for this computer.

The module imports nothing. It exports its memory, `km_machine` (where the address of the machine's record goes),
`__heap_base` (the first byte of memory that is nobody's) and every call of the kernel and of its machine. Numbers are
i64, which JavaScript passes as BigInt. `wasm-ld` links it, which is Debian's package lld.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from kernmalloc.lang.target import Target

TARGET = Target("wasm32-unknown-unknown", "generic", "+bulk-memory,+sign-ext,+mutable-globals", pointer=32)

PRIMITIVES = """
declare void @llvm.memcpy.p0.p0.i32(ptr, ptr, i32, i1)
declare void @llvm.memset.p0.i32(ptr, i8, i32, i1)
define i64 @host_memcpy(i64 %to, i64 %of, i64 %n) alwaysinline {
 %t = inttoptr i64 %to to ptr
 %f = inttoptr i64 %of to ptr
 %k = trunc i64 %n to i32
 call void @llvm.memcpy.p0.p0.i32(ptr %t, ptr %f, i32 %k, i1 false)
 ret i64 %to
}
define i64 @host_memset(i64 %to, i64 %value, i64 %n) alwaysinline {
 %t = inttoptr i64 %to to ptr
 %v = trunc i64 %value to i8
 %k = trunc i64 %n to i32
 call void @llvm.memset.p0.i32(ptr %t, i8 %v, i32 %k, i1 false)
 ret i64 %to
}
"""
"""What the soft machine takes from the C library elsewhere: instructions of WebAssembly."""

LINKER = "wasm-ld"


def own(text: str) -> str:
    """IR that takes these in the place of the C library's."""
    return re.sub(r'@("?)(memcpy|memset)\b', r"@\1host_\2", text)


class NoLinker(Exception):
    """There is no wasm-ld on this computer: one line, which says what to install."""


def module(object: bytes) -> bytes:
    """The WebAssembly module of one object. Raises NoLinker."""
    linker = shutil.which(LINKER)
    if linker is None:
        raise NoLinker(f"no {LINKER} on this computer, which links the kernel for the page (apt install lld)")
    with tempfile.TemporaryDirectory() as work:
        made, out = Path(work, "kernel.o"), Path(work, "kernel.wasm")
        made.write_bytes(object)
        options = [
            "--no-entry",
            "--export-dynamic",
            "--export=km_machine",
            "--export=__heap_base",
            "-O2",
            "--strip-all",
        ]
        done = subprocess.run([linker, *options, "-o", out, made], capture_output=True, text=True)
        if done.returncode:
            raise NoLinker(f"{LINKER} failed: {done.stderr.strip()}")
        return out.read_bytes()
