"""What tells that a command works."""

from kernmalloc.cli import progress


def test_where_there_is_no_terminal_a_line_now_and_then_says_what_is_measured(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    with progress.measured() as tell:
        for seconds, what in ((5, "one"), (6, "two"), (9, "three"), (11, "four\x1b")):
            now[0] += seconds
            tell(what, 0.25)
    said = capsys.readouterr()
    assert said.out == "" and "\x1b" not in said.err
    first, second = said.err.splitlines()
    assert first == "measuring: two, 25% of its part" and second.startswith("measuring: four")
