"""Rows, goals and what becomes of them."""

import pytest

from kernmalloc.bench.rows import LIMIT, OURS, SELF, Goal, Row, judge


def row(who, *values, work="pair", **more):
    return Row("frames", work, who, "ns", values, **more)


def test_a_row_is_its_median_and_quartiles_net_of_the_harness():
    r = row(OURS, 9.0, 1.0, 3.0, 4.0, 2.0, harness=1.5)
    assert (r.median, r.net, r.spread) == (3.0, 1.5, (2.0, 4.0))
    assert row(OURS, 5.0).spread == (5.0, 5.0)


def test_the_best_peer_is_judged_net_and_the_raw_ones_stand_beside_it():
    rows = [
        row(OURS, 6.0, harness=2.0),
        row("bitmap", 3.0, harness=1.0, keeps=False),
        row("bitmap", 5.0, harness=1.0, keeps=True),
        row("buddy", 9.0, harness=1.0, keeps=True),
        row("floor", 1.1, harness=1.0, judged=False),
    ]
    kept, any_peer = judge([Goal("frames", "pair", 1.0, keeps=True), Goal("frames", "pair", 1.1)], rows)
    assert (kept.best.median, kept.ratio, kept.raw, kept.reached) == (5.0, 1.0, 2.0, True)
    assert (any_peer.best.median, any_peer.ratio, any_peer.reached) == (3.0, 2.0, False)


def test_goals_of_its_own_and_figures():
    rows = [
        row(OURS, 4.4),
        row(OURS, 5.0, work="pair, 2 threads"),
        row("memset", 10.0, work="tables"),
        row(OURS, 9.0, work="tables"),
    ]
    own, figure, least, *rest = judge(
        [
            Goal("frames", "pair, 2 threads", 1.15, than=SELF, other="pair"),
            Goal("frames", "pair", 3.0, than=LIMIT, gross=True),
            Goal("frames", "tables", 0.8, at_least=True),
            Goal("frames", "unknown", 1.0),
        ],
        rows,
    )
    assert own.ratio == pytest.approx(5 / 4.4) and own.reached
    assert figure.ratio == 4.4 and not figure.reached
    assert least.ratio == 0.9 and least.reached
    assert not rest


def test_what_cannot_be_told_from_the_harness_is_below_it():
    """And so is a ratio with it, which is a bound; a harness that costs nothing hides nothing."""
    quick, slow = row(OURS, 2.2, harness=2.0), row("bitmap", 5.0, harness=2.0)
    assert quick.below and not slow.below and not row(OURS, 0.1).below and row(OURS, 1.0, harness=2.0).below
    (verdict,) = judge([Goal("frames", "pair", 0.2)], [quick, slow])
    assert verdict.below and verdict.ratio == pytest.approx(0.1) and verdict.reached
    (gross,) = judge([Goal("frames", "pair", 2.5, than=LIMIT, gross=True)], [quick])
    assert not gross.below and gross.reached


def test_no_peer_no_verdict():
    assert judge([Goal("frames", "pair", 1.0)], [row(OURS, 1.0)]) == []
