"""Fleets in pieces: whatever holds them, every machine comes once and in order, in any process, under a stable id."""

import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import msgspec
import pytest
from backports import zstd
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from kernmalloc.fleet.generate import generate
from kernmalloc.fleet.pieces import Piece, pieces
from kernmalloc.inputs import parquet
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.limits import raised
from kernmalloc.machine.memory_map import Machine

MAP = "BIOS-e820: [mem 0x0000000000100000-0x{:016x}] usable\n"
RECORDS = list(generate(3, 23))
NAMES = [f"Generated {record.model.removeprefix('Generated ')}" for record in RECORDS]


def lines(records) -> bytes:
    return msgspec.json.Encoder().encode_lines(records)


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def log(mib: int) -> bytes:
    return MAP.format((mib << 20) - 1).encode()


def read(*words: object, most: int = 5, **options: object) -> list[Machine | InputError]:
    return [machine for piece in pieces(map(str, words), most, **options) for machine in piece.machines()]


def names(found: list[Machine | InputError]) -> list[str]:
    assert not [machine for machine in found if isinstance(machine, InputError)]
    return [machine.name for machine in found]


@pytest.fixture
def fleet(tmp_path):
    """One fleet in every form in which it can be given, by name of the file."""
    text = lines(RECORDS)
    for file, data in {
        "fleet.jsonl": text,
        "fleet.jsonl.gz": gzip.compress(text),
        "fleet.jsonl.zst": zstd.compress(text),
        "fleet.jsonl.xz": lzma.compress(text),
        "fleet.tar": tar({"fleet.jsonl": text}),
        "fleet.tgz": tar({"fleet.jsonl": text}, "w:gz"),
        "fleet.tar.xz": tar({"fleet.jsonl": text}, "w:xz"),
        "fleet.tar.zst": zstd.compress(tar({"fleet.jsonl.gz": gzip.compress(text)})),
    }.items():
        (tmp_path / file).write_bytes(data)
    pq.write_table(parquet.table(RECORDS), tmp_path / "fleet.parquet", row_group_size=7)
    (tmp_path / "parts").mkdir()
    for number in range(0, 23, 9):
        pq.write_table(parquet.table(RECORDS[number : number + 9]), tmp_path / f"parts/part-{number:02}.parquet")
    (tmp_path / "parts/_SUCCESS").touch()
    return tmp_path


