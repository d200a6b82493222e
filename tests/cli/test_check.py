"""`kernmalloc check`: a machine is read and told, whatever the file holds; a bad file is one line and exit status 2."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from kernmalloc import __version__
from kernmalloc.cli import app, main

LOG = """\
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x00000000000f0000-0x00000000000fffff] reserved
BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable
BIOS-e820: [mem 0x0000000030000000-0x000000003fffffff] reserved
"""


def run(*words, stdin=None):
    return CliRunner().invoke(app, list(words), input=stdin)


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "log.txt"
    file.write_text(LOG)
    return str(file)


def test_ranges_are_listed_as_proc_iomem_does(log):
    result = run("check", log)
    assert "00000000-0009fbff : System RAM" in result.output
    assert "30000000-3fffffff : Reserved" in result.output
    assert "line 3" in result.output


def test_what_is_wrong_with_the_machine_is_told_by_line_and_by_the_exit_status(log):
    result = run("check", log)
    assert f"Wrong with the machine:\n{log}:4: overlaps line 3: reserved wins" in result.output
    assert result.output.endswith(f"{log}: 1 problem\n") and result.exit_code == 1


def test_what_the_file_lacks_or_nobody_understands_is_nothing_wrong_with_the_machine(tmp_path):
    file = tmp_path / "log.txt"
    file.write_text("Memory: 57840K/65536K available (4762K kernel code)\nmystery: [mem 0x00080000-0x0017ffff]\n")
    result = run("check", str(file))
    assert f"Missing in the file:\n{file}: tells how much RAM there is (67108864 bytes) but not where" in result.output
    assert f"Not understood:\n{file}:2: not understood: mystery: [mem" in result.output
    verdict = "nothing wrong with the machine, 1 thing missing in the file, 1 line not understood"
    assert result.output.endswith(f"{file}: {verdict}\n") and result.exit_code == 0
    reading = json.loads(run("check", "--json", str(file)).output)
    assert [len(reading[key]) for key in ("problems", "missing", "unread")] == [0, 1, 1]


def test_one_machine_with_a_problem_among_several_makes_the_exit_status(tmp_path, log):
    sound = tmp_path / "sound.txt"
    sound.write_text(LOG.rpartition("BIOS")[0])
    assert run("check", str(sound)).exit_code == 0
    assert run("check", log, str(sound)).exit_code == 1
    assert run("check", log, str(tmp_path / "absent"), str(sound)).exit_code == 2


def test_which_of_two_maps_was_taken_is_told_and_how_to_take_the_other(tmp_path):
    file = tmp_path / "xen.txt"
    file.write_text(
        "BIOS: 0000000000000000 - 0000000080000000 (usable)\nXen: 0000000000000000 - 0000000040000000 (usable)\n"
    )
    result = run("check", str(file))
    assert "2 GiB of RAM" in result.output
    assert "This is the machine's; the domain's has 1 GiB of RAM and is taken with --map domain." in result.output
    result = run("check", "--map", "domain", str(file))
    assert "1 GiB of RAM" in result.output and "--map machine." in result.output
    assert run("check", "--map", "host", str(file)).exit_code == 2
    (tmp_path / "one.txt").write_text("BIOS: 0000000000000000 - 0000000080000000 (usable)\n")
    result = run("check", "--map", "domain", str(tmp_path / "one.txt"))
    assert result.exit_code == 2 and "has one memory map" in result.stderr


def test_a_window_without_a_place_is_listed(tmp_path):
    file = tmp_path / "log.txt"
    file.write_text(
        "BIOS-e820: [mem 0x0-0xfffff] usable\npci 0000:0a:00.0: BAR 1: no space for [mem size 0x800000000 64bit pref]\n"
    )
    output = run("check", str(file)).output
    assert "1 device window, 1 of them without a place" in output
    assert "without a place : device (0000:0a:00.0 BAR 1)" in output and "32 GiB  line 2" in output


def test_standard_input_is_a_machine(log):
    result = run("check", "-", stdin=LOG)
    assert result.exit_code == 1
    assert "00100000-2fffffff : System RAM" in result.output


def test_json_holds_the_whole_reading(log):
    reading = json.loads(run("check", "--json", log).output)
    assert reading["status"] == "readable" and reading["ram"] == 0x9FC00 + 0x2FF00000
    assert reading["problems"][0]["line"] == 4
    assert list(reading) == [
        "file",
        "machine",
        "status",
        "reason",
        "arch",
        "ram",
        "ranges",
        "devices",
        "problems",
        "missing",
        "unread",
        "ignored",
        "map",
        "other_ram",
    ]


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x00\xff\x13" * 100, b"00000000-00000000 : System RAM\n"])
def test_a_bad_file_is_one_line_and_exit_status_2(tmp_path, log, content):
    bad = tmp_path / "bad"
    bad.write_bytes(content)
    result = run("check", str(bad), log)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1 and result.stderr.startswith(f"{bad}:")
    assert "System RAM" in result.stdout  # the next machine is still read


def test_a_bad_file_is_a_json_object_too(tmp_path):
    result = run("check", "--json", str(tmp_path / "absent"), str(tmp_path))
    assert result.exit_code == 2 and not result.stderr
    absent, folder = map(json.loads, result.stdout.splitlines())
    assert absent["status"] == folder["status"] == "unreadable"
    assert absent["reason"] == "No such file or directory" and folder["reason"].startswith("a folder that is neither")


def test_a_refused_profile_is_one_line_and_exit_status_2(log, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kernmalloc", "boot", log, "--kernel", "nobody"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith(
        "nobody: no such profile (shipped are aarch64, armv7, coyotos-coldfire, coyotos-i386, eros"
    )


def test_an_option_that_does_not_exist_is_told_and_exit_status_2(log):
    assert run("boot", log, "--colour").exit_code == 2
    assert run("boot", log, "--mode", "fast").exit_code == 2


def kernmalloc(*words):
    return [sys.executable, "-c", "from kernmalloc.cli import main; main()", *words]


def test_version():
    out = subprocess.run(kernmalloc("--version"), capture_output=True, text=True, check=True).stdout
    assert out == f"kernmalloc {__version__}\n"


def test_version_imports_nothing_that_computes():
    code = "import sys\ntry:\n from kernmalloc.cli import main; main()\nexcept SystemExit:\n print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "llvmlite", "numba", "rich"} & set(out.split())


def test_a_reader_that_leaves_early_is_no_error(log):
    command = " ".join([*(f"'{word}'" for word in kernmalloc("check")), *[f"'{log}'"] * 200])
    done = subprocess.run(["bash", "-c", f"{command} | head -1"], capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.count("\n") == 1
