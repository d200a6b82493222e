"""Architectures: one module for each family, found by being here.

A module makes one `Arch` (`model`) or several. To add an architecture is to add a module and its tests: the kernel's
page-table code, profiles, freestanding objects and the host's own tuning all take what is registered here.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from kernmalloc.machine.arch.model import ATTRIBUTE_NAMES, Arch

if TYPE_CHECKING:
    from kernmalloc.lang.target import Target
    from kernmalloc.machine.arch.model import Format

__all__ = ["ARCHES", "ATTRIBUTE_NAMES", "FORMATS", "TARGETS"]


def _found() -> list[Arch]:
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return [value for module in modules for value in vars(module).values() if isinstance(value, Arch)]


ARCHES: dict[str, Arch] = {arch.name: arch for arch in _found()}
"""Every architecture, by its name."""

FORMATS: dict[str, Format] = {
    format.name: format
    for format in sorted((format for arch in ARCHES.values() for format in arch.formats), key=lambda each: each.number)
}
"""Formats of page tables by the name that profiles use, in the order of the kernel's numbers."""

TARGETS: dict[str, Target] = {arch.name: arch.target for arch in ARCHES.values() if arch.target}
"""What freestanding objects are made for, by the architecture's name."""
