"""Reuse distances of a kernel in mode soft: how often TLBs of other sizes would have missed."""

import numpy

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.tlb import STRUCTURES
from kernmalloc.machine import distances
from kernmalloc.machine.distances import COUNTED, PLACES
from kernmalloc.machine.lives import LifeError, SoftLife


class Distances:
    """What is counted from now on, up to the next `Kernel.tlb_reset`, on every processor by itself. Locked entries take
    no part. LifeError where no TLB is modelled: in other modes than soft, and in a direct map."""

    def __init__(self, kernel: Kernel) -> None:
        life = kernel.handle.life
        if not isinstance(life, SoftLife) or kernel.tlb() is None:
            raise LifeError(f"mode {kernel.mode} has no TLBs of this kernel: only soft has, of one with page tables")
        self._records = numpy.zeros(int(kernel.layout["cpus"]), distances.Distances.dtype)
        life.watch(self._records)

    def misses(self, entries: int) -> dict[str, int]:
        """How many accesses to data would have missed in a fully associative TLB of so many entries, 1 to PLACES, that
        replaces what was used longest ago; by structure."""
        near = self._records["near"].reshape(-1, COUNTED, PLACES).sum(axis=0)
        missed = near[:, entries:].sum(axis=1) + self._records["far"].sum(axis=0)
        return dict(zip(STRUCTURES, missed.tolist(), strict=True))
