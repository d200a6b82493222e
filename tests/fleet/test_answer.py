"""A fleet's one value: held against a search that tries one value after the other, and against kernels that boot."""

import random
from fractions import Fraction
from functools import cache

import pytest
from collection import DATA
from effort import EFFORT

from kernmalloc import Kernel, Profile
from kernmalloc.facade.configure import FITS, configure
from kernmalloc.fleet.answer import answers, share
from kernmalloc.fleet.pieces import pieces
from kernmalloc.fleet.question import Question
from kernmalloc.fleet.reserve import Reserve
from kernmalloc.fleet.work import Job
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.advice import tuned
from kernmalloc.plan.plan import plan, planned

FLEET = DATA / "fleet" / "machines.jsonl.gz"
COLLECTION = DATA / "machines" / "dmesg"
PARTS = 8 if EFFORT == 1 else 20
needs_collection = pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")


def here(work, items):
    """One worker: this process."""
    return map(work, items)


@pytest.fixture(scope="session")
def fleet():
    """200 machines under the kernel that is usual for most of them: of the collection, and of the fleet file those with
    the memory that most of them have, which share plans."""
    question = Question(purpose="reserve")
    told = [machine for machine in Machine.read_all(FLEET) if isinstance(machine, Machine)]
    by_memory: dict[object, list[Machine]] = {}
    for machine in told:
        if question.kernel(machine).profile.name == "eros2":
            by_memory.setdefault(machine.ram, []).append(machine)
    common = sorted(by_memory.values(), key=len)[-4:]
    pick = random.Random(16)
    found = [pick.choice(group) for group in common for _ in range(45)]
    logs = sorted(COLLECTION.glob("*.txt"))
    while len(found) < 200:
        for machine in Machine.read_all(logs.pop(pick.randrange(len(logs)))):
            if isinstance(machine, Machine) and question.kernel(machine).profile.name == "eros2":
                found.append(machine)
                break
    return found


class Told:
    """Machines that are there, as a piece has them."""

    id = "there"

    def __init__(self, machines):
        self._machines = machines

    def machines(self):
        return iter(self._machines)


@needs_collection
@pytest.mark.parametrize("cover", ["99%", "75%"])
def test_the_answer_is_that_of_trying_every_value(fleet, tmp_path, cover):
    """C15, C23: the smallest value with which so many of 200 machines are planned with entries for all devices."""
    question = Question(purpose="reserve")
    (answer,) = answers(Job(question, tmp_path / "work", False), [Told(fleet)], share(cover), here).answers
    assert answer.machines == 200 and answer.wanted == -(-Fraction(200) * share(cover) // 1)
    profile = question.kernel(fleet[0]).profile

    @cache
    def covered(value: int) -> int:
        made = (planned(machine, tuned(profile, {answer.setting: value})) for machine in fleet)
        return sum(each is not None and each.configured for each in made)

    unit = planned(fleet[0], tuned(profile, {answer.setting: 0})).basis.room.chunks.kind.slots * 32
    assert answer.value % unit == 0 and answer.value > 0
    tried = range(0, answer.value, unit if EFFORT > 1 else 29 * unit)
    assert all(covered(value) < answer.wanted for value in (*tried, answer.value - unit))
    assert covered(answer.value) == answer.covered >= answer.wanted and not answer.wrong
    assert len(answer.left_over) == 200 - answer.covered and all(each.reason for each in answer.left_over)


@needs_collection
@pytest.mark.parametrize("part", range(PARTS))
def test_a_machine_that_is_covered_boots_with_the_value(part):
    """C15, C23: of the fleet file 200 machines of at most 16 GiB by day, all machines by night."""
    question, value = Question(purpose="reserve"), {"eros2": 148_800, "x86_64": 2_188_320}
    told = [machine for machine in Machine.read_all(FLEET) if isinstance(machine, Machine)]
    random.Random(7).shuffle(told)
    booted = 0
    for machine in (each for each in told[part::PARTS] if EFFORT > 1 or each.ram_bytes <= 16 << 30):
        profile = question.kernel(machine).profile
        if profile.name not in value:
            continue
        need = Reserve().need(machine, profile)
        if not need.met(value[profile.name]):
            continue
        profile = tuned(profile, {"device-frames": value[profile.name]})
        helpless = {device.base for device in plan(machine, profile).devices if not device.curable}
        with Kernel.boot(machine, profile, "soft") as kernel:
            lacking = {each.base for each in configure(kernel).devices if each.status != FITS}
        assert lacking <= helpless, machine.name
        booted += 1
        if booted == 200 // PARTS and EFFORT == 1:
            break
    assert booted >= 200 // PARTS


def test_a_share_is_a_part_of_all():
    assert share("99%") == Fraction(99, 100) and share("0.999") == Fraction(999, 1000) and share("100%") == 1
    for text in ("0", "101%", "1.01", "-1%", "x", "", "%", "1/0", "nan", "9" * 30):
        with pytest.raises(InputError, match="no share of machines"):
            share(text)


def test_a_fleet_that_no_value_covers_says_so(tmp_path):
    question = Question(purpose="reserve", named=Profile.load("coyotos-i386"), settings={"window": 64 << 20})
    (lost,) = answers(Job(question, tmp_path, False), list(pieces(["desktop-16g"])), Fraction(1), here).answers
    assert lost.value is None and lost.covered == lost.most == 0 and lost.lines == () and lost.never == 1
    assert "core tables for 15.9 GiB of RAM take" in lost.left_over[0].reason


def test_a_card_without_a_place_leaves_its_machine_over(tmp_path):
    question = Question(purpose="heap", cards=("4PiB",) * 2)
    (lost,) = answers(Job(question, tmp_path, False), list(pieces(["desktop-16g"])), Fraction(1), here).answers
    assert lost.value is None and "physical addresses" in lost.left_over[0].reason
