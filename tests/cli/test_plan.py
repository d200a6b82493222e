"""`kernmalloc plan`, `compare`, and what `boot` tells of devices."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kernmalloc.cli import app
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.machine.memory_map import SHIPPED
from kernmalloc.sim.scenario import SHIPPED as SCENARIOS

DESKTOP = str(SHIPPED / "desktop-16g.toml")
XEON = str(SHIPPED / "xeon-32g.toml")


def run(*words):
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_plan_tells_all_and_json_agrees(strategy):
    result = run("plan", DESKTOP, "--strategy", strategy)
    assert result.exit_code == 0, result.output
    for part in ("core table entries", "page identities", "region records", "TLB entries", "promised", "fits"):
        assert part in result.output
    line = json.loads(run("plan", DESKTOP, "--strategy", strategy, "--json").stdout)
    assert line["status"] == "planned" and line["strategy"] == strategy
    assert set(line["devices"][0]) == {"base", "size", "status", "cost", "advice", "helped"}
    assert set(line["ledger"]) == {"promised", "available", "broken_by"} and line["tlb"]["entries"] > 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_boot_comes_to_what_was_planned(strategy):
    """C7, C8: `heap.planned` equals `heap.used` in the boot, and is what `plan` said."""
    planned = json.loads(run("plan", DESKTOP, "--strategy", strategy, "--json").stdout)
    booted = json.loads(run("boot", DESKTOP, "--strategy", strategy, "--json").stdout)
    assert booted["status"] == "booted"
    assert booted["heap"]["used"] == booted["heap"]["planned"] == planned["heap"]["planned"]
    for key in ("heap", "devices", "ledger", "tlb", "released", "page", "strategy"):
        assert booted[key] == planned[key], key


def test_C16_the_advice_is_a_line_to_type_and_it_helps():
    """C15, C16: what failed, by how many frames, the tunable, and the boot line."""
    words = ("plan", DESKTOP, "--strategy", "reserve", "--device-frames", "1000")
    result = run(*words)
    frames = re.search(r"device_frames=(\d+)", result.output)[1]
    assert re.search(r"entries for [\d,]+ of\s+its\s+[\d,]+\s+frames are\s+missing", result.output)
    line = result.output.strip().splitlines()[-1].split()
    assert line[:2] == ["kernmalloc", "boot"] and line[-2:] == ["--device-frames", frames]
    again = json.loads(run(*line[1:], "--json").stdout)
    assert {device["status"] for device in again["devices"]} == {"fits"}
    less = json.loads(run(*line[1:-1], str(int(frames) - 1), "--json").stdout)
    assert "extent-only" in {device["status"] for device in less["devices"]}
    assert "device_frames=" in run("boot", *words[1:]).output


def test_a_card_that_is_not_there_yet():
    """C21."""
    result = run(
        "plan", DESKTOP, "--kernel", "x86_64", "--strategy", "reserve+release", "--with", "24GiB", "--with", "B200"
    )
    assert "32 GiB" in result.output and "256 GiB" in result.output and "--device-frames" in result.output


def test_several_cards_and_the_line_that_asks_for_them():
    """The boot line repeats the words; every window of each card is planned."""
    made = run("plan", DESKTOP, "--kernel", "coyotos-i386", "--strategy", "reserve+release", "--with", "2 x RTX 3060")
    line = shlex.split(made.output.strip().splitlines()[-1])
    assert line[:2] == ["kernmalloc", "boot"] and line[line.index("--with") + 1] == "2 x RTX 3060"
    words = ("plan", DESKTOP, "--kernel", "x86_64", "--json")
    both, one = (json.loads(run(*words, "--with", text).stdout)["devices"] for text in ("2 x RTX 3060", "RTX 3060"))
    sizes = [sorted(device["size"] for device in devices) for devices in (both, one)]
    assert [each.count(16 << 30) for each in sizes] == [2, 1]


def test_the_cards_of_a_list(tmp_path):
    """`--with FILE` adds all its cards, `--with FILE:PLACE` one."""
    file = tmp_path / "lspci.txt"
    card = "{0}:00.0 3D controller: NVIDIA Corporation GH100 (rev a1)\n"
    card += "\tMemory at {1}000000000 (64-bit, prefetchable) [size=64G]\n"
    file.write_text(card.format("01", "1") + card.format("02", "2"))
    for text, count in ((f"{file}", 2), (f"{file}:02:00.0", 1), (f"3 x {file}", 6)):
        planned = json.loads(run("plan", DESKTOP, "--kernel", "x86_64", "--json", "--with", text).stdout)
        assert sum(device["size"] // (64 << 30) for device in planned["devices"]) == count


def test_several_machines_are_a_table():
    result = run("plan", DESKTOP, XEON, "--strategy", "reserve")
    rows = [line for line in result.output.splitlines() if "GiB" in line]
    assert len(rows) == 2


@pytest.mark.parametrize(
    "words",
    [("--strategy", "best"), ("--with", "big"), ("--kernel", "none"), ("--add-ram", "12 sheep"), ("--self-hosted",)],
)
def test_what_does_not_exist_is_one_line(words):
    command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "plan", DESKTOP, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_devices_in_any_order_cost_the_same():
    """C10: the order of publication changes nothing where all fit."""
    costs = []
    for words in ((), ("--shuffle", "1"), ("--shuffle", "2")):
        booted = json.loads(run("boot", DESKTOP, "--strategy", "reserve", "--json", *words).stdout)
        costs.append(sorted((d["base"], d["cost"], d["status"]) for d in booted["devices"]))
    assert costs[0] == costs[1] == costs[2]


def test_C13_the_ledger_is_printed():
    """C13, C14: a demand heap breaks what was promised, and says by how much; an affine one keeps it."""
    assert re.search(r"ledger: promised [\d,]+ frames.*BROKEN by [\d,]+ frames", run("boot", DESKTOP, "-v").output)
    kept = run("boot", DESKTOP, "--strategy", "reserve", "-v").output
    assert re.search(r"ledger: promised [\d,]+ frames.*: kept;", kept)
    assert (
        "frames that were promised" in run("boot", DESKTOP).output
        and "promised" not in run("boot", DESKTOP, "--strategy", "reserve").output
    )


def test_E40_the_capacity_table():
    assert "8.0 times" in run("plan", "--capacity").output


def test_C23_compare():
    lines = run("compare", DESKTOP, XEON, "--json", "--processes", "1").stdout.splitlines()
    assert len(lines) == 18 and {json.loads(line)["strategy"] for line in lines} == set(STRATEGIES)


BOARD = """\
board=EVALUATION
CONFIG_SYS_SDRAM_BASE=0x0
CONFIG_SYS_SDRAM_SIZE=0x40
range ram 0x00000000 0x4000000
range cs0 0xff800000 0x200000
range mbar 0xf0000000 0x1000000
"""


def test_C2_C7_C8_a_board_is_planned_as_it_boots(tmp_path):
    """C2, C7, C8: a ColdFire board by its constants; the heap's TLB entries, beside those that the processor has."""
    board = tmp_path / "board.txt"
    board.write_text(BOARD)
    words = (str(board), "--kernel", "coyotos-coldfire")
    text = run("plan", *words).output
    assert "EVALUATION: m68k, 64 MiB of RAM in 1 range, 2 device windows" in text
    assert "the processor's TLB, loaded by software, holds 32: 11 locked for the heap" in " ".join(text.split())
    planned, booted = (json.loads(run(command, *words, "--json").stdout) for command in ("plan", "boot"))
    assert booted["status"] == "booted" and booted["page"] == planned["page"] == 8192
    assert sum(booted["frames"].values()) * 8192 == 64 << 20
    assert booted["heap"]["used"] == booted["heap"]["planned"] == planned["heap"]["planned"]
    assert booted["released"] == planned["released"] == 1 << 20
    assert booted["tlb"] == planned["tlb"], "both are told after the release"
    assert booted["devices"] == planned["devices"] and {d["status"] for d in booted["devices"]} == {"fits"}
    board.write_text(BOARD.replace("range ram", "ram"))
    refused = run("plan", *words)
    assert refused.exit_code == 2 and "board.txt: unreadable: line 4: neither a range nor a constant" in refused.stderr


