"""Processors that churn: each on its own, and two for real."""

import threading
import time

import pytest
from effort import EFFORT
from small_machines import MIB, MODES, conserved, machine

import kernmalloc.drivers.churn  # noqa: F401 (the twin interprets what has been imported)
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile

SECONDS = min(5 * EFFORT, 60)
WORDS = 1024


def boot(mode: str, cpus: int, size: int = 16 * MIB) -> Kernel:
    return Kernel.boot(machine((0, size)), Profile.load("eros2"), mode, cpus=cpus)


def box(kernel: Kernel) -> int:
    """An empty box."""
    return kernel.call("malloc_zeroed", 8 * WORDS)


def test_lives_churn_alike():
    """Two processors in turn, each freeing what the other allocated: the same memory in every life."""
    memories = []
    for mode in MODES:
        with boot(mode, 2, 8 * MIB) as kernel:
            at = box(kernel)
            for seed in range(1, 9):
                assert kernel.cpu(seed % 2).call("churn", at, WORDS, seed, 400) == 0
            memories.append(kernel.snapshot())
            conserved(kernel)
    assert memories[0] == memories[1] == memories[2]


@pytest.mark.parametrize("frames", [False, True])
def test_pairs_leave_nothing(frames):
    """A frame or a block got and put back comes out of the stock or magazine, and goes back there."""
    with boot("raw", 1) as kernel:
        call = ("churn_frames", 1000) if frames else ("churn_blocks", 100, 1000)
        assert kernel.call(*call) == 0
        before = kernel.snapshot()
        assert kernel.call(*call) == 0
        assert kernel.snapshot() == before
        conserved(kernel)


def test_two_threads_E26_E31():
    """Two processors allocate and free frames and heap blocks at once, each other's too; every block has one owner at
    a time, every frame comes back, every invariant holds."""
    with boot("raw", 2, 64 * MIB) as kernel:
        at = box(kernel)
        kernel.drain()
        free, backed = kernel.frames_by_type()["free"], kernel.heap.backed
        done: list[int] = []
        failed: list[int] = []
        end = time.monotonic() + SECONDS

        def churn(number: int) -> None:
            cpu, seed = kernel.cpu(number), 1 + number
            while time.monotonic() < end and not failed:
                result = cpu.call("churn", at, WORDS, seed, 100_000)
                done.append(number)
                seed += 2
                if result < 0:
                    failed.append(result)

        threads = [threading.Thread(target=churn, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert set(done) == {0, 1}
        conserved(kernel)
        assert kernel.cpu(1).call("churn_end", at, WORDS) == 0
        conserved(kernel)
        for number in (0, 1):
            kernel.cpu(number).drain()
        conserved(kernel)
        assert kernel.frames_by_type()["free"] == free
        assert kernel.heap.backed == backed
        assert not kernel.view.stocks().any()
        print(f"{len(done) / SECONDS / 10:.1f} million steps a second")


def test_processors_have_their_own_handles():
    """A kernel has as many processors as it was booted for."""
    with boot("soft", 2) as kernel:
        pages = [kernel.cpu(1).frame_get() for _ in range(3)]
        drawn = kernel.view.cpus()["drawn"].tolist()
        assert drawn[0] == 0 and kernel.view.stocks().tolist() == [[0, 0], [drawn[1] - 3, 0]]
        for pfn in pages:
            kernel.frame_put(pfn)
        assert kernel.view.stocks().tolist() == [[3, 0], [drawn[1] - 3, 0]]
        for number in (-1, 2):
            with pytest.raises(IndexError, match="booted for 2"):
                kernel.cpu(number)
        conserved(kernel)
