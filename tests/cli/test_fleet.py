"""`kernmalloc fleet`."""

import csv
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kernmalloc.cli import app
from kernmalloc.fleet.answer import Answer, Costs
from kernmalloc.fleet.rows import DeviceRow, MachineRow
from kernmalloc.fleet.work import LeftOver
from kernmalloc.inputs.errors import InputError

FLEET = "generated:9:24"


def run(*words: str):
    return CliRunner().invoke(app, ["fleet", *words, "--processes", "1"])


def test_the_value_and_its_boot_line_are_told_and_true():
    done = run(FLEET, "desktop-16g", "--kernel", "eros2")
    assert done.exit_code == 0, done.output
    (line,) = (line.strip() for line in done.output.splitlines() if line.strip().startswith("kernmalloc boot FILE"))
    (answer,) = (
        json.loads(line) for line in run(FLEET, "desktop-16g", "--kernel", "eros2", "--json").output.splitlines()
    )
    assert answer["lines"] == [line] and answer["machines"] == 25 and answer["wrong"] == []
    assert f"device-frames = {answer['value']:,} covers {answer['covered']:,} of 25 machines" in done.output
    assert {each["machine"] for each in answer["left_over"]} <= {*done.output.replace("  ", "\n").split("\n")} | {""}
    booted = CliRunner().invoke(app, [*line.replace("FILE", "desktop-16g").split()[1:], "--json"])
    assert all(each["status"] == "fits" for each in json.loads(booted.stdout)["devices"])


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("--for", "heap"), ("window = ", "kernmalloc boot FILE --kernel eros2 --strategy demand --window ")),
        (("--for", "hole", "--with", "24GiB"), ("Guests", "-global q35-pcihost.pci-hole64-size=", "string=")),
        (("--for", "hotadd", "--to", "48GiB"), ("boot-memory = ", "-m ", ",slots=256,maxmem=49152M")),
        (("--strategy", "hybrid"), ("growable = ", "--strategy hybrid --growable ")),
        (("--cover", "50%"), ("It is the smallest that covers 12.",)),
    ],
)
def test_each_purpose_is_answered(words, lines):
    done = run(FLEET, "--kernel", "eros2", *words)
    assert done.exit_code == 0 and all(line in done.output for line in lines), done.output
    assert "WRONG" not in done.output


def test_of_one_machine_all_is_told(tmp_path):
    placed = run("desktop-16g", "--for", "hole", "--with", "GeForce RTX 3090").output
    assert "Placed, in order of address" in placed and "GeForce RTX 3090" in placed and "pci=nocrs" in placed
    guest = tmp_path / "guest.toml"
    guest.write_text(
        'name = "guest"\narch = "x86_64"\nmemory = [{ base = 0x100000, size = 0xfe00000, kind = "ram" }]\n'
    )
    grown = run(str(guest), "--for", "hotadd", "--to", "12GiB", "--kernel", "linux-x86_64")
    assert grown.exit_code == 0, grown.output
    assert "Steps, in order" in grown.output and "are missing. It grows in 2 steps." in grown.output
    least = re.search(r"in steps +(\d+) MiB", grown.output)[1]
    assert f"boot-memory = {least} MiB covers 1 of 1 machine" in grown.output
    movable = run(str(guest), "--for", "hotadd", "--to", "12GiB", "--kernel", "linux-x86_64", "--movable").output
    assert "can grow no further" in movable


def test_rows_are_kept_and_asked(tmp_path):
    done = run(FLEET, "--parquet", str(tmp_path / "kept"), "--csv", str(tmp_path / "rows.csv"))
    assert done.exit_code == 0, done.output
    with open(tmp_path / "rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 and list(rows[0]) == list(MachineRow._fields)
    asked = run("--parquet", str(tmp_path / "kept"), "--sql", "SELECT id, ram FROM machines", "--json")
    told = [json.loads(line) for line in asked.output.splitlines()]
    assert [(row["id"], row["ram"]) for row in rows] == [(each["id"], str(each["ram"])) for each in told]
    again = run(FLEET, "--parquet", str(tmp_path / "kept"), "--for", "heap")
    assert "holds the work of another question" in str(again.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "fleet: no machines are named"),
        ((FLEET, "--cover", "120%"), "--cover 120%: no share of machines"),
        ((FLEET, "--for", "hotadd"), "--for hotadd: goes with --to"),
        ((FLEET, "--to", "3GiB"), "--for hotadd: goes with --to"),
        ((FLEET, "--with", "no such card"), "no such card"),
        (("--sql", "SELECT 1"), "fleet: no machines are named"),
        ((FLEET, "--sql", "SELECT"), "--sql: "),
    ],
)
def test_what_cannot_be_done_is_said(words, said):
    with pytest.raises(InputError, match=re.escape(said)):
        CliRunner().invoke(app, ["fleet", *words, "--processes", "1"], catch_exceptions=False)


def test_what_cannot_be_read_is_said_and_is_status_2():
    done = run("nothing.txt")
    assert done.exit_code == 2 and "nothing.txt: No such file or directory" in done.stderr


def test_every_key_of_the_answer_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    part = text[text.index("## `kernmalloc fleet --json`") : text.index("## `kernmalloc tlb --json`")]
    keys = {*Answer.__struct_fields__, *Costs.__struct_fields__, *LeftOver.__struct_fields__}
    assert {key for key in keys if f"`{key}`" not in part} == set()


def test_every_column_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
    assert {name for name in (*MachineRow._fields, *DeviceRow._fields) if f"`{name}`" not in text} == set()


def test_a_share_that_cannot_be_had_is_status_1():
    done = run("desktop-16g", "--kernel", "coyotos-i386", "--window", "64MiB")
    assert done.exit_code == 1
    assert "No value of device-frames covers 1 of 1 machine: the best covers 0, 0%." in done.output
    assert "core tables for 15.9 GiB of RAM take" in done.output
