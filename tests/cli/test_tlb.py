"""`kernmalloc tlb`."""

import json
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from kernmalloc.cli import app
from kernmalloc.machine.arch.processors import PROCESSORS

BOARD = "m5475-64m"


def run(*words):
    return CliRunner().invoke(app, ["tlb", *words])


def test_C2_the_three_mappings_are_told():
    """C2, C12: of a board for which nobody names a kernel; the fixed entries miss nothing on the heap."""
    done = run(BOARD)
    assert done.exit_code == 0, done.output
    for told in (
        "kernel coyotos-coldfire, load boot", "32 entries for data, loaded by software", "page by page",
        "in large pages", "fixed entries", "Entries that the load adds to the kernel's window",
        "A direct map of all RAM would take 64 MiB", " and 0; ",
    ):  # fmt: skip
        assert told in done.output, told


def test_json_is_one_object(tmp_path):
    done = run(BOARD, "--json", "--picture", str(tmp_path / "tlb.svg"))
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["processor"] == "coldfire-v4e" and told["locks"] and told["tlb_entries"] == 32
    assert [side["mapping"] for side in told["sides"]] == ["pages", "large pages", "fixed entries"]
    for side in told["sides"]:
        for phase in (side["boot"], side["load"]):
            misses = sum(each["walks"] for name, each in phase["structures"].items() if name != "processes")
            assert phase["cycles"] == misses * PROCESSORS["coldfire-v4e"].walk_cycles
        assert {point["entries"] for point in side["curve"]} >= {32, 64, 1024}
    assert ElementTree.parse(tmp_path / "tlb.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize(
    "words, why",
    [
        ((BOARD, "--kernel", "guest"), "--kernel guest: it maps nothing (ask of one with page tables)"),
        ((BOARD, "--picture", "tlb.png"), "--picture tlb.png: no such kind of picture (a file named .svg)"),
        ((BOARD, BOARD, "--picture", "tlb.svg"), "there are several machines (name one)"),
        (
            (BOARD, "--picture", "/nowhere/tlb.svg"),
            "/nowhere/tlb.svg: No such file or directory (name a file to write)",
        ),
        ((BOARD, "--load", "nowhere.trace"), "nowhere.trace: No such file or directory"),
        ((BOARD, "--load", "nowhere.toml"), "nowhere.toml: No such file or directory"),
        (("nosuch",), "nosuch: unreadable: No such file or directory"),
    ],
)
def test_what_cannot_be_compared_is_one_line(words, why, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    from kernmalloc.inputs.errors import InputError

    done = run(*words)
    said = str(done.exception) if isinstance(done.exception, InputError) else done.stderr.strip().splitlines()[-1]
    assert done.exit_code != 0 and why in said and "\n" not in said, done
