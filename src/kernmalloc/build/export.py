"""The kernel for somebody else's: a static library per architecture, C, and what a port has to supply.

C is for every target, by gcc, clang or tcc, and leaves the primitives to the port. The libraries are LLVM's and have
primitives of their own, for one processor, which give way to those of a port. Both hold the rooms of the kernel, and no
drivers.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kernmalloc.build import apart, archive, entries_header, rust
from kernmalloc.build.texts import LICENCE, kernel_functions, told, written
from kernmalloc.inputs.errors import InputError
from kernmalloc.lang.functions import Primitive
from kernmalloc.lang.layout import LAYOUT, Layout
from kernmalloc.lang.typed import typed
from kernmalloc.machine.arch import ARCHES, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kernmalloc.machine.arch.model import Compiler

FLAGS = ("-std=c11", "-O2", "-fno-delete-null-pointer-checks")
LIBRARY = {
    "m68k-linux-gnu": ("__ashldi3", "__muldi3"),
    "arm-none-eabi": (),
    "i686-linux-gnu": (),
}
"""Prefixes of gccs for 32 bits, and what their code calls in libgcc: arithmetic of 64 bits."""


def c_files(layout: Layout = LAYOUT) -> dict[str, str]:
    """kernmalloc.c and kernmalloc.h."""
    if layout != LAYOUT:
        files: dict[str, str] = apart.made(layout, "files")
        return files
    return written()


def crate_files() -> dict[str, str]:
    """The crate, for kernels in Rust."""
    functions = kernel_functions()
    used = {target for function in functions for target in typed(function).targets.values()}
    port = sorted((each for each in used if isinstance(each, Primitive)), key=lambda each: each.symbol)
    return rust.crate(functions, port, told())


def export(
    folder: Path, architectures: Iterable[str], further: Mapping[str, str] | None = None, layout: Layout = LAYOUT
) -> dict[str, int]:
    """Put everything into a folder: name of each file to its bytes. `layout` is a mode's (`modes`).

    Architectures that LLVM does not have are for C only. `further` are files beside, by name: `crate_files`.
    As `write`.
    """
    content = _content(list(dict.fromkeys(architectures)), layout)
    return write(folder, content | {name: text.encode() for name, text in (further or {}).items()})


def write(folder: Path, content: Mapping[str, bytes]) -> dict[str, int]:
    """Put files into a folder, which is new, empty, or an older export's: name of each to its bytes.

    InputError: the folder cannot be had, and is as it was.
    """
    place = folder.resolve()
    try:
        older = {path.name for path in place.iterdir()} if place.exists() else set[str]()
        if older - _NAMES:
            raise InputError(str(folder), 0, f"it holds something else, {min(older - _NAMES)}", "name a new folder")
        with tempfile.TemporaryDirectory(prefix=".export.", dir=place if place.exists() else place.parent) as work:
            made = Path(work, "made")
            made.mkdir()
            for name, data in content.items():
                (made / name).parent.mkdir(exist_ok=True)
                (made / name).write_bytes(data)
            if place.exists():
                for name in content:
                    (place / name).parent.mkdir(exist_ok=True)
                    os.replace(made / name, place / name)
                for name in _FILES - content.keys():
                    (place / name).unlink(missing_ok=True)
            else:
                made.rename(place)
    except OSError as error:
        raise InputError(str(folder), 0, error.strerror or str(error)) from None
    return {name: len(content[name]) for name in sorted(content)}


PORT = Path(__file__).parent / "c" / "port.c"
LOADED = {"coldfire": Path(__file__).parent / "c" / "coldfire.c"}
"""By architecture whose TLB software loads, the file that does."""
CONFIG = "config.h"
"""The file that has a profile's configuration (`facade.c_config`)."""

_FILES = {
    "README.md",
    CONFIG,
    PORT.name,
    *(path.name for path in LOADED.values()),
    "kernmalloc.c",
    "kernmalloc.h",
    entries_header.NAME,
    *rust.FILES,
    *(name for it in TARGETS for name in archive.names(it)),
}
_NAMES = {name.partition("/")[0] for name in _FILES}


