"""What the boot fixes for good, sealed (`core/seals`): the constants of the kernel's record and of the processors'; of
the boot area what the loader told, the page tables above the leaf tables, the leaf tables that map the image and the
area, and the class table."""

from __future__ import annotations

from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.kernel.core.seals import mixed, mixed_words  # noqa: F401 (`sealer` names it)
from kernmalloc.kernel.frames.claims import Stalls  # noqa: F401 (constants lie in it)
from kernmalloc.kernel.heap.malloc import CLASS_TABLE_BYTES
from kernmalloc.kernel.map.kmap import directory_at, spans_of
from kernmalloc.kernel.pages.pages import Pages  # noqa: F401 (constants lie in it)
from kernmalloc.lang import kernel, sealer
from kernmalloc.lang.status import OK

seal_cpu = sealer(Cpu, namespace=globals())
seal_kern = sealer(Kern, namespace=globals())


@kernel
def _seal_told(kern: Kern) -> int:
    """The seal of what the loader told, and of the page tables."""
    seal = mixed_words(1, kern.info.addr, kern.cpus.addr)
    seal = mixed_words(seal, kern.root, kern.directory)
    return mixed_words(seal, directory_at(kern, spans_of(kern)), kern.static_end)


@kernel
def seal_area(kern: Kern) -> int:
    """The seal of the boot area, found by the constants of the kernel's record."""
    classes = kern.class_of.addr
    return mixed_words(_seal_told(kern), classes, classes + ((CLASS_TABLE_BYTES + 7) & -8))


@kernel
def boot_seal(kern: Kern) -> int:
    """Seal what is constant from now on. Whoever changes any of it does so again."""
    kern.seal = seal_kern(kern)
    kern.area_seal = seal_area(kern)
    return OK
