"""`kernmalloc run`."""

import json
import subprocess
import sys

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


def test_what_cannot_be_run_is_one_line(tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text('summary = "x"\ntouches = 1\nram = "2 MiB"\n[[processes]]\nname = "p"\npages = 10\n')
    for words, why in (
        (["none"], "none: no such scenario"),
        ([str(tmp_path / "missing.toml")], "missing.toml: No such file or directory"),
        ([str(bad)], "bad.toml: "),
        (["steady", "--mode", "twin"], "processes run compiled: use mode raw or soft"),
        (["smp", "--threads", "--mode", "soft"], "only in raw do processors run at the same time"),
    ):
        command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "run", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and why in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
