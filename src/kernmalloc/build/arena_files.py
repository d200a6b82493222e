"""What is exported of an arena: C and libraries of one layout, and a README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.build import apart, archive
from kernmalloc.build.texts import LICENCE
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.arch import ARCHES, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernmalloc.build.arena import Shape
    from kernmalloc.machine.arch.model import Compiler

FLAGS = ("-std=c11", "-Os", "-fno-delete-null-pointer-checks", "-DKM_CPUS=1")
HELPERS = ("__ashldi3", "__ashrdi3", "__lshrdi3", "__muldi3")
"""What gccs for 32 bits call in libgcc when they are to make little code."""
WIDE = [name for name, target in TARGETS.items() if target.pointer == 64]
"""Architectures with pointers of 8 bytes."""


def reference(architecture: str) -> int:
    """Bytes of a pointer of an architecture."""
    return 8 if architecture in WIDE else 4


def files(architectures: Iterable[str], shape: Shape) -> dict[str, bytes]:
    """Name of each file to its bytes. InputError: pointers of these architectures are not of one width."""
    wanted = list(dict.fromkeys(architectures))
    widths = {reference(name) for name in wanted}
    if len(widths) != 1:
        lists = " and ".join(", ".join(name for name in wanted if reference(name) == width) for width in sorted(widths))
        raise InputError("--arch", 0, f"an arena has references of one width: not {lists}", "export them apart")
    layout = shape._replace(reference=widths.pop()).layout()
    content = {name: (LICENCE + text).encode() for name, text in apart.made(layout, "c").items()}
    for name in wanted:
        if name in TARGETS:
            content |= archive.libraries(name, layout)
    return content | {"README.md": readme(wanted, shape).encode()}


def build_command(compiler: Compiler) -> tuple[str, ...]:
    """What makes an object of kernmalloc.c; the file and its place follow."""
    return (*compiler.command, *FLAGS, "-c")


def readme(architectures: list[str], shape: Shape) -> str:
    """What it is, what to compile with, and what a port supplies."""
    commands = [
        f"    {' '.join(build_command(compiler))} kernmalloc.c"
        for name in architectures
        for compiler in ARCHES[name].compilers
    ]
    libraries = [f"    {each}" for name in architectures if name in TARGETS for each in archive.names(name)]
    return _README.format(
        classes=shape.classes,
        largest=shape.largest,
        types=shape.types,
        page=shape.page,
        several=_SEVERAL if shape.several else "",
        helpers="`, `".join(HELPERS),
        commands="\n".join(commands + libraries),
    )


_README = """# kernmalloc, an arena

A heap in a block of memory that it is given: no page tables, no frames, one processor. It has no data of its own.

    kernmalloc.h             records, statuses, the entries, and what a port supplies
    kernmalloc.c             the heap as C11
    libkernmalloc-*.a        the heap as a library, for people without a compiler

The files may be used under Apache-2.0 or under MIT. There are {classes} size classes, up to {largest} bytes, and at
most {types} types of objects. What is larger takes pages of {page} bytes.

## To build it

{commands}

gcc may call `memset` and `memcpy`, and for processors of 32 bits `{helpers}` of libgcc.

## To use it

A port supplies what the header lists under "The port": to take interrupts off and to let them be as they were, to fill
memory with zeros, and to copy it. `km_port_processor` gives back what `km_arena` gave. Whatever changes the arena does
so with interrupts off: tasks and interrupt handlers may call it. `km_calloc` and `km_realloc` fill and copy memory with
interrupts on.

    static struct km_cpu *heap;
    struct km_cpu *km_port_processor(void) {{ return heap; }}

    heap = km_arena(block, sizeof block);   NULL: it is too small
    void *at = km_malloc(100);              NULL: there is no room. km_call_malloc says why not, in a status
    km_free(at);                            KM_OK, or why not: then nothing has changed
    km_check();                             KM_OK if every invariant holds: with interrupts off, too
{several}"""

_SEVERAL = """    km_arena_add(other, sizeof other);      KM_OK: it has another block of memory
"""