def test_a_range_above_the_limit_is_refused_in_one_sentence(tmp_path):
    """What no address reaches, and what lies where something else is, `boot` refuses as `plan` does."""
    file = tmp_path / "far.toml"
    file.write_text("""
name = "far"
memory = [{ base = 0x0, size = 0x4000000, kind = "ram" }, { base = 0xe0000000, size = 0x1000, kind = "rom" }]
devices = [
  { base = 0x4000000000, size = 0x80000, name = "far" },
  { base = 0xdffff000, size = 0x2000, name = "over ROM" },
]
""")
    told = [
        json.loads(run(command, str(file), "--kernel", "eros2", "--json").stdout)["devices"]
        for command in ("plan", "boot")
    ]
    assert told[0] == told[1]
    assert [device["advice"] for device in told[1]] == [
        "the memory map gives 0xe0000000-0xe0000fff to rom",
        "ends at 0x4000080000, above the physical address limit of 0x1000000000",
    ]


GUEST = """
name = "guest"
arch = "x86_64"
memory = [{ base = 0x0, size = 0xa0000, kind = "ram" }, { base = 0x100000, size = 0xff00000, kind = "ram" }]
"""


@pytest.fixture
def guest(tmp_path):
    file = tmp_path / "guest.toml"
    file.write_text(GUEST)
    return str(file)


