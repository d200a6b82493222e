"""`kernmalloc export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kernmalloc.build.arena import Shape

from kernmalloc.cli.output import say

MODES = ("owner", "guest", "frames", "arena")


def export(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder to make; that of an older export is renewed."),
    ],
    arch: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Architecture; again for more. By default all that LLVM has."),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="owner, of all memory; guest, beside page tables; frames, no heap; or arena, a heap in a block.",
        ),
    ] = "owner",
    classes: Annotated[int, typer.Option(metavar="N", help="Of an arena: size classes, 16, 24 to 72.")] = 16,
    types: Annotated[int, typer.Option(metavar="N", help="Of an arena: most types of objects.")] = 8,
    page: Annotated[str, typer.Option(metavar="SIZE", help="Of an arena: a page, 256 bytes to 64 KiB.")] = "1KiB",
    several: Annotated[bool, typer.Option("--several", help="Of an arena: it may have several blocks.")] = False,
    kernel: Annotated[
        str,
        typer.Option(metavar="NAME|FILE.toml", help="Write config.h, too: what this profile says.", show_default=False),
    ] = "",
    interrupts: Annotated[
        bool, typer.Option("--interrupts", help="Handlers of interrupts call, too: no quick path is interrupted.")
    ] = False,
    rust: Annotated[
        bool, typer.Option("--rust", help="Write a crate, too: its calls in Rust, and a global allocator.")
    ] = (False),
) -> None:
    """Write the kernel for somebody else's: as a library per architecture, and as C; with a README."""
    from kernmalloc.build import arena_files
    from kernmalloc.build.export import crate_files, write
    from kernmalloc.build.export import export as write_all
    from kernmalloc.build.modes import LAYOUTS, for_interrupts
    from kernmalloc.cli.progress import exporting
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.arch import ARCHES, TARGETS

    if mode not in MODES:
        raise InputError(f"--mode {mode}", 0, "no such mode", f"one of {', '.join(MODES)}")
    wanted = arch or (arena_files.WIDE if mode == "arena" else list(TARGETS))
    for name in wanted:
        if name not in ARCHES:
            raise InputError(f"--arch {name}", 0, "no such architecture", f"one of {', '.join(ARCHES)}")
    if kernel and mode == "arena":
        raise InputError(f"--kernel {kernel}", 0, "an arena has no configuration")
    shape = _shape(classes, types, page)._replace(several=several)
    further = _config(kernel) if kernel else {}
    with exporting():
        if mode == "arena":
            made = write(output, arena_files.files(wanted, shape))
        else:
            layout = for_interrupts(LAYOUTS[mode]) if interrupts else LAYOUTS[mode]
            made = write_all(output, wanted, further | (crate_files() if rust else {}), layout)
    for name, size in made.items():
        say(f"{output / name}: {size:,} bytes")
    for name in dict.fromkeys(wanted):
        if name not in TARGETS:
            say(f"{name}: C only, LLVM makes no objects for it")


def _config(kernel: str) -> dict[str, str]:
    """config.h of a profile. InputError: it cannot be read."""
    from kernmalloc.build.export import CONFIG
    from kernmalloc.facade.c_config import c_config
    from kernmalloc.facade.profile import Profile

    return {CONFIG: c_config(Profile.load(kernel))}


def _shape(classes: int, types: int, page: str) -> "Shape":
    """What is chosen of an arena. InputError: there is none like that."""
    from kernmalloc.build.arena import Shape
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_size
    from kernmalloc.kernel.heap.slabs import MAX_SLAB_PAGES

    bytes = parse_size(page)
    if classes % 8 or not 16 <= classes <= 72:
        raise InputError(f"--classes {classes}", 0, "an arena has 16, 24, 32 to 72 size classes", "say one of these")
    if not 0 <= types <= 255 - classes:
        raise InputError(f"--types {types}", 0, "types and classes are 255 at most", "say fewer")
    if bytes & (bytes - 1) or not 256 <= bytes <= 65536:
        raise InputError(f"--page {page}", 0, "a page is a power of two, 256 bytes to 64 KiB", "say one of these")
    shape = Shape(classes, types, bytes)
    if shape.largest > MAX_SLAB_PAGES * bytes:
        most = f"slots of {shape.largest} bytes lie in at most {MAX_SLAB_PAGES} pages"
        raise InputError(f"--page {page}", 0, most, f"--page {shape.largest // MAX_SLAB_PAGES}, or fewer --classes")
    return shape
