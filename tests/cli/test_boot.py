"""`kernmalloc boot`: what a person and a program get, whatever the machine and the kernel."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from small_machines import SMALL_TOML
from typer.testing import CliRunner

from kernmalloc import Machine, Profile
from kernmalloc.cli import app

KEYS = [
    "file",
    "machine",
    "status",
    "reason",
    "frames",
    "heap",
    "donation",
    "check",
    "seconds",
    "strategy",
    "devices",
    "ledger",
    "tlb",
    "released",
    "page",
    "clipped",
    "added",
    "kernel",
    "note",
    "tlb_counted",
    "advice",
]


TINY = 'name = "tiny"\nmemory = [{ base = 0x100000, size = 0x210000, kind = "ram" }]\n'


def run(*words, stdin=None):
    return CliRunner().invoke(app, ["boot", *words], input=stdin)


@pytest.fixture
def small(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(SMALL_TOML)
    return str(file)


@pytest.fixture
def tiny(tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return str(file)


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_a_report_tells_of_every_part(small, mode):
    result = run(small, "--mode", mode, "--verbose")
    assert result.exit_code == 0, result.output
    for part in ("Regions", "Donation", "Core tables: ", "Page space", "Heap and object caches", "node", "thread"):
        assert part in result.output
    assert f"runs {mode}" in result.output
    assert result.output.splitlines()[-1].startswith(f"{small} (small): booted: ")


@pytest.mark.parametrize("mode", ["raw", "soft", "twin"])
def test_json_is_one_stable_object_per_machine(small, tiny, mode):
    result = run(small, small, "--json", "--mode", mode)
    first, second = map(json.loads, result.stdout.splitlines())
    assert list(first) == KEYS
    assert first["status"] == "booted" and first["reason"] == "" and first["machine"] == "small"
    assert sum(first["frames"].values()) == (0xA0000 + 0x3F00000) >> 12
    assert set(first["heap"]) == {"used", "planned", "backed", "bound"} and set(first["donation"]) == {
        "frames",
        "bytes",
    }
    assert first["donation"]["bytes"] == 4096 * first["donation"]["frames"] > 0
    assert first["check"]["passed"] is True and first["check"]["assertions"] > 16000
    del first["seconds"], second["seconds"]
    assert first == second


def test_all_modes_report_the_same_kernel(small):
    told = [json.loads(run(small, "--json", "--mode", mode).stdout) for mode in ("raw", "soft", "twin")]
    counted = [outcome.pop("tlb_counted") for outcome in told]
    for outcome in told:
        del outcome["seconds"]
    assert told[0] == told[1] == told[2]
    assert [bool(each) for each in counted] == [False, True, False], "only the soft machine has TLBs of its own"


def test_the_soft_machine_tells_its_tlbs(small):
    """C2: accesses, misses, walks and cycles of the kernel's memory, as text and as JSON."""
    told = run(small, "--mode", "soft", "--kernel", "riscv64", "--verbose").output
    line = json.loads(run(small, "--mode", "soft", "--kernel", "riscv64", "--json").stdout)["tlb_counted"]
    assert "TLB of SiFive U74, from power-on on" in told and line["processor"] == "sifive-u74"
    assert line["misses"] == sum(each["misses"] for each in line["structures"].values()) > 0
    assert line["cycles"] == 5 * (line["misses"] - line["walks"]) + 20 * line["walks"]
    assert f"misses of level 1 cost {line['cycles']:,} cycles" in told
    for name, each in line["structures"].items():
        assert (f"\n  {name} " in told) == (each["accesses"] > 0)
    for words in ((), ("--mode", "soft", "--kernel", "guest")):
        assert "TLB of" not in run(small, *words, "--verbose").output


@pytest.mark.parametrize("kernel", [name for name in Profile.shipped() if not Profile.load(name).direct])
def test_every_shipped_kernel_boots(small, kernel):
    result = run(small, "--kernel", kernel)
    assert result.exit_code == 0 and "booted" in result.output, result.output
    assert f"Kernel {kernel} " in result.output


def test_several_machines_get_a_line_each(small, tiny):
    result = run(small, tiny, small)
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == ["booted", "refused", "booted"]


def test_of_several_machines_each_that_lacks_something_has_a_line_that_boots_it(small):
    few = ("--with", "256MiB", "--strategy", "reserve", "--kernel", "eros2", "--device-frames", "64")
    lines = run(small, "desktop-16g", *few).stdout.splitlines()
    assert [line.split(": ")[1] for line in lines[::2]] == ["booted", "booted"]
    for line, name in zip(lines[1::2], (small, "desktop-16g"), strict=True):
        words = shlex.split(line)
        assert words[:3] == ["kernmalloc", "boot", name]
        (became,) = map(json.loads, run(*words[2:], "--json").stdout.splitlines())
        assert became["advice"] is None and {each["status"] for each in became["devices"]} == {"fits"}


