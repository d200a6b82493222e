"""The first screen of `kernmalloc boot`: what somebody who knows nothing is told."""

import json
import re
import shlex

import pytest
from small_machines import SMALL_TOML
from typer.testing import CliRunner

from kernmalloc import Profile
from kernmalloc.cli import app
from kernmalloc.report import text


def run(*words, stdin=None):
    return CliRunner().invoke(app, words, input=stdin)


@pytest.fixture
def small(tmp_path):
    file = tmp_path / "a machine.toml"
    file.write_text(SMALL_TOML)
    return str(file)


def told(*words):
    result = run("boot", *words)
    assert result.exit_code == 0, result.output
    return result.output


def lines_to_type(output):
    return [shlex.split(line, comments=True) for line in output.splitlines() if line.startswith("  kernmalloc ")]


@pytest.mark.parametrize("kernel", [name for name in Profile.shipped() if not Profile.load(name).direct])
def test_three_sentences_say_what_happened(small, kernel):
    """Which kernel was booted on what; that the memory describes itself, and what that cost; that all invariants held.
    The figures are those of --json."""
    output = told(small, "--kernel", kernel)
    sentences = " ".join(output.split("Physical memory")[0].split())
    outcome = json.loads(run("boot", small, "--kernel", kernel, "--json").stdout)
    assert f"Kernel {kernel} was booted on small in " in sentences
    assert re.search(r"The memory now describes itself, at a cost of [\d.]+ [KM]iB, [\d.]+% of it: each of ", sentences)
    assert f" and {outcome['donation']['frames']:,} frames had to be donated for " in sentences
    assert re.search(rf"Every invariant held.*: {outcome['check']['assertions']:,} assertions", sentences)


def test_tables_are_for_who_asks(small):
    first, verbose, short = told(small), told(small, "--verbose"), told(small, "-v")
    for heading in ("Regions (as /proc/iomem)", "Heap and object caches", ": booted: "):
        assert heading not in first and heading in verbose and heading in short
    assert "Physical memory now" in first and "Physical memory now" not in verbose
    assert "Regions (as /proc/iomem)" in told(small, "--step"), "after its steps come the tables, as ever"


def test_what_to_try_next_names_the_machine_and_the_kernel_as_the_user_did(small):
    words = [small, "--ram", "0"][:1]
    output = told(*words, "--kernel", "eros2", "--strategy", "reserve", "--device-frames", "20000")
    lines = lines_to_type(output)
    asked = ["--kernel", "eros2", "--strategy", "reserve", "--device-frames", "20000"]
    assert ["kernmalloc", "show", small, *asked] in lines and ["kernmalloc", "run", "storm"] in lines
    assert ["kernmalloc", "plan", small, "--with", "24GiB", *asked] in lines
    assert ["kernmalloc", "plan", small, "--with", "24GiB"] in lines_to_type(told(small)), "nothing that was not asked"


def test_what_to_try_next_can_be_done(small):
    """But for the page, which needs a browser, and the storm, which takes its time."""
    for words in lines_to_type(told(small)):
        if words[1] in ("plan", "boot"):
            assert run(*words[1:]).exit_code == 0, words


@pytest.mark.parametrize("bits, card", [(36, "24GiB"), (32, "256MiB")])
def test_the_card_is_one_that_has_a_place(tmp_path, bits, card):
    file = tmp_path / "machine.toml"
    arch = "x86_64" if bits == 36 else "coldfire"
    file.write_text(f'arch = "{arch}"\n' + SMALL_TOML.split("devices")[0])
    (line,) = (line for line in lines_to_type(told(str(file))) if line[1] == "plan")
    assert run(*line[1:]).exit_code == 0


def test_an_advice_is_part_of_it(small):
    """A device that lacks entries is counted, and what to set is a line to type."""
    output = told(small, "--kernel", "eros2", "--strategy", "reserve", "--device-frames", "100")
    assert "Not every device has all its entries: of 1 range 1 extent-only" in output
    (line,) = (line for line in lines_to_type(output) if line[1] == "boot" and line[-1] != "--verbose")
    assert all(device["status"] == "fits" for device in json.loads(run(*line[1:], "--json").stdout)["devices"])


@pytest.mark.parametrize("columns", [44, 80, 118, 200])
def test_the_map_fits_the_terminal_and_has_at_most_78_columns(small, columns, monkeypatch):
    monkeypatch.setattr(text, "width", lambda: columns - text.INDENT)
    monkeypatch.setattr("kernmalloc.report.physical.width", lambda: columns - text.INDENT)
    output = told("workstation-64g")
    rows = [line for line in output.splitlines() if re.match(r"  [0-9a-f]{8,}  \S+$", line)]
    assert 2 <= len(rows) <= 9 and max(map(len, rows)) <= min(columns, 78)
    assert output.isascii()
