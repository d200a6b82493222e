"""A fleet on a Dask cluster of this computer: the answer is that of processes, whatever happens to a worker."""

import logging
import os
import resource
import signal
import time
from fractions import Fraction
from functools import partial
from pathlib import Path

import pyarrow.parquet
import pytest

from kernmalloc.fleet.answer import answers
from kernmalloc.fleet.pieces import pieces
from kernmalloc.fleet.question import Question
from kernmalloc.fleet.work import Job
from kernmalloc.plan.workers import Processes, cluster

QUESTION = Question(purpose="reserve")
MEMORY = 1 << 30  # bytes of a worker


@pytest.fixture(scope="module")
def address():
    """The scheduler of two workers, a thread each."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=MEMORY, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as started:
        yield started.scheduler_address


def dying(folder: Path, work, item):
    """A worker that is killed at the first item that anybody begins, and never again; before it ends, each tells its
    memory."""
    try:
        (folder / "died").touch(exist_ok=False)
    except FileExistsError:
        made = work(item)
        (folder / f"{os.getpid()}.peak").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10))
        return made
    os.kill(os.getpid(), signal.SIGKILL)


def counted(address: str, folder: Path, word: str, most: int):
    """The answers of a fleet on the cluster, one worker of which is killed."""

    def each(work, items):
        with cluster(address) as workers:
            yield from workers(partial(dying, folder, work), items)

    (folder / "work").mkdir()
    return answers(Job(QUESTION, folder / "work", True), list(pieces([word], most)), Fraction(99, 100), each)


def test_the_answer_is_that_of_processes_though_a_worker_is_killed(address, tmp_path):
    found = counted(address, tmp_path, "generated:5:40", 8)
    with Processes(1) as workers:
        again = answers(
            Job(QUESTION, tmp_path / "again", True), list(pieces(["generated:5:40"], 8)), Fraction(99, 100), workers
        )
    assert (tmp_path / "died").exists() and found == again
    for name in ("machines", "devices"):
        rows = [pyarrow.parquet.read_table(tmp_path / place / name) for place in ("work", "again")]
        assert rows[0] == rows[1] and rows[0].num_rows >= 40


@pytest.mark.nightly
def test_a_million_machines_on_two_workers(address, tmp_path):
    """Every machine is counted once, and a worker stays below 1 GiB, though one is killed."""
    start, count = time.monotonic(), int(os.environ.get("KERNMALLOC_FLEET", "1000000"))
    found = counted(address, tmp_path, f"generated:1:{count}", 1000)
    seconds = time.monotonic() - start
    peaks = [int(file.read_text()) for file in tmp_path.glob("*.peak")]
    print(
        f"{count:,} machines: {seconds:,.0f} s, {count / seconds / 2:,.0f} a second and worker, {max(peaks) >> 20} MiB"
    )
    assert (tmp_path / "died").exists()
    assert sum(each.machines for each in found.answers) == count and not found.unreadable
    assert sum(each.covered + len(each.left_over) for each in found.answers) == count
    assert not any(each.wrong for each in found.answers)
    assert pyarrow.parquet.ParquetDataset(tmp_path / "work" / "machines").read(["id"]).num_rows == count
    assert len(peaks) >= 2 and max(peaks) < MEMORY
