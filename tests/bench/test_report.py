"""Benchmarks as text and as JSON."""

from kernmalloc.bench.rows import LIMIT, OURS, SELF, Goal, Row, judge
from kernmalloc.report import bench as report


def rows():
    return [
        Row("frames", "order 0: pair", OURS, "ns", (5.0, 4.0, 6.0), 2.0, keeps=True),
        Row("frames", "order 0: pair", "bitmap", "ns", (3.0, 3.0, 3.0), 1.0, keeps=False),
        Row("frames", "order 0: pair", "bitmap", "ns", (1234.0, 1236.0, 1240.0), 1.0, keeps=True),
        Row("frames", "order 0: free", OURS, "ns", (7.5,), 2.0, keeps=True),
        Row("frames", "own state", OURS, "B/frame", (0.125,), keeps=True),
    ]


def test_a_table_is_net_of_the_harness_with_its_spread_and_one_for_each_unit():
    assert list(report.tables(rows())) == [
        "", "frames, order 0 (ns)",
        "        kernmalloc  bitmap  bitmap+entry  harness",
        "  pair  3.00 ±0.50    2.00   1,235 ±1.50     2.00",
        "  free        5.50                           2.00",
        "", "frames (B/frame)",
        "             kernmalloc",
        "  own state        0.12",
    ]  # fmt: skip


def test_what_was_to_be_reached_and_what_was():
    goals = [
        Goal("frames", "order 0: pair", 1.1),
        Goal("frames", "order 0: pair", 1.0, keeps=True),
        Goal("frames", "order 0: free", 1.15, than=SELF, other="order 0: pair"),
        Goal("frames", "order 0: free", 1.15, than=SELF, other="order 0: free"),
        Goal("frames", "own state", 0.25, than=LIMIT),
    ]
    judged = judge(goals, rows())
    text = "\n".join(report.verdicts(judged))
    for line in (
        r"frames, order 0: pair  3.00            bitmap   2.00   1.50  1.50   ≤ 1.1 ×  NOT reached",
        r"frames, order 0: pair  3.00      bitmap+entry  1,235   0.00  1.50     ≤ 1 ×",
        r"frames, order 0: free  5.50     its own, pair   3.00   1.83        ≤ 1.15 ×  NOT reached",
        r"frames, order 0: free  5.50  its own, order 0   5.50   1.00        ≤ 1.15 ×",
        r"frames, own state      0.12                                          ≤ 0.25",
    ):
        assert line in text, text
    assert [report.verdict_told(verdict, False)["reached"] for verdict in judged] == [False, True, False, True, True]
    assert list(report.verdicts([])) == []


def test_no_time_is_negative_and_quick_tables_say_so():
    rows = [
        Row("frames", "2 threads: pair", OURS, "ns", (1.0, 1.2), 2.0),
        Row("frames", "2 threads: pair", "bitmap", "ns", (9.0,), 2.0),
    ]
    assert list(report.tables(rows, report.QUICK)) == [
        "", f"frames, 2 threads (ns); {report.QUICK}",
        "               kernmalloc  bitmap  harness",
        "  pair  below the harness    7.00     2.00",
    ]  # fmt: skip
    text = "\n".join(report.verdicts(judge([Goal("frames", "2 threads: pair", 1.0)], rows), report.QUICK))
    assert text.count(report.BELOW) == 2 and "-" not in text and f"Figures to reach; {report.QUICK}" in text


def test_a_row_is_a_json_object():
    told = report.told(rows()[0], True)
    assert told["values"] == (5.0, 4.0, 6.0)
    assert (told["median"], told["net"], told["low"], told["high"], told["keeps"]) == (5.0, 3.0, 4.5, 5.5, True)
