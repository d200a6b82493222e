"""What processors of one kernel cost each other."""

import re
from pathlib import Path

import pytest
from effort import EFFORT

from kernmalloc.bench import native, scaling
from kernmalloc.bench.rows import OURS, judge
from kernmalloc.bench.scaling import GET, MET, PEERS_OF, PUT, WORKS, Touched, measured, rows, run
from kernmalloc.report.scaling import document

FILE = Path(__file__).parents[2] / "benchmarks" / "scaling.md"
OWN, FOREIGN, GROWING = ([work for work in WORKS if work.kind == kind] for kind in ("own", "foreign", "growing"))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Runs of one work, and of few calls."""
    monkeypatch.setattr(scaling, "WORKS", FOREIGN[:1])
    monkeypatch.setattr(scaling, "LEAST", 20)
    monkeypatch.setattr(scaling, "CALLS", 40)
    monkeypatch.setattr(scaling, "BEFORE", 200)


@pytest.mark.parametrize("work", OWN, ids=lambda work: work.what)
def test_no_quick_path_writes_a_line_that_another_ones_touches(work):
    """Where a line moves, one of the two calls took the lock."""
    found = measured(work, OURS, 4, 100 * EFFORT).found
    assert found.met == 0 and set(found.costs) == {GET, PUT}


@pytest.mark.nightly
@pytest.mark.parametrize("processors", [8, 32, 64])
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_quick_paths_of_many_processors_meet_only_where_things_are_handed_on(work, processors):
    result = measured(work, OURS, processors, 300)
    met = {moved.now.field for moved in result.moves if moved.now.quick and moved.before.quick}
    assert {name.partition(".")[0] for name in met} <= ({"Frame"} if work.kind == "foreign" else set())


def test_frames_that_are_handed_on_move_with_their_entries_only():
    result = measured(FOREIGN[0], OURS, 3, 60)
    quick = [moved for moved in result.moves if moved.now.quick and moved.before.quick]
    assert quick and all(moved.now.field.startswith("Frame.") for moved in quick)
    assert result.found.met == sum(result.moves[moved] for moved in quick)


def test_slow_paths_are_told_where_a_heap_grows():
    cost = measured(GROWING[1], OURS, 2, 60).found.costs
    assert set(cost) == {GET} and 0 < cost[GET].locked < cost[GET].calls == 120
    assert 0 < cost[GET].inside < cost[GET].instructions


def test_figures_are_the_same_in_every_run():
    first, second = (list(rows(measured(FOREIGN[1], OURS, 2, 60))) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("work", [FOREIGN[0], OWN[1]], ids=lambda work: work.name)
def test_peers_are_looked_at_in_the_same_way(work):
    one, magazines = (measured(work, who, 3, 60).found for who in PEERS_OF[work.what])
    assert all(cost.locked == cost.calls and cost.inside > 0 for cost in one.costs.values())
    assert one.held > 0.5 and one.waited > 0 and magazines.held < one.held
    assert sum(cost.transfers for cost in magazines.costs.values()) < sum(cost.transfers for cost in one.costs.values())


def test_the_document_is_what_a_run_prints():
    """Its tables have what a small run has; whoever changes what is told must write it anew."""
    lines = list(document(list(run((2,), lambda what, part: None, pytest.fail))))
    text = FILE.read_text()
    assert text.startswith("\n".join(lines[: lines.index("")]))
    for line in lines:
        if line.startswith("##") or re.match(r"frames, foreign: (get|put): ", line):
            assert line.rstrip(" 0123456789.,") in text, line


def test_without_a_compiler_the_peers_are_left_out_and_that_is_told_once(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    told = []
    found = list(run((2,), lambda what, part: None, told.append))
    assert {row.who for row in found} == {OURS} and len(told) == 1 and isinstance(told[0], native.NoCompiler)


def test_a_goal_is_missed_if_quick_paths_meet():
    goal = scaling.GOALS[0]
    verdicts = [judge([goal], [scaling.Row("scaling", goal.work, OURS, "", (count,))]) for count in (0.0, 1.0)]
    assert [verdict.reached for (verdict,) in verdicts] == [True, False]
    assert MET in goal.work and str(Touched("A.b", True, False)) == "A.b (inside write)"
