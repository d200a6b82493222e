"""Who works on many machines: processes of this computer, or a cluster.

Both tell the result of an item as soon as it is there, in no order. A worker that dies costs the items that it had:
others do them again. An item at which workers died again and again is given up, and named.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import active_children
from signal import SIG_BLOCK, SIG_UNBLOCK, SIGINT, pthread_sigmask
from typing import Protocol, TypeVar

from kernmalloc.inputs.errors import InputError

Item = TypeVar("Item", bound=Hashable)
Made = TypeVar("Made")

TRIES = 3  # times that an item is given to workers, before it is given up
AHEAD = 4  # items that each worker has waiting


class Workers(Protocol):
    """Who does work: what `work` makes of each item, in no order. Raises InputError for an item at which workers
    die."""

    def __call__(self, work: Callable[[Item], Made], items: Iterable[Item], /) -> Iterator[Made]: ...


class Processes:
    """So many processes of this computer. Use it in a `with` block, at whose end they end. Only this process sees
    Ctrl-C: each of the others would tell of it, too."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = self._started()

    def __enter__(self) -> Workers:
        return self._each

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:
            for process in active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def _each(self, work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
        left, again = iter(items), list[Item]()
        tries: dict[Item, int] = {}
        waiting: dict[Future[Made], Item] = {}
        while True:
            given = [*again, *islice(left, max(AHEAD * self._count - len(waiting) - len(again), 0))]
            waiting |= {self._pool.submit(work, item): item for item in given}
            again = []
            if not waiting:
                return
            for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                item = waiting.pop(done)
                if isinstance(done.exception(), BrokenProcessPool):
                    again.append(item)
                else:
                    yield done.result()
            if again:  # all that waits is lost with the process
                again += waiting.values()
                waiting = {}
                self._pool = self._started()
            for item in again:
                tries[item] = tries.get(item, 0) + 1
                if tries[item] == TRIES:
                    raise _given_up(item)

    def _started(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(self._count)
        pthread_sigmask(SIG_BLOCK, [SIGINT])  # processes inherit that
        try:
            for made in [pool.submit(int) for _ in range(self._count)]:
                made.result()
        finally:
            pthread_sigmask(SIG_UNBLOCK, [SIGINT])
        return pool


@contextmanager
def cluster(address: str) -> Iterator[Workers]:
    """The workers of a Dask cluster, whose scheduler is at an address. This version is installed on them, and they see
    the same files. Raises InputError where no scheduler answers, or Dask is not installed."""
    option = f"--cluster {address}"
    try:
        from distributed import Client, as_completed
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise InputError(option, 0, "it needs dask.distributed", "pip install 'kernmalloc[cluster]'") from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(option, 0, f"no scheduler answers: {error}", "`dask scheduler` starts one") from None

    def each(work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
        left = iter(items)
        asked: dict[str, Item] = {}

        def submitted(count: int) -> list[object]:
            futures = []
            for item in islice(left, count):
                futures.append(client.submit(work, item, pure=False))
                asked[futures[-1].key] = item
            return futures

        threads = sum(client.nthreads().values())
        done = as_completed(submitted(AHEAD * max(threads, 1)))
        for future in done:
            item = asked.pop(future.key)
            try:
                made = future.result()
            except KilledWorker:
                raise _given_up(item) from None
            future.release()
            done.update(submitted(1))
            yield made

    try:
        yield each
    finally:
        client.close()


def _given_up(item: object) -> InputError:
    return InputError(str(item), 0, "workers died at it again and again", "with its machines left out the others go on")
