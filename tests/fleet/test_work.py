"""The work of a fleet in a folder: rows, interruptions, and workers that die."""

import os
import signal
from fractions import Fraction
from functools import partial
from pathlib import Path

import pyarrow.parquet
import pytest

from kernmalloc.facade.configure import EXTENT_ONLY, FITS, LAST, REFUSED
from kernmalloc.fleet.answer import answers
from kernmalloc.fleet.pieces import pieces
from kernmalloc.fleet.question import Question
from kernmalloc.fleet.rows import COVERED, DeviceRow, MachineRow
from kernmalloc.fleet.tables import ask, csv
from kernmalloc.fleet.work import Job
from kernmalloc.inputs.errors import InputError
from kernmalloc.plan.workers import Processes

FLEET = "generated:5:40"
QUESTION = Question(purpose="reserve")


def here(work, items):
    """One worker: this process."""
    return map(work, items)


def dying(folder: Path, work, item):
    """A worker that is killed at the first item that anybody begins, and never again."""
    try:
        (folder / "died").touch(exist_ok=False)
    except FileExistsError:
        return work(item)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The answers for a fleet, asked in this process, and the folder of the work."""
    folder = tmp_path_factory.mktemp("fleet")
    return answers(Job(QUESTION, folder, True), list(pieces([FLEET], 8)), Fraction(9, 10), here), folder


def told(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_worker_that_dies_costs_its_piece_and_nothing_is_counted_twice(done, tmp_path):
    found, folder = done
    cut = list(pieces([FLEET], 8))

    def each(work, items):
        with Processes(2) as workers:
            yield from workers(partial(dying, tmp_path, work), items)

    (tmp_path / "again").mkdir()
    again = answers(Job(QUESTION, tmp_path / "again", True), cut, Fraction(9, 10), each)
    assert (tmp_path / "died").exists()
    assert again == found and told(tmp_path / "again").keys() == told(folder).keys()


def test_interrupted_work_goes_on_where_it_stopped(done, tmp_path):
    found, _ = done
    cut, job = list(pieces([FLEET], 8)), Job(QUESTION, tmp_path, True)

    def interrupted(work, items):
        for number, item in enumerate(items):
            if number == 3:
                raise KeyboardInterrupt
            yield work(item)

    with pytest.raises(KeyboardInterrupt):
        answers(job, cut, Fraction(9, 10), interrupted)
    begun = told(tmp_path)
    assert len([name for name in begun if name.endswith(".needs")]) == 3
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in begun if name.startswith("pieces")}
    halves = [tmp_path / "pieces" / f"{cut[3].id}.needs.1.new", tmp_path / "machines" / f"{cut[0].id}.parquet.1.new"]
    for half in halves:  # of workers that died
        half.write_bytes(b"half")
    assert answers(job, cut, Fraction(9, 10), here) == found
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in stamps} == stamps
    assert not any(half.exists() for half in halves)
    with pytest.raises(InputError, match="holds the work of another question"):
        answers(Job(Question(purpose="heap"), tmp_path, True), cut, Fraction(9, 10), here)


def test_rows_tell_every_machine_and_device_once(done):
    found, folder = done
    machines = pyarrow.parquet.read_table(folder / "machines").to_pylist()
    devices = pyarrow.parquet.read_table(folder / "devices").to_pylist()
    assert len(machines) == len({row["id"] for row in machines}) == sum(each.machines for each in found.answers) == 40
    assert list(machines[0]) == list(MachineRow._fields) and list(devices[0]) == list(DeviceRow._fields)
    for answer in found.answers:
        own = [row for row in machines if row["kernel"] == answer.kernel]
        assert sum(row["status"] == COVERED for row in own) == answer.covered
        assert sum(row["cost"] or 0 for row in own) == answer.costs.sum
        assert all(row["value"] == answer.value and row["setting"] == answer.setting for row in own)
        for row in own:
            assert (row["status"] == COVERED) == (row["least"] is not None and row["least"] <= row["value"])
            assert row["advice_proved"] and row["advice_value"] == row["least"]
    for row in machines:
        own = [device for device in devices if device["machine"] == row["id"]]
        assert {device["status"] for device in own} <= {FITS, LAST, EXTENT_ONLY, REFUSED, "unplaced"}
        assert row["devices"] > 0 and row["largest"] <= row["device_bytes"] and own


def test_rows_are_of_the_fleet_and_the_value_that_were_asked_last(tmp_path):
    job = Job(QUESTION, tmp_path, True)

    def asked(word: str, cover: Fraction) -> tuple[int, set[int]]:
        found = answers(job, list(pieces([word], 8)), cover, here)
        rows = pyarrow.parquet.read_table(tmp_path / "machines", columns=["value"]).column("value").to_pylist()
        assert {*rows} == {each.value for each in found.answers}
        return len(rows), {*rows}

    first = asked("generated:5:40", Fraction(1))
    assert asked("generated:5:40", Fraction(1, 2)) != first
    assert asked("generated:5:40", Fraction(1)) == first
    assert asked("generated:5:16", Fraction(1))[0] == 16
    assert asked("generated:5:40", Fraction(1)) == first


def test_tables_are_written_as_CSV_and_asked_in_SQL(done):
    found, folder = done
    lines = "".join(csv(folder)).splitlines()
    assert lines[0].split(",") == list(MachineRow._fields) and len(lines) == 41
    names, rows = ask(folder, "SELECT kernel, count(*) AS machines FROM machines GROUP BY kernel")
    assert names == ["kernel", "machines"]
    assert dict(rows) == {each.kernel: each.machines for each in found.answers}
    ((count,),) = ask(folder, "SELECT count(*) FROM devices d JOIN machines m ON d.machine = m.id")[1]
    assert count == pyarrow.parquet.read_table(folder / "devices").num_rows
    for query in ("SELECT", "DROP VIEW machines; x", "SELECT nothing FROM machines"):
        with pytest.raises(InputError, match=r"^--sql"):
            ask(folder, query)


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(InputError, match="it has no rows of machines"):
        ask(tmp_path, "SELECT 1")
