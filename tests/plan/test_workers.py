"""Who works on many machines: what becomes of workers that die, and of a scheduler that is not there."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from small_machines import MIB, machine

from kernmalloc import Profile
from kernmalloc.inputs.errors import InputError
from kernmalloc.plan.compare import in_batches
from kernmalloc.plan.workers import Processes, cluster

BOARDS = [machine((MIB, size * MIB)) for size in range(16, 56)]


def deadly(item):
    """A worker that is killed at item 3, whenever it is done."""
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def once_deadly(folder: Path, board, profile):
    """A worker that is killed at the first machine that anybody begins, and never again."""
    try:
        (folder / "died").touch(exist_ok=False)
    except FileExistsError:
        return [board.ram_bytes]
    os.kill(os.getpid(), signal.SIGKILL)


def always_deadly(board, profile):
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_item_at_which_workers_die_is_given_up_and_named():
    with pytest.raises(InputError, match=r"^3: workers died at it"), Processes(2) as workers:
        list(workers(deadly, range(6)))


def test_a_worker_that_dies_at_a_batch_of_machines_costs_nothing(tmp_path):
    told = []
    pairs = [(board, Profile.load("eros2")) for board in BOARDS]
    found = list(in_batches(partial(once_deadly, tmp_path), pairs, 2, told.append))
    assert (tmp_path / "died").exists()
    assert sorted(found) == [size * MIB for size in range(16, 56)] and sum(told) == len(BOARDS)


def test_a_batch_at_which_workers_die_is_named_by_its_machines():
    pairs = [(board, Profile.load("eros2")) for board in BOARDS[:3]]
    with pytest.raises(InputError, match=r"and 2 like it: workers died at it"):
        list(in_batches(always_deadly, pairs, 2, print))


def test_a_scheduler_that_is_not_there_is_named():
    with (
        pytest.raises(InputError, match=r"--cluster tcp://127.0.0.1:9: no scheduler answers"),
        cluster("tcp://127.0.0.1:9"),
    ):
        raise AssertionError