def test_E39_ram_that_comes_later_is_planned_and_boots_so(guest):
    """E39: what page structures for 12 GiB cost before the memory is there, and that it is so."""
    words = (guest, "--add-ram", "12GiB", "--add-ram", "1GiB@0x400000000", "--add-ram", "4MiB@0x100000")
    planned, booted = (json.loads(run(command, *words, "--json").stdout) for command in ("plan", "boot"))
    for key in ("heap", "devices", "added", "ledger", "tlb", "released"):
        assert booted[key] == planned[key], key
    assert [(each["base"], each["size"], each["status"]) for each in booted["added"]] == [
        (4 << 30, 12 << 30, "added"),
        (16 << 30, 1 << 30, "added"),
        (1 << 20, 4 << 20, "refused"),
    ]
    assert 96 << 20 < booted["added"][0]["cost"] < 108 << 20
    assert "to RAM" in booted["added"][2]["advice"]
    assert sum(booted["frames"].values()) * 4096 == 0xA0000 + 0xFF00000 + (13 << 30)
    first = run("boot", *words).output
    assert "12 GiB of RAM added later." in first and "4 MiB of RAM NOT ADDED: " in first
    text = run("boot", *words, "--verbose").output
    assert re.search(
        r"RAM that came after the boot\n.*\n +100000000-3ffffffff +12 GiB +\d+ MiB +added +27,\d+ frames", text
    )
    assert re.search(r"booted: 256 MiB of RAM, 12 GiB added later, 1 GiB added later, 4 MiB NOT ADDED, ", text)
    assert "since then 3,407,872 frames of RAM came and the heap took" in text


@pytest.mark.parametrize("strategy, setting", [("hybrid", "growable"), ("release", "excess"), ("reserve", "strategy")])
def test_E39_C16_what_is_refused_comes_with_what_helps(guest, strategy, setting):
    """E39, C16: the least growth or excess with which it can be added, or another strategy; the boot line adds it, and
    with a page less it is not added."""
    words = ("plan", guest, "--kernel", "eros2", "--add-ram", "12GiB", "--strategy", strategy)
    told = json.loads(run(*words, "--json").stdout)
    advice, (added,) = told["advice"], told["added"]
    assert [*advice["settings"]] == [setting] and advice["reason"] == ""
    assert added["helped"] and added["status"] == "refused" and "the heap's bound leaves no room" in added["advice"]
    assert (advice["proof"]["before"]["added"], advice["proof"]["after"]["added"]) == (0, 1)
    text = run(*words).output
    assert text.rstrip().endswith(advice["line"]) and "12 GiB of RAM at 100000000 cannot be added" in text
    line, value = advice["line"].split()[1:], advice["settings"][setting]
    less = value - 4096 if setting in ("growable", "excess") else strategy
    for given, status in ((value, "added"), (less, "refused")):
        line[line.index(f"--{setting}") + 1] = str(given)
        booted = json.loads(run(*line, "--json").stdout)
        assert booted["added"][0]["status"] == status and (booted["advice"] is None) == (status == "added")


