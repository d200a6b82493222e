"""The exported C of this interpreter's layout: the kernel's functions, and what its header tells beside."""

from __future__ import annotations

from kernmalloc.build.interface import interface
from kernmalloc.kernel import devices
from kernmalloc.kernel.boot.config import LAYOUT_SHIFT, Config
from kernmalloc.kernel.check.check import RECORDS
from kernmalloc.kernel.core import kern
from kernmalloc.kernel.loaders import found
from kernmalloc.lang import c
from kernmalloc.lang.c.names import Constant, snake
from kernmalloc.lang.functions import REGISTRY, Function, group
from kernmalloc.machine.arch import ATTRIBUTE_NAMES, FORMATS

LICENCE = "/* SPDX-License-Identifier: Apache-2.0 OR MIT */\n"


def written() -> dict[str, str]:
    """kernmalloc.c and kernmalloc.h."""
    functions = kernel_functions()
    texts = c.source(functions, "bare", told(), interface(functions))
    return {name: LICENCE + text for name, text in texts.items()}


def kernel_functions() -> list[Function]:
    """Every function of the kernel's rooms."""
    return [f for f in REGISTRY if f.__module__.startswith("kernmalloc.kernel.") and group(f) == "kernel"]


def told() -> dict[str, list[Constant]]:
    """What the header tells beside statuses, records and entries."""
    own = {
        "What a frame is.": (kern, "FREE HEAP MAPPING PAGE DMA DEVICE RESERVED"),
        "What a region is.": (kern, "RAM ROM NVRAM DEVICE_MEMORY RESERVED_MEMORY CARVED_MEMORY"),
        "Who publishes a device's memory.": (devices, "ANYONE LAST_WORDS"),
        "Whose page tables the window's are.": (kern, "OWNER GUEST SHADOW ONLY_FRAMES"),
        "How far the boot has come.": (kern, "DONATE TABLE MARK LIST REST OBJECTS UP"),
        "What a range is that a loader tells of.": (
            found,
            "RANGE_RAM RANGE_SOFT RANGE_RESERVED RANGE_NVRAM RANGE_ROM RANGE_FIRMWARE RANGE_TABLE RANGE_INITRD "
            "RANGE_IMAGE",
        ),
    }
    made = {
        "The number of the layout of all records, as the kernel's begins.": {"LAYOUT": kern.Kern.layout},
        "What a configuration begins with.": {"VERSION": kern.VERSION << LAYOUT_SHIFT | Config.layout},
        "Kinds of records, as a finding names them.": {f"CHECKED_{snake(r.name)}": n for n, r in enumerate(RECORDS)},
        "Formats of page tables.": {f"FORMAT_{name}": format.number for name, format in FORMATS.items()},
        "How a device's page is cached.": {f"CACHE_{name}": number for number, name in enumerate(ATTRIBUTE_NAMES)},
    }
    told = {
        title: [Constant(module.__name__, name, getattr(module, name)) for name in names.split()]
        for title, (module, names) in own.items()
    }
    for title, numbers in made.items():
        names = {name.upper().replace("-", "_"): number for name, number in numbers.items()}
        told[title] = [Constant("kernmalloc.machine.arch", name, number) for name, number in names.items()]
    return told
