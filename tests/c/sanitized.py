"""What a sanitizer watches, in a process of its own: `sanitized.py WHAT FLAGS...`.

The kernel runs as gcc's C with these flags. Its window lies at 1 GiB, where sanitizers leave room for a program:
their shadow covers the windows of the shipped kernels. A planted error is made by C of a caller, built alike.
"""

import atexit
import ctypes
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gcc_kernel
from msgspec.structs import replace
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.traces import read_trace
from kernmalloc.lang.status import OK
from kernmalloc.sim import run
from kernmalloc.sim.replay import replay
from kernmalloc.sim.scenario import Scenario

TRACE = Path(__file__).parents[1] / "data" / "traces" / "gcc.tracefs.gz"
CALLER = """
#include <stdint.h>
void fill(int64_t va, int64_t from, int64_t bytes)
{
	for (int64_t at = from; at < from + bytes; at++)
		((volatile char *)(uintptr_t)va)[at] = 1;
}
"""


def profile() -> Profile:
    """A kernel whose window lies where a sanitizer leaves room."""
    plain = Profile.load("eros2")
    return replace(plain, va=replace(plain.va, base=1 << 30))


def caller(flags: list[str]) -> ctypes.CDLL:
    """Somebody who uses the kernel's memory."""
    work = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, work)  # a report reads what is there
    (work / "caller.c").write_text(CALLER)
    command = ["gcc", "-O1", "-g", "-fPIC", "-shared", *flags, "caller.c", "-o", "caller.so"]
    subprocess.run(command, check=True, cwd=work)
    library = ctypes.CDLL(str(work / "caller.so"))
    library.fill.argtypes = [ctypes.c_int64] * 3
    return library


def trace(flags: list[str]) -> None:
    """The replay of a trace."""
    done = replay(read_trace(TRACE), profile())
    assert done.held, done.failure


def storm(flags: list[str]) -> None:
    """The shipped scenario, in turn."""
    crowd("storm", threads=False)


def smp(flags: list[str]) -> None:
    """The shipped scenario of several processors, each a thread."""
    crowd("smp", threads=True)


def crowd(name: str, threads: bool) -> None:
    """A short run of a scenario."""
    Scenario.profile = lambda self: replace(profile(), bank=replace(profile().bank, lenient=False, withheld=1024))
    done = run.run(Scenario.load(name).with_changes(touches=300_000), "raw", threads)
    assert done.held, done.failure


def two(flags: list[str]) -> None:
    """Two threads, each a processor, that free each other's blocks and frames."""
    words = 256
    with Kernel.boot(machine((0, 16 * MIB)), profile(), "raw", cpus=2) as kernel, ThreadPoolExecutor(2) as pool:
        box = kernel.call("malloc_zeroed", 8 * words)
        done = [pool.submit(kernel.cpu(number).call, "churn", box, words, number + 1, 100_000) for number in range(2)]
        assert [thread.result() for thread in done] == [OK, OK]
        assert kernel.call("churn_end", box, words) == OK
        conserved(kernel)


def overrun(flags: list[str]) -> None:
    """A block that is written past its end, into a free slot."""
    user = caller(flags)
    with Kernel.boot(machine((0, 8 * MIB)), profile()) as kernel:
        first, second = sorted(kernel.malloc(100) for _ in range(2))
        kernel.free(second)
        user.fill(first, 0, kernel.size_of(first))
        print("so far, so good", flush=True)
        user.fill(first, 0, kernel.size_of(first) + 1)


def freed(flags: list[str]) -> None:
    """Pages that are written after they were freed."""
    user = caller(flags)
    with Kernel.boot(machine((0, 8 * MIB)), profile()) as kernel:
        blocks = [kernel.malloc(100_000) for _ in range(2)]
        user.fill(blocks[0], 0, 100_000)
        print("so far, so good", flush=True)
        kernel.free(blocks[0])
        user.fill(blocks[0], 50_000, 1)


if __name__ == "__main__":
    what, *options = sys.argv[1:]
    gcc_kernel.use(*options)
    globals()[what](options)
    print("done")
