"""What a sanitizer watches, in a process of its own: `sanitized.py WHAT FLAGS...`.

The kernel runs as gcc's C with these flags. Its window lies at 1 GiB, where sanitizers leave room for a program:
their shadow covers the windows of the shipped kernels. A planted error is made by C of a caller, built alike.
"""

import atexit
import ctypes
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gcc_kernel
import loader_maps
import numpy
from effort import EFFORT
from msgspec.structs import replace
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.traces import read_trace
from kernmalloc.kernel.loaders.found import LoaderMap, LoaderRange
from kernmalloc.lang import objects
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


def loaders(flags: list[str]) -> None:
    """What loaders hand over, whole and with bytes changed, where memory ends with it or in it."""
    rng = random.Random(0)
    library = objects.load("raw")
    for name in ("multiboot2", "efi", "fdt", "linux"):
        pieces, args = structures()[name]
        for _ in range(2000 * EFFORT):
            data = bytearray(pieces[args[0]])
            for _ in range(rng.randrange(4)):
                at = rng.randrange(len(data) - 3)
                data[at : at + 4] = rng.choice((rng.randbytes(4), bytes(4), b"\xff" * 4))
            if rng.randrange(2):
                del data[rng.randrange(len(data)) :]
            memory, ranges = (
                ctypes.create_string_buffer(bytes(data), max(len(data), 1)),
                numpy.zeros(64, LoaderRange.dtype),
            )
            map = numpy.zeros(1, LoaderMap.dtype)
            map["direct"], map["reach"] = ctypes.addressof(memory) - args[0], args[0] + len(data)
            map["ranges"], map["room"] = ranges.ctypes.data, len(ranges)
            library.function(f"ranges_{name}")(map.ctypes.data, *args)


def structures() -> dict:
    """A structure of each protocol. What it leads to is elsewhere, where nothing can be read."""
    from kernel.loaders.test_fdt import BOARD
    from kernel.loaders.test_protocols import STRUCTURES

    return {**STRUCTURES, "fdt": ({loader_maps.AT: BOARD}, (loader_maps.AT,))}


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
    with gcc_kernel.used(*options):
        globals()[what](options)
    print("done")
