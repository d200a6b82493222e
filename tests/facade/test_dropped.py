"""A cell run twice, and a kernel dropped in every way: nothing fails, its window and its memory are given back."""

import gc
import os
import sys
import threading
from pathlib import Path

import pytest
from IPython.core.compilerop import CachingCompiler
from small_machines import MIB, MODES, conserved, machine

from kernmalloc.facade import origin
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.machine import lives

CELL = """
kernel = Kernel.boot(machine, profile, mode)
block = kernel.malloc(100_000)
region = kernel.caches[0]
"""


@pytest.fixture(autouse=True)
def nothing_stays():
    """No window, no descriptor and no mapping of a machine's memory is left, without any collection of garbage."""
    gc.collect()
    before = held()
    gc.disable()
    yield
    left = held()
    gc.enable()
    assert left == before


def held() -> tuple[int, int, int]:
    maps = Path("/proc/self/maps").read_text()
    return len(lives._windows), len(os.listdir("/proc/self/fd")), maps.count("memfd:kernmalloc")


def boot(mode: str = "raw", cpus: int = 1) -> Kernel:
    return Kernel.boot(machine((0, 8 * MIB)), Profile.load("eros2"), mode, cpus=cpus)


@pytest.mark.parametrize(
    ("profile", "mode"), [*(("eros2", mode) for mode in MODES), ("x86_64", "raw"), ("x86_64", "soft"), ("guest", "raw")]
)
def test_a_cell_run_again_and_again(profile, mode):
    """Each run is as good as the first one; in mode raw only the addresses are others, by turns."""
    cell, size = compile(CELL, "cell", "exec"), 8 * MIB if profile == "eros2" else 24 * MIB
    known = {"Kernel": Kernel, "machine": machine((0, size)), "profile": Profile.load(profile), "mode": mode}
    places = []
    for _ in range(2 if mode == "twin" else 4):
        exec(cell, known)
        places.append(int(known["kernel"].layout["window"]))
        displaced = len(places) % 2 == 0 and mode == "raw" and profile != "guest"  # which may lie anywhere
        assert known["kernel"].displaced_by.endswith("booted at cell:2" if displaced else "")
        assert bool(known["kernel"].displaced_by) == displaced
        assert known["kernel"].size_of(known["block"]) >= 100_000
    conserved(known["kernel"])
    assert places == (places[:2] * 2)[: len(places)]
    assert (places[0] != places[1]) == (mode == "raw")
    assert len(lives._windows) == (mode == "raw")


def fails(kernel: Kernel) -> None:
    mine = kernel
    raise ValueError(mine.mode)


def test_an_exception_holds_its_kernel_until_it_is_gone():
    kernel = boot()
    with pytest.raises(ValueError) as raised:
        fails(kernel)
    place = kernel.layout["window"]
    del kernel
    second = boot()
    assert second.layout["window"] != place
    conserved(second)
    raised.traceback, raised.value.__traceback__ = None, None
    del raised, second
    third = boot()
    assert third.layout["window"] == place


@pytest.mark.parametrize("mode", MODES)
def test_what_else_refers_to_a_kernel_goes_in_any_order(mode, tmp_path):
    """Views, a processor, a thread, a cache, devices, pages: each works until it is gone itself."""
    kernel = boot(mode, cpus=2)
    pages, frames, devices = kernel.pages, kernel.frames, kernel.devices
    processor, thread, cache, view = kernel.cpu(1), kernel.thread(), kernel.cache("node"), kernel.view
    del kernel
    pfn = processor.frame_get("dma")
    entry = frames[pfn]
    node = cache.get()
    thread.free(thread.malloc(50_000))
    devices.publish(1 << 32, 1 << 20)
    devices.withdraw(1 << 32)
    space = pages.space()
    del thread, devices, processor
    cache.put(node)
    space.free()
    del cache, space, pages
    assert frames[pfn]["type"] == entry["type"] != 0
    del frames
    with pytest.raises(lives.LifeError, match="closed"):
        _ = view.kern
    assert entry["type"] != 0


def test_a_source_that_is_open_goes_with_its_kernel(tmp_path):
    """Its kernel and it know each other: it takes a collection of garbage, which a boot does that needs the place."""
    gc.collect()
    kernel = boot()
    place = kernel.layout["window"]
    kernel.pages.source(tmp_path / "pages", 10)
    with kernel.pages.get(3) as page:
        page.write(0, b"three")
    del kernel, page
    second = boot()
    assert second.layout["window"] == place
    conserved(second)


def test_a_thread_that_works_in_a_kernel_has_it():
    """Dropped where it was booted, it stays until the thread is done; nothing crashes meanwhile."""
    began, done, wrong = threading.Event(), threading.Event(), []

    def works(kernel: Kernel) -> None:
        began.set()
        while not done.is_set():
            if kernel.call("churn_blocks", 50, 500):
                wrong.append("churn")

    kernel = boot(cpus=2)
    thread = threading.Thread(target=works, args=(kernel.cpu(1),))
    place = kernel.layout["window"]
    thread.start()
    began.wait()
    del kernel
    for _ in range(3):
        beside = boot()
        assert beside.layout["window"] != place
        conserved(beside)
    done.set()
    thread.join()
    del thread, beside
    assert not wrong
    assert boot().layout["window"] == place


def test_many_threads_boot_at_once():
    """Each has a window of its own."""
    kernels: list[Kernel] = []
    threads = [threading.Thread(target=lambda: kernels.append(boot())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({int(kernel.layout["window"]) for kernel in kernels}) == len(threads)
    for kernel in kernels:
        conserved(kernel)
    del threads, thread


def test_a_kernel_says_where_it_was_booted(monkeypatch):
    """The line that called this package; of a cell, its number, as tracebacks of IPython have it."""
    kernel = boot("twin")
    line = boot.__code__.co_firstlineno + 1
    assert kernel.origin == f"{__file__}:{line}"
    assert repr(kernel) == f"<kernel eros2 on 'test', mode twin, booted at {__file__}:{line}>"
    kernel.close()
    assert repr(kernel).endswith("closed>")

    class Shell:
        compile = CachingCompiler()

    ipython = sys.modules["IPython"]
    name = Shell.compile.cache("\nwhere = origin()", 7, raw_code="")
    monkeypatch.setattr(ipython, "get_ipython", lambda: Shell)
    known = {"origin": origin.origin}
    exec(compile("\nwhere = origin()", name, "exec"), known)
    assert known["where"] == "cell In[7], line 2"
