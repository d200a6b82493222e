"""Python threads that wait for the kernel's memory (E26)."""

import threading
import time

import pytest
from page_source import Source
from small_machines import conserved
from stall_model import RESERVE, tight

from kernmalloc.facade.errors import Deadlock, OutOfMemory, TimedOut, WouldBlock
from kernmalloc.facade.kernel import Kernel


@pytest.fixture
def kernel():
    with tight("raw") as kernel:
        yield kernel
        conserved(kernel)


def fill(kernel: Kernel) -> list[int]:
    """Take every frame but the reserve."""
    kernel.drain()
    taken = []
    try:
        while True:
            taken.append(kernel.frame_get())
    except (OutOfMemory, WouldBlock):
        return taken


def asleep(kernel: Kernel, count: int) -> None:
    """Wait until so many threads are stalled."""
    while int(kernel.view.kern["stalls"]["waiting"]) < count:
        time.sleep(0.001)


def test_E26_a_python_thread_waits(kernel):
    """malloc blocks until another thread gives frames back, and has its memory then; nobody else notices."""
    with kernel.thread(wait=60) as thread:
        taken, got = fill(kernel), []
        with pytest.raises(WouldBlock):
            kernel.malloc(1 << 20)
        worker = threading.Thread(target=lambda: got.append(thread.malloc(1 << 20)))
        worker.start()
        asleep(kernel, 1)
        while worker.is_alive() and taken:
            kernel.frame_put(taken.pop())
        worker.join()
        assert thread.size_of(got[0]) == 1 << 20
        assert kernel.check().passed
        thread.free(got[0])
    for pfn in taken:
        kernel.frame_put(pfn)


def test_E26_waiters_in_order(kernel):
    """Ten threads wait for a frame each; they get them in the order in which they came."""
    threads = [kernel.thread(wait=60) for _ in range(10)]
    taken, order = fill(kernel), []

    def work(number: int) -> None:
        pfn = threads[number].frame_get()
        order.append((pfn, number))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for number, worker in enumerate(workers):
        worker.start()
        asleep(kernel, number + 1)
    for number in range(10):
        kernel.frame_put(taken.pop())
        workers[number].join()
    assert [number for _, number in order] == list(range(10))
    for pfn, _ in order:
        kernel.frame_put(pfn)
    for thread in threads:
        thread.close()
        thread.close()
    for pfn in taken:
        kernel.frame_put(pfn)
    assert kernel.view.kern["stalls"]["count"] == 0


def test_E26_time_is_up(kernel):
    """A thread waits for as long as it was told to; then the call has failed, and nothing is left of it."""
    with kernel.thread(wait=0.05) as thread:
        taken = fill(kernel)
        before = kernel.frames_by_type()
        start = time.monotonic()
        with pytest.raises(TimedOut, match="time to wait was over"):
            thread.malloc(1 << 20)
        assert time.monotonic() - start >= 0.05
        assert kernel.frames_by_type() == before and kernel.view.kern["stalls"]["waiting"] == 0
        kernel.frame_put(taken.pop())
        thread.frame_put(thread.frame_get())


def test_E26_a_deadlock_is_an_error_in_words(kernel):
    """The driver waits for memory that only it could clean: whoever would wait last is told so, and who is why."""
    driver, other = kernel.thread(cleaner=True), kernel.thread()
    taken, told = fill(kernel), []

    def work() -> None:
        for _ in range(RESERVE):
            taken.append(driver.frame_get())
        try:
            taken.append(driver.frame_get())
        except Deadlock as error:
            told.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    asleep(kernel, 1)
    with pytest.raises(Deadlock) as caught:
        other.malloc(1 << 20)
    assert caught.value.waits == [
        "thread 1, which cleans pages, waits for 1 frame", "thread 2 waits for 257 frames",
    ] or caught.value.waits[0] == "thread 1, which cleans pages, waits for 1 frame"  # fmt: skip
    assert "\n" not in str(caught.value) and "thread 2 waits for" in str(caught.value)
    for _ in range(RESERVE + 2):
        other.frame_put(taken.pop(0))
    worker.join()
    assert told == []
    driver.close()
    other.close()


def test_E26_E30_a_driver_in_a_thread_of_its_own(kernel):
    """Everything is dirty: threads that allocate wait for a driver that writes pages back in its own thread, and that
    allocates for itself out of the reserve."""
    source = Source(kernel)
    driver = kernel.thread(cleaner=True)
    workers = [kernel.thread(wait=60) for _ in range(3)]
    oids = 0
    while kernel.frames_by_type()["free"] > RESERVE:
        pfn = source.call("page_get", oids)
        assert pfn >= 0 and kernel.call("page_dirty", pfn) == 0
        oids += 1
    source.kernel = driver
    stop, got, end = threading.Event(), [], time.monotonic() + 60

    def drive() -> None:
        while not stop.is_set() and time.monotonic() < end:
            driver.frame_put(driver.frame_get())
            source.poll()
            time.sleep(0.001)

    def work(thread: Kernel) -> None:
        got.extend(map(thread.malloc, (40_000, 100_000, 70_000)))

    driving = threading.Thread(target=drive)
    working = [threading.Thread(target=work, args=(thread,)) for thread in workers]
    for thread in (driving, *working):
        thread.start()
    for thread in working:
        thread.join()
    stop.set()
    driving.join()
    assert len(got) == 9 and int(kernel.view.kern["pages"]["evictions"]) > 100
    for va in got:
        kernel.free(va)
    for thread in (driver, *workers):
        thread.close()
