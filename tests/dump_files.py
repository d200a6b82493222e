"""Dumps of kernels that run here, in every form: raw memory, and ELF cores as QEMU and the kernel write them."""

import struct
from collections.abc import Iterable
from pathlib import Path

from kernmalloc.facade.kernel import Kernel

PAGE = 4096


def pieces(kernel: Kernel, start: int = 0, end: int | None = None) -> Iterable[tuple[int, bytes]]:
    """(PA, page) of what is not zero in [start, end)."""
    for at, page in sorted(kernel.view.ram.snapshot().items()):
        if start <= at < (kernel.view.ram.top if end is None else end):
            yield at, page


def raw(kernel: Kernel, path: Path, start: int = 0, end: int | None = None) -> Path:
    """RAM from `start` to `end`, sparse."""
    with open(path, "wb") as file:
        for at, page in pieces(kernel, start, end):
            file.seek(at - start)
            file.write(page)
        file.truncate((kernel.view.ram.top if end is None else end) - start)
    return path


def core(
    path: Path,
    segments: list[tuple[int, int, bytes]],
    notes: int = 356,
    bits: int = 64,
    order: str = "<",
    type: int = 4,
) -> Path:
    """An ELF core of (p_paddr, p_vaddr, bytes), behind so many bytes of notes: as QEMU has it, not aligned."""
    count = len(segments) + 1
    head, step = (64, 56) if bits == 64 else (52, 32)
    offset = head + count * step
    e = order + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH")
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    data = ident + struct.pack(e, type, 62, 1, 0, head, 0, 0, head, step, count, 0, 0, 0)
    headers, at = [(4, offset, 0, 0, notes, 0)], offset + notes
    for pa, va, memory in segments:
        headers.append((1, at, va, pa, len(memory), len(memory)))
        at += len(memory)
    for kind, start, va, pa, filled, size in headers:
        if bits == 64:
            data += struct.pack(order + "IIQQQQQQ", kind, 6, start, va, pa, filled, size, 0)
        else:
            data += struct.pack(order + "IIIIIIII", kind, start, va, pa, filled, size, 6, 0)
    path.write_bytes(data + bytes(notes) + b"".join(memory for _, _, memory in segments))
    return path


def guest_memory(kernel: Kernel, path: Path, notes: int = 356, bits: int = 64) -> Path:
    """RAM by physical address, in two segments."""
    ram, middle = kernel.view.ram, kernel.view.ram.top // 2 // PAGE * PAGE
    return core(
        path,
        [(0, 0, ram.bytes[:middle]), (middle, 0, ram.bytes[middle : ram.top])],
        notes=notes,
        bits=bits,
    )


def process(kernel: Kernel, path: Path) -> Path:
    """A core of this process, as far as it is the kernel's: its RAM, and in mode raw its window, at their addresses."""
    ram = kernel.view.ram
    segments = [(0, ram.address, ram.bytes[: ram.top])]
    if kernel.mode == "raw":
        start, size = int(kernel.layout["window"]), int(kernel.layout["image_bytes"] + kernel.layout["area_bytes"])
        segments.append((0, start, kernel.view.peek(start, size)))
    return core(path, segments, notes=PAGE - 64 - 56 * (len(segments) + 1))