@pytest.mark.parametrize("strategy", ["demand", "hybrid"])
def test_E39_ram_may_hold_what_describes_it(guest, strategy):
    """`--self-hosted`: the range's own frames are counted apart, and none of those that are there go to it; what the
    page cache's hash gave back is page space's. The boot is as planned, and the advice keeps to it."""
    words = (guest, "--add-ram", "12GiB", "--self-hosted", "--strategy", strategy)
    words += ("--growable", str(128 << 20)) if strategy == "hybrid" else ()
    planned, booted = (json.loads(run(command, *words, "--json").stdout) for command in ("plan", "boot"))
    for key in ("heap", "devices", "added", "ledger", "tlb", "released"):
        assert booted[key] == planned[key], key
    (added,) = booted["added"]
    assert (added["status"], added["self_hosted"]) == ("added", True)
    assert 96 << 20 < added["hosted"] * 4096 < 108 << 20
    assert added["taken"] <= added["hosted"]
    (plain,) = json.loads(run("plan", *words[:3], *words[4:], "--json").stdout)["added"]
    assert (plain["hosted"], plain["self_hosted"]) == (0, False)
    for command in ("plan", "boot"):
        text = run(command, *words, *(["--verbose"] if command == "boot" else [])).output
        assert re.search(r"added +27,\d+ frames of its own hold what describes it\n", text)


def test_E39_C16_what_is_to_hold_what_describes_it_needs_growth_all_the_same(guest):
    told = run("plan", guest, "--add-ram", "12GiB", "--self-hosted", "--strategy", "hybrid").output
    assert re.search(r"boot .*--self-hosted .*--growable \d+", told)


def test_a_boot_line_has_the_card_and_boots():
    """The line that a plan with a card prints boots that machine with that card."""
    result = run("plan", DESKTOP, "--kernel", "x86_64", "--strategy", "reserve", "--with", "24GiB")
    line = result.output.strip().splitlines()[-1].split()
    assert line[:2] == ["kernmalloc", "boot"] and line[line.index("--with") + 1] == "24GiB"
    booted = json.loads(run(*line[1:], "--json").stdout)
    assert (32 << 30, "fits") in {(device["size"], device["status"]) for device in booted["devices"]}


def test_a_window_without_a_place_is_listed_with_its_cost(tmp_path):
    file = tmp_path / "unplaced.toml"
    file.write_text(
        GUEST + 'devices = [{ base = 0, size = 0x80000000, name = "0000:01:00.0", bar = 1, status = "unassigned" }]'
    )
    planned, booted = (json.loads(run(command, str(file), "--json").stdout)["devices"] for command in ("plan", "boot"))
    (device,) = booted
    chunk = 32 + 32 * 16  # entries of 32 frames and their head
    assert device["size"] == 2 << 30 and device["status"] == "unplaced"
    assert (2 << 30) // 4096 // 32 * chunk < device["cost"] < (2 << 30) // 4096 // 32 * (chunk + 32) + 300
    assert [{**device, "advice": ""} for device in planned] == [{**device, "advice": ""}]
    assert "no place; with one it would fit" in planned[0]["advice"]
    words = (str(file), "--strategy", "reserve", "--device-frames", "1000")
    assert re.search(r"entries for [\d,]+ frames would be missing", run("plan", *words).output)
    for command in (("plan",), ("boot", "--verbose")):
        assert re.search(r"no place +2 GiB +8\.\d MiB +unplaced", run(*command, str(file)).output)
    assert "of 1 range 1 unplaced" in run("boot", str(file)).output
    words = ("compare", str(file), DESKTOP, "--processes", "1")
    assert all(json.loads(row)["unplaced"] == 1 for row in run(*words, "--json").stdout.splitlines())
    assert "1 machine with windows that firmware gave no place" in run(*words).output


