"""The interface in C: what `c/interface.h` has of functions, as far as a kernel's entries go.

A part of it, which is a comment and what follows up to the next empty line at the margin, is left out if it names an
entry, a record or a field of the kernel's record that this kernel does not have.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from kernmalloc.lang.c.names import snake
from kernmalloc.lang.c.records import closure
from kernmalloc.lang.functions import REGISTRY, signature, symbol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernmalloc.lang.functions import Function

WRITTEN = Path(__file__).parent / "c" / "interface.h"


def interface(functions: Iterable[Function]) -> str:
    """The interface of the entries among functions."""
    entries = [function for function in functions if REGISTRY[function]]
    taken = (kind for entry in entries for kind in (*signature(entry).arguments, signature(entry).result))
    records = closure(kind for kind in taken if kind)
    known = {symbol(entry) for entry in entries} | {f"struct km_{snake(record.name)}" for record in records}
    known |= {f"kern->{name}" for record in records if record.name == "Kern" for name in record.fields}
    parts = re.split(r"\n\n(?=\S)", WRITTEN.read_text().strip())
    return "\n\n".join(part for part in parts if _named(part) <= known)


def _named(part: str) -> set[str]:
    """The entries, records and fields that a part names."""
    return set(re.findall(r"\bkm_call_\w+|\bstruct km_\w+|\bkern->\w+", part))
