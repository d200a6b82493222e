"""The kernel of a machine where no --kernel names one."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kernmalloc.cli import app

GCC = str(Path(__file__).parents[1] / "data" / "traces" / "gcc.tracefs.txt")
BOARD = """
name = "{arch} board"
arch = "{arch}"
memory = [{{ base = {base}, size = 0x2000000, kind = "ram" }}]
"""


def run(*words: str):
    return CliRunner().invoke(app, words)


@pytest.fixture
def board(tmp_path):
    def make(arch: str, base: int = 0) -> str:
        path = tmp_path / f"{arch.strip('?')}{base:x}.toml"
        path.write_text(BOARD.format(arch=arch, base=base))
        return str(path)

    return make


def test_each_machine_gets_its_own_kernel(board):
    files = [board("i386"), board("x86_64", 1 << 36), board("m68k")]
    lines = run("plan", *files, "--json").stdout.splitlines()
    told = [(one["kernel"], one["note"]) for one in map(json.loads, lines)]
    assert told == [("eros2", ""), ("x86_64", ""), ("coyotos-coldfire", "")]
    table = run("plan", *files).output
    assert [line for line in table.splitlines() if line.startswith("Kernel ")] == [
        "Kernel eros2, strategy demand",
        "Kernel x86_64, strategy demand",
        "Kernel coyotos-coldfire, strategy reserve+release",
    ]


@pytest.mark.parametrize("arch", ["mips", "?"])
def test_that_none_is_for_a_machine_is_said_once(board, arch):
    said = "no shipped kernel is for mips" if arch == "mips" else "its architecture is not told"
    for command in ("boot", "plan"):
        text = run(command, board(arch))
        assert text.exit_code == 0
        assert " ".join(text.output.split()).count(f"{said}: eros2 stands in") == 1
        assert said in json.loads(run(command, board(arch), "--json").stdout)["note"]
        assert said not in run(command, board(arch), "--kernel", "eros2").output
    assert said in run("replay", GCC, "--machine", board(arch)).output


def test_a_strategy_is_for_whichever_kernel_it_is(board):
    done = run("plan", board("m68k"), board("i386"), "--strategy", "hybrid", "--growable", "1MiB", "--json")
    assert [json.loads(line)["strategy"] for line in done.stdout.splitlines()] == ["hybrid", "hybrid"]


def test_a_header_is_of_one_kernel(board, tmp_path):
    file = str(tmp_path / "plan.h")
    error = run("plan", board("m68k"), board("i386"), "--header", file).exception
    assert str(error).endswith("of one kernel, the machines take coyotos-coldfire, eros2 (--kernel names one for all)")
    assert run("plan", board("m68k"), board("i386"), "--header", file, "--kernel", "eros2").exit_code == 0


def test_compare_plans_each_on_its_own(board):
    text = run("compare", board("m68k"), board("mips"), "--processes", "1").output
    assert "Kernel coyotos-coldfire, eros2, 2 machines, 0 unreadable." in text
    assert "1 machine: no shipped kernel is for mips: eros2 stands in" in text


def test_a_scenario_runs_on_the_kernel_that_is_named(tmp_path):
    done = run("run", "steady", "--kernel", "x86_64", "--touches", "1000", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["kernel"] == "x86_64"
    refused = run("run", "steady", "--kernel", "linux-x86_64", "--touches", "1000").exception
    assert "this kernel has no page cache (NO_PAGES)" in str(refused)
