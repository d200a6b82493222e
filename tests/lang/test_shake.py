"""Shaking finds what entries lead to, and the fields of records that are named on the way."""

from __future__ import annotations

from kernmalloc.kernel.core import locks
from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.kernel.heap import bins, malloc
from kernmalloc.lang import shake
from kernmalloc.lang.pipeline import import_kernel

import_kernel()


def test_only_what_entries_lead_to_is_left() -> None:
    assert shake.reachable([bins.bin_holding]) == [bins.bin_of, bins.bin_holding]
    found = shake.reachable([malloc.page_at, bins.unfile_run])
    assert {bins.record_of, bins.clear_run, malloc.page_at} <= set(found) and malloc.malloc not in found


def test_fields_are_those_that_functions_name() -> None:
    found = shake.fields(shake.reachable([malloc.page_at, bins.va_of]), [Kern, Cpu])
    assert found == {"Kern": ("page_shift", "heap", "top"), "Cpu": ()}


def test_an_offset_names_its_field() -> None:
    """Locks are taken by their address."""
    found = shake.fields(shake.reachable([locks.enter, locks.leave]), [Kern, Cpu])
    assert found == {"Kern": ("lock",), "Cpu": ("kern", "id", "depth", "flags")}


def test_equations_and_seals_name_no_field() -> None:
    from kernmalloc.kernel.boot.seal import seal_cpu
    from kernmalloc.kernel.check.check import verify_cpu

    assert shake.fields([seal_cpu, verify_cpu], [Cpu]) == {"Cpu": ()}