FORMS = (
    *("fleet.jsonl", "fleet.jsonl.gz", "fleet.jsonl.zst", "fleet.jsonl.xz", "fleet.tar", "fleet.tgz", "fleet.tar.xz"),
    *("fleet.tar.zst", "fleet.parquet", "parts"),
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("most", [1, 5, 1000])
def test_every_form_gives_the_same_machines(fleet, form, most):
    cut = list(pieces([str(fleet / form)], most))
    assert all(piece.count <= most for piece in cut) and sum(piece.count for piece in cut) == len(RECORDS)
    found = [machine for piece in cut for machine in piece.machines()]
    assert names(found) == NAMES
    plain = list(Machine.read_all(fleet / "fleet.jsonl"))
    assert [(m.ram, [(d.base, d.size) for d in m.devices]) for m in found] == [
        (m.ram, [(d.base, d.size) for d in m.devices]) for m in plain
    ]


@pytest.mark.parametrize("form", FORMS)
def test_a_piece_is_read_alone_by_another_process_in_any_order(fleet, form):
    sent = [pickle.dumps(piece) for piece in pieces([str(fleet / form)], 5)]
    back = {number: pickle.loads(sent[number]).machines() for number in reversed(range(len(sent)))}
    assert [machine.name for number in range(len(sent)) for machine in back[number]] == NAMES


def test_a_pool_reads_a_fleet(fleet):
    with ProcessPoolExecutor(1) as pool:
        found = [
            name for part in pool.map(_names, pieces([str(fleet / "fleet.jsonl"), "desktop-16g"], 9)) for name in part
        ]
    assert found == [*NAMES, Machine.shipped("desktop-16g").name]


def _names(piece: Piece) -> list[str]:
    return names(list(piece.machines()))


@pytest.mark.parametrize("form", FORMS)
def test_ids_are_stable_and_unique_and_follow_the_contents(fleet, form):
    word = str(fleet / form)
    ids = [piece.id for piece in pieces([word], 5)]
    assert ids == [piece.id for piece in pieces([word], 5)]
    os.utime(word, (1, 1))
    twice = [piece.id for piece in pieces([word, word], 5)]
    assert twice[: len(ids)] == ids and len(set(twice)) == len(twice) == 2 * len(ids)
    assert all(len(id) == 16 and int(id, 16) >= 0 for id in ids)


def test_machines_that_are_added_at_the_end_change_no_id_of_those_before(fleet):
    file = fleet / "fleet.jsonl"
    before = [piece.id for piece in pieces([str(file)], 5)]
    file.write_bytes(file.read_bytes() + lines(RECORDS[:4]))
    after = [piece.id for piece in pieces([str(file)], 5)]
    assert after[:4] == before[:4] and after[4] != before[4]


@pytest.mark.parametrize("form", ["fleet.jsonl", "fleet.parquet"])
def test_what_changes_under_way_is_told_and_not_counted(fleet, form):
    first, *_ = pieces([str(fleet / form)], 5)
    (fleet / "fleet.jsonl").write_bytes(lines(RECORDS[::-1]))
    pq.write_table(parquet.table(RECORDS[::-1]), fleet / "fleet.parquet")
    (error,) = first.machines()
    assert "changed while it was read" in str(error)
    (fleet / form).unlink()
    (error,) = first.machines()
    assert isinstance(error, InputError) and "o such file" in str(error)


def test_logs_in_a_folder_and_in_an_archive(tmp_path):
    logs = {f"logs/{name}.txt": log(64 + number) for number, name in enumerate("cabd")}
    for name, data in logs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "logs.tar.gz").write_bytes(tar(logs, "w:gz"))
    in_folder = read(tmp_path / "logs", most=3)
    assert [(machine.name, machine.ram_bytes >> 20) for machine in in_folder] == [
        ("a", 64),
        ("b", 65),
        ("c", 63),
        ("d", 66),
    ]
    assert read(tmp_path / "logs/*.txt") == in_folder
    in_archive = read(tmp_path / "logs.tar.gz")
    assert [machine.file.removeprefix(f"{tmp_path}/") for machine in in_archive] == [
        f"logs.tar.gz:{name}" for name in logs
    ]
    assert [str(piece).removeprefix(f"{tmp_path}/") for piece in pieces([str(tmp_path / "logs")], 3)] == [
        "logs/a.txt and 2 more",
        "logs/d.txt",
    ]


def test_one_that_cannot_be_read_is_told_and_the_others_are_read(fleet, tmp_path):
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed/a.txt").write_bytes(log(64))
    (tmp_path / "mixed/b.txt").write_text("nothing of memory here, and no machine\n")
    (tmp_path / "mixed/c.tar").write_bytes(
        tar({"x.txt": log(64), "in.tar": tar({"y": log(64)}), "z.txt.gz": b"\x1f\x8bno"})
    )
    (tmp_path / "mixed/d.tgz").write_bytes(tar({"x.txt": log(64), "y.txt": os.urandom(9000)}, "w:gz")[:-4000])
    (tmp_path / "mixed/e.parquet").write_bytes(b"PAR1 and nothing more")
    (tmp_path / "mixed/f.jsonl").write_bytes(b'{"ram": 1073741824, "bars": []}\n{"bars": 5}\n')
    found = read(tmp_path / "mixed", "/nowhere", "*.none", "nobody", "generated:x:y", fleet / "fleet.jsonl")
    told = [str(machine).replace(f"{tmp_path}/mixed/", "") for machine in found if isinstance(machine, InputError)]
    for error, reason in zip(
        told,
        (
            "b.txt: not a boot log",
            "c.tar:in.tar: an archive in an archive",
            "c.tar:z.txt.gz: damaged gzip file",
            "d.tgz: damaged gzip file",
            "e.parquet: damaged Parquet file",
            "f.jsonl:2: not a machine",
            "/nowhere: No such file or directory",
            "*.none: no file of such a name",
            "nobody: No such file or directory",
            "generated:x:y: no fleet that can be generated",
        ),
        strict=True,
    ):
        assert error.startswith(reason) and "\n" not in error
    assert len(found) - len(told) == 3 + len(RECORDS)


