"""Runs of scenarios: what must hold at the end, that a seed says it all, and that what is broken is seen."""

import msgspec
import pytest
from effort import EFFORT

from kernmalloc.facade.errors import WouldBlock
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.source import PageFile, Source
from kernmalloc.lang import status
from kernmalloc.machine.lives import LifeError
from kernmalloc.sim import run as runs
from kernmalloc.sim.crowd import Crowd
from kernmalloc.sim.run import Stuck, run
from kernmalloc.sim.scenario import Scenario

WRITERS = """
summary = "small"
touches = 20_000
ram = "4 MiB"
bank = { lenient = false, withheld = 100 }
source = { latency = 20, depth = 4 }
[[processes]]
name = "writers"
count = 3
pages = 300
zipf = 0.8
writes = 0.5
[[heap]]
name = "objects"
every = 100
hold = 3000
most = 3000
"""
SMALL = f"""{WRITERS}
[[processes]]
name = "readers"
count = 2
pages = 50
shared = 100
share = 0.5
"""


def figures(outcome):
    """All of it but how long it took, and in which mode."""
    return msgspec.structs.asdict(outcome) | {"seconds": 0, "touch_seconds": 0, "mode": "", "tlb_counted": 0}


@pytest.mark.parametrize(
    "name, touches", [("steady", 80_000), ("storm", 80_000), ("dma", 250_000), ("hotplug", 150_000), ("smp", 80_000)]
)
def test_E30_E31_shipped_scenarios_hold(name, touches):
    """Every page right at the end, no frame lost, no promise broken, and the scenario does what it is there for."""
    done = run(Scenario.load(name).with_changes(touches=touches * EFFORT if EFFORT < 20 else None))
    assert done.held and done.broken_by == 0 and done.touches >= touches
    assert (
        done.evictions > 0 and done.frames["free"] < done.frames["page"] / 8 and done.blocked > 0 and done.longest > 0
    )
    loads = {load.name: load for load in done.loads}
    if name == "steady":
        assert loads["objects"].got > 1000 and done.frames["heap"] > 1000
    if name == "storm":
        assert done.writes > done.evictions / 3 and done.pages > 3.9 * done.cached
    if name == "dma":
        assert loads["grabber"].got > 3 and not loads["grabber"].refused and loads["network"].got > 50
        assert done.moved > 1000 and done.windows > done.moved  # E12, E14: through windows
    if name == "hotplug":
        assert loads["graphics"].got > 0 and loads["accelerator"].refused.keys() <= {"PROMISED"}


@pytest.mark.parametrize("kernel", ["coyotos-coldfire", "i386", "armv7", "aarch64", "riscv64"])
@pytest.mark.parametrize("name", ["hotplug", "smp"])
def test_E3_shipped_scenarios_hold_on_every_architecture(name, kernel):
    """Also where a page is larger than the scenario's author thought, and a device has fewer than its driver uses."""
    done = run(Scenario.load(name).with_changes(touches=8000, kernel=kernel))
    assert done.held and done.kernel == kernel and done.broken_by == 0
    if name == "hotplug":
        assert {load.name: load for load in done.loads}["controller"].got > 0


@pytest.mark.skipif(EFFORT < 20, reason="10 million touches: make nightly")
def test_storm_whole():
    done = run(Scenario.load("storm"))
    assert done.held and done.touches == 10_000_000 and done.broken_by == 0 and not done.wrong and not done.bad_pages


def test_a_seed_says_it_all_in_raw_and_soft():
    scenario = Scenario.parse(SMALL)
    first = figures(run(scenario))
    assert first["held"] and first["evictions"] > 500 and first["writes"] > 100
    assert figures(run(scenario)) == first
    assert figures(run(scenario, "soft")) == first
    assert figures(run(scenario.with_changes(seed=2))) != first


@pytest.mark.parametrize("seed", range(2))
def test_E30_E31_two_processors_that_are_threads_hold(seed):
    """Both fault and steal at the same time, every page is written to; a third drives the disk and uses the heap."""
    scenario = Scenario.parse(WRITERS.replace("ram", "cpus = 2\nram").replace("count = 3", "count = 4"))
    done = run(scenario.with_changes(seed=seed, touches=scenario.touches * EFFORT), threads=True)
    assert done.held and done.touches == scenario.touches * EFFORT and done.cpus == 2
    assert done.evictions > 1000 and done.writes > 500 and done.blocked > 1000


