"""What a stranger types wrongly: one line that tells what, where and what to do; an exit status to rely on."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from kernmalloc import Machine, Profile
from kernmalloc.cli import app
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.machine.memory_map import SHIPPED
from kernmalloc.plan.advice import cure, tuned
from kernmalloc.plan.plan import plan, with_strategy
from kernmalloc.report.plan import way_out

DESKTOP = str(SHIPPED / "desktop-16g.toml")
EXAMPLE = str(SHIPPED.parents[2] / "examples" / "my-kernel.toml")


def run(*words, **kept):
    command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, **kept)


@pytest.mark.parametrize(
    "words, said",
    [
        (("plan", "nosuch.log"), "nosuch.log: unreadable: No such file"),
        (("plan", "/bin/ls"), "binary data, not text"),
        (("plan", EXAMPLE), "a kernel, not a machine (give it as --kernel)"),
        (("plan", DESKTOP, "--kernel", DESKTOP), "a machine, not a kernel (name it without --kernel)"),
        (("plan", DESKTOP, "--kernel", "eros3"), "no such profile (shipped are"),
        (("plan", DESKTOP, "--strategy", "Reserve"), "--strategy Reserve: no such strategy (one of static, demand"),
        (("plan", DESKTOP, "--device-frames", "-5"), "'--device-frames': Input should be greater than or equal to 0"),
        (("plan", DESKTOP, "--device-frames", "ten"), "kernmalloc plan: Invalid value for '--device-frames'"),
        (("plan", DESKTOP, "--device-frames", "9" * 20), "should be less than or equal to 1099511627776"),
        (
            ("plan", DESKTOP, "--device-frames", "9"),
            "strategy demand has no use for it (--strategy static or reserve or",
        ),
        (("boot", DESKTOP, "--strategy", "reserve", "--growable", "1GiB"), "no use for it (--strategy hybrid)"),
        (
            ("plan", DESKTOP, "--strategy", "hybrid", "--growable", "lots"),
            "--growable lots: not a size (write it as 8GiB, 512 MiB, 0x2000 or in bytes)",
        ),
        (("plan", DESKTOP, "--ram", "lots"), "--ram lots: not a size of RAM (write it as 8GiB or 1GiB@0x40000000)"),
        (
            ("plan", DESKTOP, DESKTOP, "--with", "nonsense"),
            "card 'nonsense': neither a size nor a known card nor a file (kernmalloc cards lists them)",
        ),
        (("plan", DESKTOP, "--with", "Radeon"), "card 'Radeon': several cards (say which: Radeon"),
        (
            ("plan", DESKTOP, "--with", "RTX 4080"),
            "'RTX 4080': no known card (another product: GeForce RTX 4080 Mobile",
        ),
        (("plan", DESKTOP, "--with", "999 x H100"), "card '999 x H100': more cards than any machine has slots for"),
        (("plan", DESKTOP, "--with", EXAMPLE), "no list of PCI devices (give the output of sudo lspci -vv)"),
        (("cards", "nonsense"), "card 'nonsense': neither a size nor a known card nor a file"),
        (("plan", DESKTOP, "--capacity"), "--capacity: is of no machine, and has no use for FILE (leave it out)"),
        (("plan", "--capacity", "--json"), "--capacity: is of no machine, and has no use for --json"),
        (("plan", DESKTOP, "--ram", "99999999 PiB"), "--ram 99999999 PiB: not a size of RAM"),
        (("plan", DESKTOP, "--with", "99999999 PiB"), "card '99999999 PiB': neither a size nor a known card"),
        (
            ("plan", DESKTOP, "--strategy", "release", "--excess", "99999999 PiB"),
            "--excess 99999999 PiB: not a size: 2^64",
        ),
        (("compare", DESKTOP, "--processes", "1" + "0" * 20), "should be less than or equal to 1024"),
        (("plan", DESKTOP, "--frob"), "No such option: --frob"),
        (("boot", DESKTOP, "--mode", "fast"), "not one of 'raw', 'soft', 'twin'"),
        (("frob",), "No such command 'frob'"),
        (("compare",), "Missing argument 'NAME|FILE...'"),
        (("compare", "nosuch"), "nosuch: No such file or directory (shipped machines are "),
        (("compare", DESKTOP, "--picture", "x.foo"), "--picture x.foo: "),
    ],
)
def test_what_is_wrong_is_one_line(words, said):
    done = run(*words, env={**os.environ, "TERM": "dumb"})
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert done.returncode == 2 and len(lines) == 1 and said in lines[0], lines


def test_a_closed_pipe_is_no_broken_invariant():
    for command in ("plan", "boot"):
        words = [sys.executable, "-c", "from kernmalloc.cli import main; main()", command, DESKTOP]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait() in (0, 141)  # it may have been done before


@pytest.mark.parametrize(
    "name, strategy, unit",
    [
        ("device-frames", "reserve", 1),
        ("device-frames", "static", 1),
        ("excess", "release", 4096),
        ("growable", "hybrid", 4096),
    ],
)
def test_C15_too_much_is_answered_by_the_most_that_fits(name, strategy, unit):
    """C15: a reserve that the machine cannot hold is refused with the largest that it can, proved by a plan."""
    computer, profile = Machine.shipped("desktop-16g"), with_strategy(Profile.load("eros2"), strategy)
    large = tuned(profile, {name: 1 << 39})
    try:
        plan(computer, large)
    except TooSmall:
        advice = cure(computer, large)
        assert way_out(advice) == f"--{name} {advice.settings[name]} is the most that fits"
        most = advice.settings[name]
        assert advice.proof.top == plan(computer, tuned(profile, {name: most})).top
        assert plan(computer, tuned(profile, {name: most}))
        with pytest.raises(TooSmall):
            plan(computer, tuned(profile, {name: most + unit}))
    else:
        assert name == "growable"  # it is bounded by the window, not reserved


def test_a_machine_that_no_strategy_fits_gets_no_advice():
    computer = Machine.from_toml('name = "tiny"\nmemory = [{ base = 0x100000, size = 0x200000, kind = "ram" }]\n')
    for strategy in STRATEGIES:
        advice = cure(computer, with_strategy(Profile.load("eros2"), strategy))
        assert advice.proof is None and advice.settings == {} and "no strategy helps" in way_out(advice)


def test_the_boot_line_repeats_what_was_asked():
    """C16: the line to type keeps the options that the advice does not change."""
    words = ("plan", DESKTOP, "--strategy", "reserve", "--device-frames", "10", "--withheld", "5", "--kernel", "eros2")
    line = run(*words).stdout.rstrip().splitlines()[-1].split()
    assert line[:2] == ["kernmalloc", "boot"] and line[2] == DESKTOP
    assert line[line.index("--withheld") + 1] == "5" and line.count("--device-frames") == 1
    again = run(*line[1:], "--json")
    assert again.returncode == 0 and "extent-only" not in again.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--strategy", "reserve", "--device-frames", "999999999"),
        ("--strategy", "reserve", "--device-ranges", "1000000"),
        ("--strategy", "release", "--excess", "1TiB"),
    ],
)
def test_C16_a_kernel_that_is_too_large_comes_with_a_line_that_boots(options, tmp_path):
    """C16: what a machine cannot hold is answered by a setting, its value, the proof and a line that boots it; `boot`
    says what `plan` says."""
    file = tmp_path / "small.toml"
    file.write_text('arch = "x86_64"\nmemory = [{ base = 0x100000, size = 0x2000000, kind = "ram" }]\n')
    words = (str(file), "--kernel", "eros2", *options)
    planned, booted = (told(command, *words) for command in ("plan", "boot"))
    assert planned["status"] == "refused" and planned["advice"] == booted["advice"]
    advice = planned["advice"]
    assert advice["settings"] and advice["proof"]["before"] is None and advice["proof"]["after"]["available"] > 0
    text = CliRunner().invoke(app, ["plan", *words]).stdout.splitlines()
    assert text[-1] == f"  {advice['line']}" and "refused" in text[0]
    again = told(*advice["line"].split()[1:])
    assert again["status"] == "booted" and again["advice"] is None


def told(*words):
    """The JSON object that a command prints, in this process."""
    return json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)


def test_what_no_setting_helps_is_a_reason_as_data():
    """A card that has no place: no setting, no line. What cannot be read has no advice."""
    card = told("plan", "desktop-16g", "--with", "4PiB")
    assert card["status"] == "refused" and "above the" in card["reason"]
    assert card["advice"] == {"settings": {}, "proof": None, "line": "", "reason": card["reason"]}
    assert told("plan", "/bin/ls")["advice"] is None
