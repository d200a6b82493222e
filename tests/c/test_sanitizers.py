"""Sanitizers watch the kernel's C: they have nothing to report of it, and report what is planted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOOLS = {
    "memory": ("libasan.so", ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]),
    "thread": ("libtsan.so", ["-fsanitize=thread"]),
}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",  # Python's
    "TSAN_OPTIONS": f"suppressions={HERE / 'tsan.supp'}:history_size=7:halt_on_error=1",
}


def watched(tool: str, what: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """What a sanitizer says of something that `sanitized.py` does."""
    runtime, needed = TOOLS[tool]
    env = {**os.environ, **OPTIONS, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    env["LD_PRELOAD"] = library(runtime)
    command = [sys.executable, str(HERE / "sanitized.py"), what, *needed, *flags]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def library(name: str) -> str:
    """Where gcc has a library; skips if it has none."""
    try:
        done = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("gcc is not installed")
    path = done.stdout.strip()
    if not os.path.isabs(path):
        pytest.skip(f"gcc has no {name}")
    return path


@pytest.mark.parametrize(
    "tool, what",
    [
        ("memory", "trace"),
        ("memory", "loaders"),
        pytest.param("thread", "two", marks=pytest.mark.nightly),
        pytest.param("memory", "storm", marks=pytest.mark.nightly),
        pytest.param("memory", "two", marks=pytest.mark.nightly),
        pytest.param("memory", "smp", marks=pytest.mark.nightly),
        pytest.param("thread", "trace", marks=pytest.mark.nightly),
        pytest.param("thread", "storm", marks=pytest.mark.nightly),
        pytest.param("thread", "smp", marks=pytest.mark.nightly),
    ],
)
def test_nothing_to_report(tool: str, what: str) -> None:
    """The replay of a trace, what loaders hand over, the storm and two threads."""
    library("libubsan.so")
    done = watched(tool, what)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("what", ["overrun", "freed"])
def test_free_memory_is_forbidden(what: str) -> None:
    """A write past a block into a free slot, and into pages that were freed. What is allocated may be written to."""
    done = watched("memory", what)
    assert done.stdout == "so far, so good\n" and done.returncode != 0
    assert "ERROR: AddressSanitizer: use-after-poison" in done.stderr and "WRITE of size 1" in done.stderr
    assert " in fill " in done.stderr


def test_a_lock_that_is_none_is_a_race() -> None:
    """Two threads at a kernel for one processor, whose lock is plain loads and stores."""
    done = watched("thread", "two", "-DKM_CPUS=1")
    assert "WARNING: ThreadSanitizer: data race" in done.stderr and done.returncode != 0
