"""Flips, tried by compiled code in a process of its own: what becomes of a kernel of which one bit is wrong.

`python tests/flips.py BITS OUTCOMES` tries the bits in one file, 8 bytes each, and leaves a byte for each in another.
"""

import mmap
import os
import signal
import sys
import time
import traceback

import numpy as np
from msgspec.structs import replace
from page_source import Source
from small_machines import MIB, machine

import kernmalloc.drivers.hosted_flips as driver
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Bytes, Devices, Heap, Image, Profile, Window
from kernmalloc.kernel.core.kern import OWN_CACHES
from kernmalloc.kernel.heap.bins import OWN, SLAB
from kernmalloc.kernel.heap.caches import REGION_CACHE
from kernmalloc.kernel.heap.slabs import SlabPage

PAGE = 4096
FRAMES = 64  # that the kernel manages
BOOT_FRAMES = 1 + 46  # image and boot area
DEVICE = 0xE0000000
IN_CHECK, IN_USE, HANGS = 16, 17, 18
"""What else may become of a trial: it ends the process, in the first check or later, or has no end."""
PATIENCE = 2.0  # seconds of a trial


def profile() -> Profile:
    """A kernel with small windows, and one type of objects."""
    eros = Profile.load("eros2")
    return replace(
        eros,
        va=Window(base=Bytes(0xD0000000), size=Bytes(12 * MIB), windows=Bytes(65536)),
        image=Image(base=Bytes(MIB), size=Bytes(PAGE)),
        heap=Heap(growth_frames=4),
        objects=(replace(eros.objects[0], last_words=0),),
        devices=Devices(last_words=0, last_ranges=0, last_maps=0),
    )


def small(mode: str) -> Kernel:
    """A kernel that manages 64 frames, for two processors."""
    return Kernel.boot(machine((MIB, (BOOT_FRAMES + FRAMES) * PAGE)), profile(), mode, cpus=2)


