"""Generated fleets: the same for a seed everywhere, like the real ones, and read back without a problem."""

import gzip
import hashlib
from itertools import pairwise

import fleet_facts
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.fleet import generate as module
from kernmalloc.fleet.generate import generate, write
from kernmalloc.fleet.pieces import pieces
from kernmalloc.inputs import fleet
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import Machine, resolve

COUNT = 20_000
FIRST_1000 = "544d7de3ff861efa1b052823b59288a9f47752acbfbe8919ad861f19873aa7ee"
"""SHA-256 of the first thousand machines of seed 1, as JSON Lines."""

needs_fleet = pytest.mark.skipif(not fleet_facts.FLEET.exists(), reason="the collection of real machines is not here")


def lines(records) -> bytes:
    return msgspec.json.Encoder().encode_lines(records)


def machines(records) -> list[Machine]:
    return [resolve(fleet.facts(record, "generated", number)) for number, record in enumerate(records, 1)]


@pytest.fixture(scope="module")
def made() -> list[Machine]:
    """Some machines of a fleet."""
    return machines(generate(16, 1500))


def test_a_seed_makes_the_same_machines_everywhere():
    assert hashlib.sha256(lines(generate(1, 1000))).hexdigest() == FIRST_1000


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(1, 5))
def test_a_machine_depends_on_seed_and_number_alone(seed, first, count):
    assert list(generate(seed, count, first)) == [next(generate(seed, 1, first + number)) for number in range(count)]


def test_another_seed_makes_other_machines():
    assert len({lines([record]) for seed in range(5) for record in generate(seed, 200)}) == 1000
    assert len({record.model for record in generate(7, 1000)}) == 1000


def test_every_machine_is_read_back_without_a_problem(made):
    for machine in made:
        assert not machine.problems and not machine.unread and not machine.ignored
        assert all(told.reason.startswith("tells how much RAM there is") for told in machine.missing)
        assert {device.status for device in machine.devices} <= {"assigned", "unassigned"}


def test_registers_lie_as_firmware_places_them(made):
    for machine in made:
        placed = [device for device in machine.devices if device.status == "assigned"]
        assert all(before.end <= after.base for before, after in pairwise(placed))
        end = machine.ram[-1].end
        for device in placed:
            assert device.base % device.size == 0
            assert device.base >= 2 << 30 and (device.end <= 0xFE000000 or device.base >= max(4 << 30, end))
            assert device.base < 4 << 30 or device.bits == 64
            assert device.size < 1 << 30 or device.bits == 32 or device.base >= 4 << 30
    assert sum(machine.devices[-1].base >= 4 << 30 for machine in made if machine.devices) > 100


def test_what_finds_no_place_goes_up_or_has_none():
    def window(bits: int, size: int) -> module.Window:
        return module.Window(size, size, 4096, [fleet.Register("0:0:2:0", "030000", "10", "Memory", bits, 0, size)])

    low, high = [window(32, 1 << 30), window(64, 1 << 29), window(32, 1 << 30), window(64, 1 << 28)], []
    module._place_low(low, high)
    module._place_high(high, 8 << 30)
    assert [one.registers[0].base >> 28 for one in low] == [8] and [one.size >> 28 for one in high] == [2, 1]
    assert [one.registers[0].base for one in high] == [8 << 30, (8 << 30) + (1 << 29)]


@pytest.mark.parametrize("name", ["fleet.jsonl", "fleet.parquet", "fleet"])
def test_what_is_written_is_read(tmp_path, name, monkeypatch):
    monkeypatch.setattr(module, "PART", 40)
    done = []
    write(tmp_path / name, 5, 100, done.append)
    assert sum(done) == 100 and [path.name for path in tmp_path.iterdir()] == [name]
    found = [machine for piece in pieces([str(tmp_path / name)], 30) for machine in piece.machines()]
    assert [machine.name for machine in found] == [f"Generated {record.model}" for record in generate(5, 100)]
    if name == "fleet":
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [f"part-0000{n}.parquet" for n in range(3)]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "fleet.jsonl").write_text("before")
    for name in ("fleet.jsonl", "fleet.parquet"):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / name, 1, 3, stop)
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.jsonl"]
    assert (tmp_path / "fleet.jsonl").read_text() == "before"


def test_another_ending_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"no form of a fleet \(end it in .jsonl or .parquet, a folder in neither\)"):
        write(tmp_path / "fleet.csv", 1, 1)


@needs_fleet
def test_the_table_is_counted_from_real_machines():
    assert module.TABLE.read_text() == fleet_facts.text()
    assert module.TABLE.stat().st_size < 60_000


QUANTILES = 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99


@pytest.fixture(scope="module")
def real() -> list[Machine]:
    """The real machines whose RAM is told."""
    with gzip.open(fleet_facts.FLEET) as stream:
        return [resolve(facts) for facts in fleet.facts_in(stream, "fleet") if facts.total]


def frames(machine: Machine) -> int:
    """Device frames of 4 KiB, also those where the real machine's RAM is only assumed to be."""
    pages = sorted((d.base >> 12, -(-d.end >> 12)) for d in machine.devices if d.base)
    count = end = 0
    for first, last in pages:
        count += max(0, last - max(first, end))
        end = max(end, last)
    return count


def windows(machine: Machine) -> int:
    return len(machine.devices)


def ram(machine: Machine) -> int:
    return machine.ram_bytes


def largest(machine: Machine) -> int:
    return max((device.size for device in machine.devices), default=0)


def like(made: list[Machine], real: list[Machine], what, quantiles: tuple[float, ...], bound: float) -> bool:
    """Whether quantiles of a figure differ by no more than a share."""

    def at(machines: list[Machine], quantile: float) -> int:
        return sorted(map(what, machines))[int(quantile * (len(machines) - 1))]

    return all(abs(at(made, q) - at(real, q)) <= bound * at(real, q) for q in quantiles)


@needs_fleet
def test_a_small_fleet_is_like_the_real_one(made, real):
    assert like(made, real, frames, QUANTILES[1:5], 0.05) and like(made, real, windows, QUANTILES[:5], 0.1)
    assert like(made, real, ram, QUANTILES[:5], 0) and like(made, real, largest, QUANTILES[:5], 0)


@needs_fleet
@pytest.mark.nightly
def test_twenty_thousand_machines_are_like_the_real_ones(real):
    made = machines(generate(2, 20_000))
    assert like(made, real, frames, QUANTILES[1:], 0.01) and like(made, real, frames, QUANTILES[:1], 0.1)
    assert like(made, real, windows, QUANTILES, 0.1)
    assert like(made, real, ram, QUANTILES, 0) and like(made, real, largest, QUANTILES, 0)
    for share, what in (
        (0.25, lambda machine: largest(machine) >= 1 << 30),
        (0.15, lambda machine: any(device.base >> 32 for device in machine.devices)),
        (0.15, lambda machine: any(not device.base for device in machine.devices)),
        (0.25, lambda machine: machine.arch == "i386"),
    ):
        told, counted = sum(map(what, real)) / len(real), sum(map(what, made)) / len(made)
        assert counted == pytest.approx(told, rel=share)
