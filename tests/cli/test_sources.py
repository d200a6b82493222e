"""Where machines come from on the command line: every form of input, --ram, --devices, many machines in one file."""

import gzip
import json

import pytest
from typer.testing import CliRunner

from kernmalloc.cli import app
from kernmalloc.inputs.errors import InputError

LOG = "BIOS-e820: [mem 0x0000000000100000-0x00000000bfffffff] usable\n"
LIST = (
    "01:00.0 VGA compatible controller: x\n"
    "\tRegion 0: Memory at f0000000 (32-bit, non-prefetchable) [size=16M]\n"
    "\tRegion 1: Memory at 20000000 (64-bit, prefetchable) [size=256M]\n"
)
FLEET = "".join(
    json.dumps({"model": model, "ram": ram, "bars": [["0:1:0:0", "03", "10", "Memory", 32, 0xF0000000, 4096]]}) + "\n"
    for model, ram in (("first", 64 << 20), ("unknown", 0), ("last", 32 << 20))
)


def run(*words, stdin=None):
    return CliRunner().invoke(app, [str(word) for word in words], input=stdin)


@pytest.fixture
def files(tmp_path):
    for name, text in (("log.txt", LOG), ("lspci.txt", LIST)):
        (tmp_path / name).write_text(text)
    (tmp_path / "fleet.jsonl.gz").write_bytes(gzip.compress(FLEET.encode()))
    return tmp_path


def test_a_list_of_devices_needs_ram(files):
    result = run("check", files / "lspci.txt")
    assert result.exit_code == 2
    assert "RAM unknown: a list of PCI devices holds none (give --ram SIZE" in result.stderr
    result = run("check", files / "lspci.txt", "--ram", "4GiB")
    assert result.exit_code == 0
    assert "100000000-17fffffff : System RAM" in result.output
    assert "f0000000-f0ffffff : device (0000:01:00.0 BAR 0)" in result.output
    assert "lspci.txt:3: device window where RAM is: not published: 0000:01:00.0 0x20000000" in result.output


def test_ram_is_for_files_that_tell_none(files):
    result = run("check", "--ram", "4GiB", files / "log.txt", files / "lspci.txt")
    assert result.exit_code == 2 and "tells its RAM itself" in result.stderr
    assert "lspci: 4.0 GiB of RAM" in result.output  # the next machine is still read
    assert run("check", "--ram", "4GiB").exit_code == 2  # this computer


def test_devices_of_another_file(files):
    result = run("check", files / "log.txt", "--devices", files / "lspci.txt")
    assert result.exit_code == 1  # one of them lies inside RAM
    assert "f0000000-f0ffffff : device (0000:01:00.0 BAR 0)" in result.output
    reading = json.loads(run("check", "--json", files / "log.txt", "--devices", files / "lspci.txt").stdout)
    assert [d["status"] for d in reading["devices"]] == ["inside RAM", "assigned"]


def test_a_fleet_is_many_machines(files):
    result = run("check", "--json", files / "fleet.jsonl.gz")
    readings = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 2
    assert [(r["machine"], r["status"]) for r in readings] == [
        ("first", "readable"),
        ("", "unreadable"),
        ("last", "readable"),
    ]
    assert readings[1]["reason"].startswith("line 2: RAM unknown")
    result = run("check", "--ram", "1GiB", "-", stdin=FLEET)
    assert result.exit_code == 0 and result.output.count("1024 MiB of RAM") == 3


def test_every_machine_of_a_fleet_boots(files):
    result = run("boot", "--mode", "twin", "--json", files / "fleet.jsonl.gz")
    outcomes = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(o["machine"], o["status"]) for o in outcomes] == [
        ("first", "booted"),
        ("", "unreadable"),
        ("last", "booted"),
    ]
    assert result.exit_code == 2


@pytest.mark.parametrize("options", [("--ram", "lots"), ("--ram", "0"), ("--ram", "1GiB@"), ("--devices", "/nowhere")])
def test_an_option_that_makes_no_sense_is_refused(files, options):
    for command in ("check", "boot"):
        result = run(command, files / "lspci.txt", *options)
        assert isinstance(result.exception, InputError) and not result.output
