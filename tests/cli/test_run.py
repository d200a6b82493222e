"""`kernmalloc run`."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from kernmalloc.cli import app


def run(*words):
    return CliRunner().invoke(app, words)


def test_a_run_is_told_and_json_agrees():
    told = run("run", "steady", "--touches", "20000")
    assert told.exit_code == 0, told.output
    for part in ("hit rate", "reclaims", "written back", "waited", "promised", "every page is as it was written"):
        assert part in told.output
    line = json.loads(run("run", "steady", "--touches", "20000", "--json").stdout)
    assert line["held"] and line["touches"] == 20000 and f"{line['hit_rate']:.2%}" in told.output
    assert [load["name"] for load in line["loads"]] == ["editors", "backup", "objects", "buffers"]
    other = json.loads(run("run", "steady", "--touches", "20000", "--seed", "9", "--json").stdout)
    assert other["held"] and other["misses"] != line["misses"]


def test_the_soft_machine_tells_its_tlbs():
    """C2: of the kernel and of the processes that it runs beside."""
    told = run("run", "steady", "--touches", "3000", "--mode", "soft")
    assert told.exit_code == 0 and "TLB of Intel Skylake, until the last touch" in told.output
    counted = json.loads(run("run", "steady", "--touches", "3000", "--mode", "soft", "--json").stdout)["tlb_counted"]
    assert counted["structures"]["processes"]["accesses"] >= 3000
    assert f"misses of level 1 cost {counted['cycles']:,} cycles" in told.output


def test_a_full_temporary_folder_is_one_line_and_is_left_empty(tmp_path):
    """The room for the pages is taken before the first is written: nothing ends in the middle of a run."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "run", "steady"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done
        for part in ("no room for ", f"of pages in {tmp_path}/", "No space left on device", "TMPDIR"):
            assert part in done.stderr
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_trace_for_perfetto_is_written_and_json_stays_as_it_was(tmp_path):
    file = tmp_path / "run.pftrace"
    words = ("run", "steady", "--touches", "2000", "--json")
    told = run(*words, "--perfetto", str(file))
    assert told.exit_code == 0, told.output
    line, other = json.loads(told.stdout), json.loads(run(*words).stdout)
    assert line.keys() == other.keys() and line["misses"] == other["misses"]
    assert list(tmp_path.iterdir()) == [file] and b"waits for a page" in file.read_bytes()


def test_what_cannot_be_run_is_one_line(tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text('summary = "x"\ntouches = 1\nram = "2 MiB"\n[[processes]]\nname = "p"\npages = 10\n')
    for words, why in (
        (["none"], "none: no such scenario"),
        ([str(tmp_path / "missing.toml")], "missing.toml: No such file or directory"),
        ([str(bad)], "bad.toml: "),
        (["steady", "--mode", "twin"], "not one of 'raw', 'soft'"),
        (["steady", "--touches", "1" + "0" * 20], "'--touches': Input should be less than or equal to 2147483648"),
        (["steady", "--seed", "1" + "0" * 20], "'--seed': Input should be less than or equal to "),
        (
            ["steady", "--touches", "9", "--perfetto", str(tmp_path / "no" / "f")],
            "no/f: No such file or directory (name a",
        ),
        (["smp", "--threads", "--mode", "soft"], "only in raw do processors run at the same time"),
    ):
        command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "run", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and why in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
