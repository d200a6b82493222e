"""Hit rates of the kernel's ageing (`kernel/pages/reclaim.py`) against a plain clock, on the same touches.

    python benchmarks/ageing.py [TOUCHES]

A process touches pages through its mappings, so that use shows as accessed bits only. The clock has as many frames as
the kernel had pages in its cache in the end, and sees every touch as a bit, too. Cold misses count for both.
"""

import sys
import tempfile

import numpy

from kernmalloc.course.ageing import clock
from kernmalloc.facade.kernel import Kernel
from kernmalloc.sim.crowd import Crowd
from kernmalloc.sim.run import run
from kernmalloc.sim.scenario import Scenario

TOUCHES = 300_000
SHARES = (5, 10, 20, 50)  # percent of the pages that fit
FRAMES = 1340  # about what 8 MiB leave to pages
LOADS = {
    "zipf": "zipf = 1.0",
    "zipf + scan": "zipf = 0.7\nscan = 0.3",
    "loop, 120 % of memory": f"loop = 1.0\nloop_pages = {FRAMES * 6 // 5}",
    "mixed": f"zipf = 0.5\nloop = 0.2\nloop_pages = {FRAMES // 2}\nscan = 0.2",
}


def scenario(load: str, share: int, touches: int) -> Scenario:
    """One process with that load on a machine that holds `share` percent of its pages."""
    return Scenario.parse(f"""
summary = "ageing"
touches = {touches}
ram = "8 MiB"
[source]
latency = 1
depth = 64
[[processes]]
name = "process"
pages = {FRAMES * 100 // share}
exponent = 0.9
{load}
""")


def trace(wanted: Scenario) -> numpy.ndarray:
    """The pages that the process touches, in order."""
    with (
        tempfile.NamedTemporaryFile() as file,
        Kernel.boot(wanted.machine_made(), wanted.profile()) as kernel,
        kernel.pages.source(file.name, wanted.pages) as source,
    ):
        crowd = Crowd(wanted, kernel, [kernel], source, timed=True)
        pages = numpy.zeros(wanted.touches, numpy.uint32)
        kernel.run("pages_chosen", crowd.processes.ctypes.data, pages.ctypes.data, len(pages))
        return pages


def main(touches: int) -> None:
    """Print the table."""
    print(f"{'pages in memory':22}" + "".join(f"{share:>16} %" for share in SHARES))
    for name, load in LOADS.items():
        cells = []
        for share in SHARES:
            wanted = scenario(load, share, touches)
            done = run(wanted)
            of_clock = clock(trace(wanted).tolist(), done.cached) / touches
            cells.append(f"{done.hit_rate:8.1%} ({of_clock:6.1%})")
        print(f"{name:22}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
    print("kernel (clock)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TOUCHES)