def test_E26_who_waits_is_told_how_long():
    """A slower disk makes longer waits, and no more of them are lost."""
    fast, slow = (run(Scenario.parse(SMALL.replace("latency = 20", f"latency = {ticks}"))) for ticks in (5, 200))
    assert fast.held and slow.held and slow.longest >= 200 > fast.longest and slow.ticks > 5 * fast.ticks


def test_a_page_that_is_not_forgotten_is_seen(monkeypatch):
    """Processors that keep translations of frames that have gone read what is not theirs."""
    whole = Crowd.set_world

    def deaf(self, scenario, kernel, source, timed):
        whole(self, scenario, kernel, source, timed)
        kernel.handle.life.state["processors"] = 0

    monkeypatch.setattr(Crowd, "set_world", deaf)
    done = run(Scenario.parse(SMALL))
    assert not done.held and done.wrong + done.bad_pages > 0


def test_a_write_that_is_lost_is_seen(monkeypatch):
    monkeypatch.setattr(PageFile, "write", lambda self, oid, data: status.OK)
    done = run(Scenario.parse(SMALL))
    assert not done.held and done.wrong > 0 and done.bad_pages > 0


def test_a_page_that_cannot_be_read_is_refused(monkeypatch):
    """The file does not match its checksum: whoever touches the page is told, and the run goes on."""
    read = PageFile.read

    def broken(self, oid, into):
        return status.IO_ERROR if oid == 3 else read(self, oid, into)

    monkeypatch.setattr(PageFile, "read", broken)
    done = run(Scenario.parse(SMALL))
    assert done.loads[0].refused.keys() == {"IO_ERROR"} and done.loads[0].got + done.loads[0].refused["IO_ERROR"] > 0
    assert not done.held and done.bad_pages >= 1


def test_a_frame_that_is_kept_is_seen(monkeypatch):
    """What the loads do not give back at the end is still theirs: frames add up, and say so."""
    ended = {}
    monkeypatch.setattr(runs.Loads, "end", lambda self: ended.update(self._undo))
    done = run(Scenario.parse(SMALL))
    assert done.held and ended  # nothing is lost: it is in the heap


@pytest.mark.parametrize("threads", [False, True])
def test_a_driver_that_never_answers_is_told(monkeypatch, threads):
    monkeypatch.setattr(Source, "serve", lambda self, most=64: 0)
    monkeypatch.setattr(runs, "SILENCE", 0.2)
    with pytest.raises(Stuck, match="everybody waits"):
        run(Scenario.parse(WRITERS), threads=threads)


def test_what_ends_a_thread_is_told(monkeypatch):
    def fails(self, loop, *args):
        raise LifeError(f"{loop} ended")

    monkeypatch.setattr(Kernel, "run", fails)
    with pytest.raises(LifeError, match="processor_run ended"):
        run(Scenario.parse(WRITERS), threads=True)


def test_what_waits_is_served_in_order():
    """First come, first served; a refusal for good ends its wait, too."""
    scenario = Scenario.parse(SMALL)
    order, full = [], [True]

    class Kernel:
        def malloc(self, size):
            if full[0]:
                raise WouldBlock(status.WOULD_BLOCK, "malloc")
            order.append(size)
            return len(order)

        def free(self, va):
            order.append(-va)

    loads = runs.Loads(scenario, Kernel())
    for tick in range(100, 501, 100):
        assert loads.run(tick) == 1
    assert loads.waiting == 5 and loads.tallies[0].got == 0
    loads.retry(550)
    assert loads.waiting == 5
    full[0] = False
    loads.retry(600)
    tally = loads.tallies[0]
    assert loads.waiting == 0 and tally.got == tally.waits == 5 and len(order) == 5
    assert tally.longest == 500 and tally.waited == 500 + 400 + 300 + 200 + 100
    loads.end()
    assert sorted(order[5:]) == [-5, -4, -3, -2, -1]


def test_the_twin_has_no_processes():
    with pytest.raises(LifeError, match="raw or soft"):
        run(Scenario.parse(SMALL), "twin")
