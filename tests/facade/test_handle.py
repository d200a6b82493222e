"""The end of a kernel: for threads that are inside, in the child of a fork, and when nobody has it any more."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_machines import MIB, MODES, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.machine.lives import LifeError

SECONDS = 20


def boot(mode: str = "raw", cpus: int = 1) -> Kernel:
    return Kernel.boot(machine((0, 8 * MIB)), Profile.load("eros2"), mode, cpus=cpus)


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_close_waits_for_calls_and_loops(mode):
    """Whoever is inside gets an answer; who comes later is told that the kernel is closed. Nothing crashes."""
    for _ in range(5):
        kernel = boot(mode, cpus=2 if mode == "raw" else 1)
        inside, told = threading.Barrier(3), []

        def calls(kernel: Kernel = kernel, inside: threading.Barrier = inside, told: list[str] = told) -> None:
            inside.wait()
            try:
                while True:
                    assert kernel.call("churn_blocks", 100, 2000) == 0
            except LifeError as error:
                told.append(str(error))

        def loops(kernel: Kernel = kernel, inside: threading.Barrier = inside, told: list[str] = told) -> None:
            inside.wait()
            try:
                while True:
                    _ = kernel.regions
            except LifeError as error:
                told.append(str(error))

        with ThreadPoolExecutor(2) as pool:
            threads = [pool.submit(calls), pool.submit(loops)]
            inside.wait()
            time.sleep(0.01)
            kernel.close()
            for thread in threads:
                thread.result(SECONDS)
        assert len(told) == 2 and all("closed" in line for line in told)
        kernel.close()  # once more changes nothing


def test_close_tells_threads_that_wait(tmp_path):
    """One waits for a page that no driver reads."""
    kernel = boot()
    kernel.pages.source(tmp_path / "p", 10)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(kernel.thread().call, "page_get", 5)
        while not kernel.handle.monitor.waiting:
            time.sleep(0.01)
        kernel.close()
        with pytest.raises(LifeError, match="closed"):
            waits.result(SECONDS)


@pytest.mark.parametrize("mode", MODES)
def test_after_a_fork_the_childs_kernel_is_closed(mode):
    """Its memory is the parent's: a malloc of the child would be one of the parent's."""
    with boot(mode) as kernel:
        va = kernel.malloc(100)
        before = kernel.snapshot()
        child = os.fork()
        if not child:
            wrong = 1
            try:
                for call in (kernel.malloc, kernel.free, lambda _: kernel.snapshot(), lambda _: kernel.view.kern):
                    try:
                        call(va)
                        break
                    except LifeError as error:
                        wrong = 0 if "closed" in str(error) else 2
                else:
                    kernel.close()
                    with boot(mode) as own:  # the window is free
                        own.free(own.malloc(100))
            except BaseException:
                wrong = 3
            finally:
                os._exit(wrong)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert kernel.snapshot() == before
        kernel.free(va)
        conserved(kernel)


def test_a_fork_while_another_thread_is_inside_does_not_hang():
    with boot(cpus=2) as kernel, ThreadPoolExecutor(1) as pool:
        busy = pool.submit(kernel.cpu(1).call, "churn_blocks", 100, 3_000_000)
        child = os.fork()
        if not child:
            try:
                kernel.cpu(1).malloc(1)
            except LifeError:
                kernel.close()
                os._exit(0)
            finally:
                os._exit(1)
        deadline = time.monotonic() + SECONDS
        while not (done := os.waitpid(child, os.WNOHANG))[0]:
            assert time.monotonic() < deadline or not os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        assert os.waitstatus_to_exitcode(done[1]) == 0
        assert busy.result(SECONDS) == 0
        conserved(kernel)


KEEPERS: dict[str, Callable[[Kernel, Path], object]] = {
    "kernel": lambda kernel, _: kernel,
    "processor": lambda kernel, _: kernel.cpu(1),
    "thread": lambda kernel, _: kernel.thread(),
    "source": lambda kernel, file: kernel.pages.source(file, 10),
    "cache": lambda kernel, _: kernel.cache("node"),
}


@pytest.mark.parametrize("what", KEEPERS)
def test_a_kernel_that_nobody_has_gives_its_window_back(tmp_path, what):
    """Not before, whatever of it somebody has."""
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    kernel = boot(cpus=2)
    place = kernel.layout["window"]
    kept = KEEPERS[what](kernel, tmp_path / "p")
    del kernel
    gc.collect()
    with boot() as beside:
        assert beside.layout["window"] != place == beside.layout["target"]
    del kept, beside
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    with boot() as second:
        assert second.layout["window"] == place
        conserved(second)