def test_ram_that_is_clipped_stands_in_every_verdict_and_row(tmp_path):
    """2 TiB of which a kernel uses 64 GiB is no plain success."""
    file = tmp_path / "big.toml"
    file.write_text(
        'name = "big"\nmemory = [{ base = 0x100000, size = 0x10000000, kind = "ram" }, '
        '{ base = 0x100000000000, size = 0x20000000000, kind = "ram" }]'
    )
    kernel = ("--kernel", "eros2")
    for command in ("plan", "boot"):
        assert json.loads(run(command, str(file), *kernel, "--json").stdout)["clipped"] == 2 << 40
        assert (
            "CLIPPED by the kernel's address limit: 2 TiB of RAM lie above the 36 bits"
            in run(command, str(file), *kernel).output
        )
        rows = run(command, str(file), str(file), *kernel).output
        assert rows.count("of 2.0 TiB") + rows.count("of 2 TiB") == 2, rows
    assert "256 MiB of 2.0 TiB of RAM, CLIPPED" in run("boot", str(file), *kernel, "--verbose").output
    line = json.loads(run("compare", str(file), DESKTOP, *kernel, "--json", "--processes", "1").stdout.splitlines()[0])
    assert (line["clipped"], line["clipped_worst"]) == (1, 2 << 40)
    told = run("compare", str(file), DESKTOP, *kernel, "--processes", "1").output
    assert "CLIPPED by the kernel's address limit: RAM of 1 machine, at most 2 TiB of one." in told
    trace = str(Path(__file__).parents[1] / "data" / "traces" / "freeciv.rep")
    words = (trace, "--machine", str(file), "--kernel", "eros2")
    assert "2 TiB of RAM CLIPPED by the kernel's address limit" in run("replay", *words).output
    assert json.loads(run("replay", *words, "--json").stdout)["clipped"] == 2 << 40
    scenario = tmp_path / "clipped.toml"
    text = (SCENARIOS / "steady.toml").read_text()
    scenario.write_text(re.sub(r"(?m)^(?:ram|machine) = .*", 'machine = "big.toml"', text))
    told = run("run", str(scenario), "--touches", "1000")
    assert told.exit_code == 0 and "2 TiB of RAM CLIPPED" in told.output, told.output


def test_a_header_of_a_fleet_and_conditions_for_a_build(tmp_path):
    """--header: constants of the worst of the machines; --fail-if: the exit status, and an assertion."""
    file = tmp_path / "plan.h"
    result = run("plan", DESKTOP, XEON, "--header", str(file), "--fail-if", "available < 1000", "--fail-if", "tlb>1")
    assert result.exit_code == 1
    assert re.search(r"desktop.*: tlb > 1: [\d,]+, entries that map the window", result.stderr)
    text = file.read_text()
    assert "#define KM_PLAN_FRAMES " in text and "KM_PLAN_ASSERT(!(" in text and "tlb > 1 on desktop" in text
    assert run("plan", DESKTOP, "--header", str(file), "--fail-if", "available<1000").exit_code == 0
    assert "tlb" not in file.read_text().split("KM_PLAN_ASSERT(!")[1]


def test_a_machine_that_does_not_fit_fails_a_build_and_no_other_plan(tmp_path):
    small = tmp_path / "small.txt"
    small.write_text("BIOS-e820: [mem 0x0000000000000000-0x000000000000ffff] usable\n")
    file = tmp_path / "plan.h"
    assert run("plan", str(small), DESKTOP).exit_code == 0
    assert run("plan", str(small), DESKTOP, "--fail-if", "frames<1").exit_code == 1
    assert run("plan", str(small), DESKTOP, "--header", str(file)).exit_code == 1
    assert '#error "kernmalloc plan: small: no range of RAM holds' in file.read_text()


def test_what_cannot_be_read_or_written_leaves_the_header_as_it_was(tmp_path):
    file = tmp_path / "plan.h"
    file.write_text("old")
    assert run("plan", DESKTOP, str(tmp_path / "none"), "--header", str(file)).exit_code == 2
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]
    assert run("plan", DESKTOP, "--header", str(tmp_path / "none" / "plan.h")).exit_code != 0
    assert run("plan", DESKTOP, "--fail-if", "pony>1").exit_code != 0
    assert run("plan", "--capacity", "--header", str(file)).exit_code != 0
