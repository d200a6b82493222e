"""The protocols by which boot loaders hand over a memory map: name of each, and the entry that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.kernel.loaders.efi import ranges_efi
from kernmalloc.kernel.loaders.fdt import ranges_fdt
from kernmalloc.kernel.loaders.limine import ranges_limine
from kernmalloc.kernel.loaders.linux import ranges_linux
from kernmalloc.kernel.loaders.multiboot import ranges_multiboot
from kernmalloc.kernel.loaders.multiboot2 import ranges_multiboot2
from kernmalloc.kernel.loaders.pvh import ranges_pvh

if TYPE_CHECKING:
    from collections.abc import Callable

PROTOCOLS: dict[str, Callable[..., int]] = {
    "multiboot": ranges_multiboot,
    "multiboot2": ranges_multiboot2,
    "limine": ranges_limine,
    "efi": ranges_efi,
    "fdt": ranges_fdt,
    "pvh": ranges_pvh,
    "linux": ranges_linux,
}
