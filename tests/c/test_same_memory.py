"""The kernel as C does the same as the kernel in every other life, byte by byte."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gcc_kernel
import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel.test_lives import LENGTH, MACHINES, OPERATIONS, Replay, differing, in_every_mode
from small_machines import conserved

from kernmalloc.build import shared

TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not gcc_kernel.installed(), reason="gcc is not installed")


@pytest.fixture(scope="module")
def gcc() -> Iterator[None]:
    """Raw kernels are gcc's."""
    with gcc_kernel.used():
        yield


@pytest.mark.parametrize("name", MACHINES)
def test_same_operations_same_memory(gcc: None, name: str) -> None:
    """Boot, then sequences of operations: equal results and memory, every invariant, no frame lost."""
    kernels = in_every_mode(name)
    assert isinstance(kernels[0].handle.life.library, shared.Library)
    booted = [kernel.snapshot() for kernel in kernels]
    assert differing(booted[0], booted[1]) == differing(booted[0], booted[2]) == []

    @settings(max_examples=8 * EFFORT)
    @given(operations=st.lists(OPERATIONS, min_size=LENGTH, max_size=LENGTH))
    def same(operations: list[tuple]) -> None:
        replay = Replay()
        for kernel, memory in zip(kernels, booted, strict=True):
            kernel.restore(memory)
        for operation in operations:
            name, args = replay.arguments(operation)
            results = [kernel.call(name, *args) for kernel in kernels]
            assert results[0] == results[1] == results[2], (name, args, results)
            replay.note(name, args, results[0])
        for kernel in kernels:
            conserved(kernel)
        raw, soft, twin = (kernel.snapshot() for kernel in kernels)
        assert differing(raw, soft) == differing(raw, twin) == []

    try:
        same()
    finally:
        for kernel in kernels:
            kernel.close()


@pytest.mark.nightly
def test_what_is_tested_of_raw_holds_for_gcc() -> None:
    """The tests that hold raw against the other lives, and those of processors and pages, with gcc's kernel as raw."""
    files = (
        "kernel/test_lives.py",
        "kernel/test_smoke.py",
        "machine/test_lives.py",
        "drivers",
        "facade/test_pages.py",
        "sim",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "gcc_kernel", "-p", "no:cacheprovider", *files]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    env.pop("KERNMALLOC_EFFORT", None)
    done = subprocess.run(command, cwd=TESTS, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