def test_a_machine_too_small_is_refused_in_figures_and_exit_status_0(tiny):
    result = run(tiny, "--json")
    assert result.exit_code == 0
    outcome = json.loads(result.stdout)
    assert list(outcome) == KEYS and outcome["status"] == "refused"
    assert any(figure.isdigit() for figure in outcome["reason"])
    assert outcome["frames"] is outcome["heap"] is outcome["donation"] is outcome["check"] is None


def test_an_unreadable_file_is_told_the_others_boot_and_exit_status_is_2(tmp_path, small):
    bad = tmp_path / "bad.txt"
    bad.write_text("BIOS-e820: [mem 0x0000000000000000-0x00000000zzzzzzzz] usable\n")
    result = run(str(bad), small, "--json")
    assert result.exit_code == 2
    first, second = map(json.loads, result.stdout.splitlines())
    assert list(first) == KEYS and first["status"] == "unreadable" and first["reason"]
    assert second["status"] == "booted"
    text = run(str(bad), small)
    assert text.exit_code == 2 and text.stderr.count("\n") == 1 and "unreadable" in text.stderr


def test_standard_input_is_a_machine():
    result = run("-", "--json", stdin=SMALL_TOML)
    outcome = json.loads(result.stdout)
    assert outcome["file"] == "-" and outcome["status"] == "booted"


def test_this_computer_boots_and_says_where_its_map_was_found():
    result = run()
    assert result.exit_code == 0, result.output
    assert Machine.this_computer()[1] in result.output


def test_E32_E37_steps_show_the_state_of_the_donated_frames(small):
    """E32, E33: the circle and how it is resolved; E35: the donation comes first; E37: entries are marked by hand."""
    lines = run(small, "--step").output.splitlines()
    steps = [match[1] for line in lines if (match := re.match(r" *\d+  (\w+)", line))]
    assert steps[:4] == ["donate", "table", "mark", "list"] and steps[-1] == "objects"
    bars = [line.strip()[1:33] for line in lines if line.strip().startswith("[")]
    assert set(bars[0]) == {"."}
    assert set(bars[1]) == {"h", "m"}
    assert set(bars[2]) == {"H", "M"}


@pytest.mark.parametrize("gib", [16, 64])
def test_E4_large_machines_boot_and_the_ratio_achieved_is_printed(tmp_path, gib):
    """E4: 16 and 64 GiB of RAM under less than 1 GiB of kernel VA; object counts are what the window holds."""
    file = tmp_path / "large.toml"
    ram = f'{{ base = 0x100000, size = {(gib << 30) - 0x100000}, kind = "ram" }}'
    file.write_text(f'name = "large"\nmemory = [{ram}]\n')
    result = run(str(file), "--verbose")
    assert result.exit_code == 0 and "booted" in result.output
    share, pages = re.search(r"holds ([\d.]+)% of the objects .*: one node per ([\d.]+) pages", result.output).groups()
    assert float(share) < 100 and float(pages) == pytest.approx(100 / float(share), rel=0.05)


def test_clipped_ram_is_counted_and_printed(tmp_path):
    file = tmp_path / "high.toml"
    high = "{ base = 0x1000000000, size = 0x40000000, kind = 'ram' },"
    file.write_text(SMALL_TOML.replace("memory = [", f"memory = [\n  {high}"))
    result = run(str(file), "--kernel", "eros2")
    assert result.exit_code == 0
    assert "CLIPPED by the kernel's address limit: 1 GiB of RAM lie above the 36 bits of its physical" in result.output


def test_lines_arrive_one_by_one(small):
    words = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "boot", small, "-", "--json"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert json.loads(process.stdout.readline())["machine"] == "small"  # while it still waits for input
        process.stdin.write(TINY)
        process.stdin.close()
        assert json.loads(process.stdout.readline())["machine"] == "tiny"


def test_a_warm_boot_does_not_import_the_compiler(small):
    code = "import sys\ntry:\n from kernmalloc.cli import main; main()\nexcept SystemExit:\n print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "boot", small], capture_output=True, text=True, check=True)
    assert "numba" not in done.stdout.splitlines()[-1].split()


LARGE = 'name = "1 TiB"\nmemory = [{ base = 0x100000, size = 0x10000000000, kind = "ram" }]\n'


def test_what_a_check_would_read_is_limited():
    """What nobody has used takes no memory, until a check reads it: 1 TiB is refused by size, and nothing was read."""
    result = run("-", "--kernel", "x86_64", "--json", stdin=LARGE)
    outcome = json.loads(result.stdout)
    assert result.exit_code == 0 and outcome["status"] == "refused" and outcome["seconds"] < 30
    assert outcome["reason"] == "more than 4 GiB of core tables to check, they are 8 GiB (--limit memory=N takes more)"
    again = run("-", "--limit", "memory=1GiB", "--json", stdin=SMALL_TOML)
    assert json.loads(again.stdout)["status"] == "booted"
    fewer = run("-", "--limit", "memory=256KiB", stdin=SMALL_TOML)
    assert fewer.exit_code == 0 and "refused: more than 256 KiB of core tables to check" in fewer.stdout
