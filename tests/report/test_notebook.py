"""What each result shows of itself: what its text report says first, in a fragment that is well formed."""

from dataclasses import replace

import msgspec
import pytest
from html_reader import EVIL, Reader, shown
from hypothesis import HealthCheck, given, settings
from small_machines import MIB, machine

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.emulate.simulation import Outcome as Simulated
from kernmalloc.facade.configure import configure
from kernmalloc.inputs.facts import Device, Problem
from kernmalloc.inputs.traces.trace import Recorder
from kernmalloc.plan.advice import advise
from kernmalloc.plan.plan import plan
from kernmalloc.report.notebook import fragment
from kernmalloc.report.outcome import Outcome as Became
from kernmalloc.sim.outcome import Load, Outcome
from kernmalloc.sim.replay import replay
from kernmalloc.sim.run import run
from kernmalloc.sim.scenario import Scenario

PROFILE = Profile.load("eros2")


def named(name: str) -> Machine:
    """A machine of which every name is this."""
    made = machine((0, 16 * MIB))
    ram = tuple(msgspec.structs.replace(each, name=name) for each in made.ram)
    device = Device(base=1 << 32, size=1 << 20, kind="bar", name=name, bar=0, bits=64, prefetch=False)
    return msgspec.structs.replace(made, name=name, file=name, ram=ram, devices=(device,), arch=name)


def whole(result: object) -> Reader:
    """What a notebook shows of a result."""
    return Reader(result._repr_html_())


@given(EVIL.filter(str.strip))
def test_any_name_in_a_machine_is_escaped(name):
    made = named(name)
    assert shown(name).split() == [] or shown(name).split()[0] in whole(made).text
    assert shown(name) in whole(plan(made, PROFILE)).texts[0][1]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=EVIL.filter(str.strip))
def test_any_name_in_a_kernel_or_trace_is_escaped(name):
    with Kernel.load(named(name), PROFILE, "soft") as kernel:
        assert whole(kernel).texts[0][1] == f"Kernel eros2 on {shown(name)}"
    assert whole(kernel).texts[-1][1] == "closed; its core table stays: kernel.frames"
    recorder = Recorder(name)
    recorder.object(1, name, 64)
    assert shown(name) in whole(recorder.trace(name)).text
    differences = Simulated(3, [name])
    assert shown(name.strip()) in whole(differences).text
    became = Became(file=name, machine=name, status="refused", reason=name)
    assert whole(became).texts[0][1] == f"{shown(name)}: refused"


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_a_kernel_tells_its_figures(mode):
    with Kernel.boot(machine((0, 5 * MIB), (8 * MIB, 16 * MIB)), PROFILE, mode) as kernel:
        kernel.range_get(3)
        nodes = kernel.cache("node").get_bulk(7)
        read = whole(kernel)
        rows = {row[0].strip(): row[1:] for row in read.rows}
        for kind, count in kernel.frames_by_type().items():
            assert rows[kind][0] == f"{count:,}" if count else kind not in rows
        assert rows["node"][-1] == f"{len(nodes)}"
        assert sum(row[1:2] == ["ram"] for row in read.rows) == sum(region.kind == "ram" for region in kernel.regions)
        assert f"promised {kernel.ledger.promised:,} frames" in read.text
        assert f"booted at {__file__}" in read.text
        with Kernel.boot(kernel.machine, PROFILE, mode) as beside:
            told = whole(beside).text
            assert ("hosted at 10" in told) == (mode == "raw")
            assert (f"is that of kernel eros2 on 'test', booted at {__file__}" in told) == (mode == "raw")


def test_a_kernel_whose_records_are_damaged_says_so():
    with Kernel.boot(machine((0, 8 * MIB)), PROFILE, "soft") as kernel:
        at = kernel.view.pa(kernel.view.kern_va)
        kernel.view.memory[at : at + 4096] = bytes([0x5A]) * 4096
        assert "boot is not over" in whole(kernel).text or "cannot be read" in whole(kernel).text


def test_a_plan_tells_every_structure_and_device():
    made = plan(Machine.shipped("desktop-16g"), PROFILE)
    read = whole(made)
    rows = {row[0]: row[1] for row in read.rows}
    assert all(rows[item.name] == f"{item.bytes:,}" for item in made.items if item.bytes)
    assert rows["heap"] == f"{made.top:,}"
    assert sum(row[3:4] == ["fits"] for row in read.rows) == len(made.devices) == 23
    clipped = whole(replace(made, clipped=1 << 30)).text
    assert "CLIPPED by the kernel's address limit: 1 GiB of RAM" in clipped


def test_a_machine_tells_every_range_and_what_is_wrong():
    made = Machine.shipped("desktop-16g")
    read = whole(made)
    assert len([row for row in read.rows if " : System RAM" in row[0]]) == len(made.ram) == 6
    assert len([row for row in read.rows if " : device" in row[0]]) == len(made.devices) == 23
    assert "nothing wrong with the machine" in read.text
    wrong = msgspec.structs.replace(made, problems=(Problem(7, "overlaps <b>what</b> is there"),))
    read = whole(wrong)
    assert "overlaps <b>what</b> is there" in read.text and "1 problem" in read.text


def test_outcomes_tell_their_verdicts():
    scenario = msgspec.structs.replace(Scenario.load("steady"), touches=2000)
    came = run(scenario, "soft")
    assert isinstance(came, Outcome) and all(isinstance(load, Load) for load in came.loads)
    read = whole(came)
    rows = {row[0]: row for row in read.rows}
    assert "every page is as it was written" in read.text
    assert rows["touches"][1] == f"{came.touches:,}" and set(rows) >= {load.name for load in came.loads}
    broken = whole(msgspec.structs.replace(came, held=False, lost=3))
    assert "BROKEN: 3 frames lost" in broken.text


def test_what_became_of_a_machine():
    made = Machine.shipped("desktop-16g")
    with Kernel.boot(made, PROFILE, "soft") as kernel:
        heap, done, check = kernel.heap, configure(kernel), kernel.check()
        became = Became.of(kernel, heap, done, check, 1.0, "a file", made.name, "", None)
        read = whole(became)
        assert f"{check.assertions:,} assertions held" in read.text
        assert [row[3] for row in read.rows if len(row) == 5][1:] == ["fits"] * len(done.devices)
        assert {row[0].strip(): row[1] for row in read.rows}["free"] == f"{became.frames['free']:,}"
    planned = plan(made, PROFILE)
    assert "planned" in whole(Became.planned(planned, advise(planned), "", 1.0, "a file", made.name, "")).texts[0][1]


def test_a_trace_and_its_replay():
    recorder = Recorder("a trace")
    for number in range(100):
        recorder.block(number, 50)
        recorder.object(1000 + number, "inode", 600)
        recorder.free(number)
    recorder.free(5)
    trace = recorder.trace("made here")
    rows = {row[0]: row[1:] for row in whole(trace).rows}
    assert rows["heap blocks"] == ["100", "100", "5,000"] and rows["objects"] == ["100", "0", "60,000"]
    assert rows["inode"] == ["600", "100"]
    assert rows["frees of what was allocated before the trace began"][0] == "1"
    done = replay(trace, mode="soft")
    rows = {row[0]: row[1:] for row in whole(done).rows}
    assert rows["operations"][0] == "300" and rows["inode"][0] == "100"
    assert "all freed, every frame is back" in whole(done).text
    refused = msgspec.structs.replace(done, status="refused", reason="no room")
    assert "no room" in whole(refused).text


def test_what_is_no_result_has_no_fragment():
    with pytest.raises(TypeError, match="no HTML is known of int"):
        fragment(5)