def furnish(kernel: Kernel) -> tuple[int, int, list[int]]:
    """Let a kernel have a device, a source of pages, an address space and threads: its ring, the space, the threads."""
    kernel.devices.publish(DEVICE, 64 * PAGE, 64)
    for pfn in (0, 3, 43):
        kernel.devices.get(DEVICE // PAGE + pfn)
    source = Source(kernel)
    umap = kernel.call("umap_make")
    for oid in (40, 41, 42):
        assert source.call("page_get", oid) > 0
    for oid in (40, 41):
        assert source.call("umap_map", umap, oid << 12, oid, oid & 1) == 0
    threads = [kernel.call("thread_make", 0) for _ in range(3)]
    kernel.cpu(1).call("thread_run", threads[0])
    kernel.cpu(1).frame_put(kernel.cpu(1).frame_get())
    return source.ring, umap, threads


class Scene:
    """A kernel of 64 frames with something of everything in it, and what its driver needs to know of it. `waiting`:
    threads wait in it, which shuts all quick paths. `record`: bytes for the driver's own record, or None."""

    def __init__(self, waiting: bool = False, record: mmap.mmap | None = None) -> None:
        kernel = self.kernel = small("raw")
        self.record = np.frombuffer(record or bytearray(driver.Flips.size), driver.Flips.dtype, 1)
        flips = self.flips = self.record[0]
        kern = kernel.view.kern
        flips["cpu"], flips["ram"], flips["first"] = kernel.processor, kernel.handle.life.ram.address, MIB
        flips["bytes"] = (BOOT_FRAMES + FRAMES) * PAGE
        self.copies = np.zeros((2, int(flips["bytes"])), np.uint8)
        flips["saved"], flips["after"] = (copy.ctypes.data for copy in self.copies)
        flips["window"], flips["window_pages"] = kern["base"], int(kern["bytes"]) // PAGE
        flips["heap"] = kern["heap"]
        flips["heap_end"] = int(kern["heap"]) + int(kern["heap_pages"]) * PAGE
        flips["node"], flips["oid"], flips["device"] = kernel.cache("node").id, 40, DEVICE // PAGE + 3
        self._fill(waiting)
        self._note()

    def run(self, loop: str, *args: int) -> int:
        return self.kernel.run(loop, self.record.ctypes.data, *args)

    def _fill(self, waiting: bool) -> None:
        kernel = self.kernel
        self.flips["ring"], self.flips["umap"], threads = furnish(kernel)
        mine = [kernel.malloc(48) for _ in range(3)]
        assert self.run("flips_take") == 0
        assert self.run("flips_give") == 0
        kernel.cpu(1).free(mine[1])
        if waiting:
            for oid, thread in ((50, threads[1]), (51, threads[2])):
                kernel.call("thread_run", thread)
                kernel.call("page_get", oid)

    def _note(self) -> None:
        """Note what the kernel keeps for itself: by address in the heap, and by frame."""
        kernel = self.kernel
        kern, view = kernel.view.kern, kernel.view
        self._note_frames(MIB, BOOT_FRAMES)
        for pfn in range(MIB // PAGE + BOOT_FRAMES, MIB // PAGE + BOOT_FRAMES + FRAMES):
            if kernel.frame_type(pfn) == "mapping":
                self._note_frames(pfn * PAGE, 1)
        records, page = view.heap_pages(), 0
        while page < len(records):
            run, va = records[page], int(kern["heap"]) + page * PAGE
            count = int(run["pages"])
            slab = run.view(SlabPage.dtype) if run["use"] == SLAB else None
            own = slab is not None and REGION_CACHE <= slab["cache"] < REGION_CACHE + OWN_CACHES
            if run["use"] == OWN or (own and self._in_use(page, count)):
                assert self.run("flips_note", va, count * PAGE) >= 0
                for at in range(va, va + count * PAGE, PAGE):
                    if kernel.frame_type(view.pa(at) // PAGE) == "heap":
                        self._note_frames(view.pa(at), 1)
            page += count

    def _in_use(self, page: int, count: int) -> bool:
        """Whether a slab has slots in use."""
        records = self.kernel.view.heap_pages().view(SlabPage.dtype)[page : page + count]
        return bool((records["used"] > 0).any())

    def _note_frames(self, pa: int, count: int) -> None:
        assert self.run("flips_note", driver.FRAME_SPACE + pa, count * PAGE) >= 0


def attempt(bits: np.ndarray, outcomes: np.ndarray, record: mmap.mmap, at: int, waiting: bool) -> int:
    """Try bits from one on, in a process of its own: how far it came. What ends the process is noted."""
    flips = np.frombuffer(record, driver.Flips.dtype, 1)[0]
    record[:] = bytes(len(record))
    flips["trial"] = -1
    child = os.fork()
    if not child:
        try:
            scene = Scene(waiting, record)
            begun = scene.run("flips_begin")
            assert begun == 0, begun
            scene.run("flips_run", bits.ctypes.data, outcomes.ctypes.data, at, len(bits))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    seen, since, ended = -1, time.monotonic(), (0, 0)
    while ended == (0, 0):
        ended = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
        if flips["trial"] != seen:
            seen, since = int(flips["trial"]), time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            outcomes[seen] = HANGS
            return seen + 1
    end = int(flips["trial"])
    if os.WIFSIGNALED(ended[1]) and end >= 0:
        outcomes[end] = IN_USE if flips["used"] else IN_CHECK
        return end + 1
    if ended[1]:
        raise SystemExit(f"a child of the trials ended with status {ended[1]}")
    return end


def main(bits_file: str, outcomes_file: str, waiting: str) -> None:
    """Try all bits of a file."""
    bits = np.fromfile(bits_file, np.int64) - (MIB << 3)
    with open(outcomes_file, "r+b") as file:
        outcomes = np.frombuffer(mmap.mmap(file.fileno(), len(bits)), np.uint8)
    record = mmap.mmap(-1, driver.Flips.size)
    at = 0
    while at < len(bits):
        at = attempt(bits, outcomes, record, at, waiting == "1")


if __name__ == "__main__":
    main(*sys.argv[1:])
