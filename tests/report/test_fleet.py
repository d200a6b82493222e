"""The text of a fleet's answer."""

import msgspec

from kernmalloc.fleet.answer import Answer, Answers, Costs
from kernmalloc.fleet.work import LeftOver
from kernmalloc.report.fleet import difference, rows, share, whole

ANSWER = Answer(
    kernel="eros2",
    strategy="reserve",
    setting="device-frames",
    unit="frames",
    value=1000,
    machines=200,
    wanted=198,
    covered=199,
    most=199,
    never=1,
    costs=Costs(2 << 20, 8192, 1 << 20),
    lines=("boot it so",),
    curve=((0, 3), (500, 150), (1000, 199), (9000, 40)),
    left_over=(LeftOver("a board", "log.txt", "too small"),) * 20,
    wrong=(),
)


def text(answer: Answer, verbose: bool = False) -> str:
    return "\n".join(whole(Answers((answer,), {"stands in": 3}, ("x: bad",)), "Reserves", verbose))


def test_all_that_decides_is_told():
    told = text(ANSWER)
    assert told.startswith("Reserves: 200 machines, 1 unreadable.\n3 machines: stands in\n")
    assert "device-frames = 1,000 covers 199 of 200 machines, 99.5%; all were tried with it." in told
    assert "It costs 8 KiB on a machine in the middle, 1 MiB at most, and 2 MiB in sum." in told
    assert [line.split() for line in told.splitlines() if line.strip().startswith(("50%", "99%", "100%"))] == [
        ["50%", "100", "500", "-500"],
        ["99%", "198", "1,000", "0"],
        ["100%", "200", "none"],
    ]
    assert told.count("a board  ") == 12 and "and 8 machines more (--verbose tells all)" in told
    assert text(ANSWER, True).count("a board  ") == 20


def test_what_no_value_covers_and_what_is_wrong():
    told = text(msgspec.structs.replace(ANSWER, value=None, lines=(), costs=Costs(0, 0, 0), wrong=("a machine",)))
    assert "No value of device-frames covers 198 of 200 machines: the best covers 199, 99.5%." in told
    assert "It costs" not in told and "WRONG: tried with it, a machine is not what its need says" in told


def test_numbers():
    assert (difference("frames", 5), difference("bytes", -4096), difference("frames", 0)) == ("+5", "-4 KiB", "0")
    assert (share(199, 200), share(1999, 2000), share(0, 0), share(2, 2)) == ("99.5%", "99.9%", "0%", "100%")
    assert list(rows(["a", "b"], [(1, None), ("x", 2.5)]))[1].split() == ["1"]
