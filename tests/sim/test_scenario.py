"""Scenarios as files: what they may say, and how what they may not is refused."""

import msgspec
import pytest

from kernmalloc.inputs.errors import InputError
from kernmalloc.sim.scenario import Scenario

GOOD = """
summary = "test"
touches = 1000
ram = "16 MiB"
[[processes]]
name = "one"
pages = 10
"""

WRONG = {
    "an unknown key": (GOOD.replace("touches", "touched = 1\ntouches"), "touched: unknown key"),
    "one in a table": (GOOD + "page = 3\n", r"processes\[0\].page: unknown key \(known here: name, count, pages"),
    "a missing one": (GOOD.replace("touches = 1000", ""), "touches: missing"),
    "one of a table": (GOOD.replace("pages = 10", ""), r"processes\[0\].pages: missing"),
    "a wrong type": (GOOD.replace("1000", "'many'"), "touches: Expected `int`, got `str`"),
    "too few": (GOOD.replace("1000", "0"), "touches: Expected `int` >= 1"),
    "no size": (GOOD.replace("16 MiB", "16 miles"), "ram: '16 miles': not a size"),
    "not TOML": (GOOD + "pages = = 3", ":8: not TOML"),
    "two machines": (GOOD.replace("ram", 'machine = "desktop-16g"\nram'), "machine: a scenario has either"),
    "no machine": (GOOD.replace('ram = "16 MiB"', ""), "machine: a scenario has either a machine or ram"),
    "a tiny machine": (GOOD.replace("16 MiB", "64 KiB"), "ram: 65536 bytes are no PC"),
    "no processes": ('summary = "x"\ntouches = 1\nram = "16 MiB"\nprocesses = []', "processes: none"),
    "shares above one": (GOOD + "zipf = 0.7\nscan = 0.4", r"processes\[0\]: zipf, scan, loop and share come to 1.1"),
    "a loop too long": (GOOD + "loop = 1.0\nloop_pages = 11", r"processes\[0\].loop_pages: 11 of 10 pages"),
    "shared but not touched": (GOOD + "shared = 5", r"processes\[0\].share: share and shared go together"),
    "blocks of nothing": (
        GOOD + '[[heap]]\nname = "h"\nevery = 1\nhold = 1\nleast = 9\nmost = 8',
        r"heap\[0\].least: 9 to 8 bytes",
    ),
    "a device that does not go": (
        GOOD + '[[devices]]\nname = "d"\nevery = 5\nhold = 5\nbase = 0\nsize = 4096',
        r"devices\[0\].hold: it would still",
    ),
    "a file of its own": (GOOD.replace("summary", 'file = "x"\nsummary'), "file: unknown key"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_on_one_line(name):
    text, why = WRONG[name]
    with pytest.raises(InputError, match=why) as caught:
        Scenario.parse(text, "mine.toml")
    assert str(caught.value).startswith("mine.toml") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", Scenario.shipped())
def test_shipped_scenarios_say_what_every_key_is(name):
    scenario = Scenario.load(name)
    assert scenario.name == name and scenario.machine_made().ram and not scenario.profile().bank.lenient
    with open(scenario.file) as file:
        lines = file.read().splitlines()
    for key in ("seed", "ram", "kernel", "lenient", "withheld", "latency", "depth", "count"):
        assert any(line.startswith(key) and "#" in line for line in lines), f"{name}: {key} is not explained"


def test_the_five_are_shipped():
    assert Scenario.shipped() == ["dma", "hotplug", "smp", "steady", "storm"]


def test_paths_begin_at_the_scenario(tmp_path):
    (tmp_path / "board.toml").write_text('name = "board"\nmemory = [{ base = 0, size = 0x1000000, kind = "ram" }]')
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.replace('ram = "16 MiB"', 'machine = "board.toml"'))
    assert Scenario.load(file).machine_made().name == "board"
    file.write_text(
        GOOD.replace('ram = "16 MiB"', 'machine = "desktop-16g"\nstrategy = "hybrid"\nbank = { withheld = 7 }')
    )
    scenario = Scenario.load(file)
    assert (
        scenario.machine_made().ram
        and scenario.profile().strategy == "hybrid"
        and scenario.profile().bank.withheld == 7
    )
    with pytest.raises(InputError, match="no such scenario"):
        Scenario.load("storms")
    with pytest.raises(InputError):
        Scenario.load(tmp_path / "none.toml")


def test_a_plain_pc_has_the_ram_that_was_asked_for():
    for ram in (2 << 20, 64 << 20, 3 << 30, 5 << 30):
        machine = msgspec.structs.replace(Scenario.parse(GOOD), ram=ram).machine_made()
        holes = (1 << 20) - 0x9F000
        assert sum(r.size for r in machine.ram) == ram - holes
        assert all(r.end <= 3 << 30 or r.base >= 4 << 30 for r in machine.ram)