def _content(architectures: list[str], layout: Layout) -> dict[str, bytes]:
    """Name of each file to its bytes."""
    content = {name: text.encode() for name, text in c_files(layout).items()}
    content[PORT.name] = (LICENCE + PORT.read_text()).encode()
    content["README.md"] = readme(architectures).encode()
    formats = [format for name in architectures for format in ARCHES[name].formats if format.has_tables]
    if formats and layout == LAYOUT:
        content[entries_header.NAME] = (LICENCE + entries_header.entries_header(formats)).encode()
    for name in architectures:
        if name in LOADED and layout == LAYOUT:
            content[LOADED[name].name] = (LICENCE + LOADED[name].read_text()).encode()
        if name in TARGETS:
            content |= archive.libraries(name, layout)
    return content


def build_command(compiler: Compiler) -> tuple[str, ...]:
    """What makes an object of kernmalloc.c; the file and its place follow."""
    return (*compiler.command, *FLAGS, *(("-DKM_CPUS=1",) if compiler.prefix in LIBRARY else ()), "-c")


def readme(architectures: Iterable[str]) -> str:
    """What to compile with, and what a port supplies."""
    wanted = list(architectures)
    libraries = [
        f"    {library:33} {TARGETS[name].triple}"
        for name in wanted
        if name in TARGETS
        for library in archive.names(name)
    ]
    commands = [
        f"    {' '.join(build_command(compiler))} kernmalloc.c" for it in wanted for compiler in ARCHES[it].compilers
    ]
    helpers = [f"    {prefix:24} {' '.join(names) or 'nothing'}" for prefix, names in LIBRARY.items()]
    return _README.format(
        libraries=_AS_LIBRARY.format("\n".join(libraries)) if libraries else "",
        commands="\n".join(commands),
        helpers="\n".join(helpers),
    )


_AS_LIBRARY = """
## As a library

{}

A library needs no other. It is linked as it is into kernels and into processes, at any address (`-pie` or not, by GNU
ld or lld). Each function is a section: with `-Wl,--gc-sections` what nobody calls is left out. Its code uses general
registers only. It has weak primitives of its architecture for one processor: whatever your port defines takes their
place.
"""

_README = """# kernmalloc

A kernel memory manager: the frames of a machine, the page tables of the kernel's window, and a heap. Its state lies in
the memory that it is given; it has no data of its own.

    kernmalloc.h             records, statuses, the entries, what a port supplies, and the interface, in pointers
    kernmalloc_entries.h     page tables of the architectures, field by field, if the tables are ours
    kernmalloc.c             the kernel as C11
    port.c                   a port to fill in: what has an obvious answer is there
    coldfire.c               the TLB of a ColdFire V4e, if you exported for it
    config.h                 what a profile says of your kernel, if you exported with --kernel
    libkernmalloc-*.a        the kernel as a library, ready to be linked

The C files may be used under Apache-2.0 or under MIT.
{libraries}
## As C

{commands}

clang and tcc take it, too. `-DKM_CPUS=1` is for one processor: loads and stores stand in for atomic operations. tcc
needs it, and so do processors of 32 bits without atomic operations of 64 bits. A record may lie at address 0 before
paging is on, hence `-fno-delete-null-pointer-checks`. gcc may call `memset` and `memcpy`, unless it is given
`-fno-tree-loop-distribute-patterns`. `-fwrapv` and `-fno-strict-aliasing` are not needed.

With these commands a gcc for 32 bits calls libgcc for some arithmetic of 64 bits:

{helpers}

A port supplies the functions that the header lists under "The port", each with what holds before and after, and
`km_port_processor`. `port.c` has them for one processor, all weak: what you define takes their place. A port may
define `KM_POISON` and `KM_UNPOISON`, which tell a sanitizer of memory that nobody may touch.

## Booting

1. Begin with `struct km_config config = km_usual_config();`, or with `km_profile_config(frames)` of `config.h`, and say
   the format, the window, the image, `cpus`, the ranges of memory (`struct km_boot_range`; `km_ranges_*` make them of
   what a loader hands over). What is 0 has its usual value. `km_area_bytes(&config)` says how much RAM the boot area
   takes.
2. Find that much RAM, take it and the image out of the ranges, and name it in `area_pa` and `area_room`.
3. Call `km_init(&config, phys)`, where physical address 0 is at `phys`. It writes the first page tables and returns the
   physical address of their root. If `config.upper` names the root of tables that you have, the window is hung into
   them. A status (`km_failed`) says what is wrong, and nothing is written.
4. Turn paging on, and call `km_start(&config)`: the first processor's `struct km_cpu`, which `km_port_processor` gives
   from now on (`port.c`: put it into `km_processor`). NULL refuses the machine; `km_call_start` says why.
   `km_cpu_online(n)` has the record of processor n.
5. Call `km_malloc(100)`.
"""