def test_what_is_left_out_is_counted(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar({"../up": log(64), ".hidden": log(64), "a": log(64)}))
    (tmp_path / ".git").mkdir()
    skipped = Counter()
    assert len(read(tmp_path, skipped=skipped)) == 1
    assert skipped == {"path that leaves the archive": 1, "hidden file": 2}


def test_standard_input_and_pipes_travel_in_the_piece(fleet):
    for form in ("fleet.jsonl", "fleet.tgz", "fleet.tar.zst"):
        with open(fleet / form, "rb") as stream:
            cut = list(pieces(["-"], 5, source=lambda word, stream=stream: stream))
        assert names([machine for piece in cut for machine in piece.machines()]) == NAMES
    with open(fleet / "fleet.parquet", "rb") as stream:
        (error,) = read("-", source=lambda word: stream)
    assert str(error) == "-: Parquet in an archive, packed, or not in a file (unpack it)"


def test_a_generated_fleet_needs_no_file():
    assert names(read("generated:3:23")) == NAMES
    assert read("generated:3:0") == []
    cut = list(pieces(["generated:3:1000000"], 1000))
    assert len(cut) == 1000 and cut[-1].count == 1000 and len(pickle.dumps(cut[-1])) < 1000


def test_limits_go_with_the_piece(tmp_path):
    (tmp_path / "long.txt").write_bytes(b"\n" * 20 + log(64))
    with raised(lines=10):
        (piece,) = pieces([str(tmp_path / "long.txt")])
    (error,) = pickle.loads(pickle.dumps(piece)).machines()
    assert "more than 10 lines in a file" in str(error)
    with raised(fleet=100):
        found = read(tmp_path / "long.txt", "generated:1:2")
    assert len(names(found)) == 3


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress, bytes])
def test_bombs_cost_no_memory(tmp_path, pack):
    (tmp_path / "bomb.jsonl").write_bytes(pack(b'{"bars": []}\n' * 20_000))
    (tmp_path / "bomb.tar").write_bytes(pack(tar({"a": bytes(200_000)})))
    with raised(fleet=100_000, bytes=50_000):
        *read_before, lines_error, tar_error = read(tmp_path)
    assert "more than 97 KiB" in str(lines_error) or "in a fleet or an archive" in str(lines_error)
    assert "bomb.tar" in str(tar_error) and len(read_before) < 9000


def test_pieces_are_small_whatever_the_fleet(tmp_path):
    (tmp_path / "large.jsonl.gz").write_bytes(gzip.compress(lines(generate(1, 300)) * 20, 1))
    cut = list(pieces([str(tmp_path / "large.jsonl.gz")], 100))
    assert len(cut) == 60 and max(len(pickle.dumps(piece)) for piece in cut) < 300_000
    (tmp_path / "logs").mkdir()
    for number in range(6):
        (tmp_path / f"logs/{number}.txt").write_bytes(log(64 + number) + b"x\n" * 500_000)
    (tmp_path / "logs.tar").write_bytes(tar({path.name: path.read_bytes() for path in (tmp_path / "logs").iterdir()}))
    assert [len(piece.parts) for piece in pieces([str(tmp_path / "logs.tar")])] == [4, 2]
    assert [len(piece.parts) for piece in pieces([str(tmp_path / "logs")])] == [6]


@settings(max_examples=20 * EFFORT)
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 6), st.booleans())
def test_empty_lines_count_for_nothing(tmp_path_factory, gaps, most, packed):
    text = b"".join(b"\n" * gap + lines([record]) for gap, record in zip(gaps, RECORDS, strict=False))
    file = tmp_path_factory.mktemp("gaps") / "fleet.jsonl"
    file.write_bytes(gzip.compress(text) if packed else text)
    if text:
        assert names(read(file, most=most)) == NAMES[: len(gaps)]
        assert sum(piece.count for piece in pieces([str(file)], most)) == len(gaps)


def test_the_lines_of_machines_are_those_of_the_file(fleet):
    file = fleet / "odd.jsonl"
    file.write_bytes(lines(RECORDS[:3]) + b"\n{}\n" + lines(RECORDS[3:4]) + json.dumps({"bars": 1}).encode())
    assert [machine.line for machine in read(file, most=2) if isinstance(machine, InputError)] == [5, 7]
