"""usage: what the heap has and could have, against what the facade recounts."""

import random
import struct

import pytest
from heap_model import PAGE
from small_machines import MIB, conserved

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.heap.usage import Usage
from kernmalloc.lang import failed
from kernmalloc.lang.status import OK


def usage(kernel: Kernel, into: int) -> dict[str, int]:
    assert kernel.call("usage", into) == OK
    return dict(zip(Usage.fields, struct.unpack("<7q", kernel.view.peek(into, Usage.size)), strict=True))


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_usage_against_a_recount(boot, mode):
    kernel = boot((0, 16 * MIB), mode=mode)
    into, chance, held, most = kernel.malloc(Usage.size), random.Random(3), [], 0
    for _ in range(60):
        if held and chance.random() < 0.5:
            kernel.free(held.pop(chance.randrange(len(held))))
        else:
            held.append(kernel.malloc(chance.choice((100, 3000, 40_000, 300_000))))
        told, kern = usage(kernel, into), kernel.view.kern
        live = int(kern["backed"] - kern["idle"] - kern["kept"]) * PAGE
        most = max(most, live)
        assert told["live"] == live <= told["peak"] and told["peak"] >= most
        assert told["backed"] == int(kern["backed"]) * PAGE and told["bound"] == int(kern["heap_pages"]) * PAGE
        assert told["free"] == int(kern["free_frames"] - kern["stocked"]) and told["frames"] == int(kern["frames"])
        assert kernel.check()
    for va in (into, *held):
        kernel.free(va)
    conserved(kernel)


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_what_is_told_as_largest_can_be_had(boot, mode):
    """Nearly: growing takes frames for tables and records, too. Nothing longer can be had."""
    kernel = boot((0, 16 * MIB), mode=mode)
    into, chance = kernel.malloc(Usage.size), random.Random(4)
    for _ in range(20):
        for _ in range(3):
            kernel.malloc(chance.randrange(1, 60) * PAGE)
        largest = usage(kernel, into)["largest"]
        assert failed(kernel.call("malloc", largest + 17 * PAGE))  # a growth step may be idle, and be given back for it
        va = kernel.malloc(largest - largest // 48 - 8 * PAGE)
        kernel.free(va)
