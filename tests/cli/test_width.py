"""What is printed fits the terminal; what is piped loses nothing."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from kernmalloc.bench.rows import OURS, Goal, Row, judge
from kernmalloc.cli import app
from kernmalloc.machine.memory_map import SHIPPED
from kernmalloc.report import bench, text

DESKTOP, XEON = str(SHIPPED / "desktop-16g.toml"), str(SHIPPED / "xeon-32g.toml")
GCC = str(Path(__file__).parents[1] / "data" / "traces" / "gcc.tracefs.txt")
COMMANDS = [
    ("boot", DESKTOP),
    ("boot", DESKTOP, "--step"),
    ("boot", DESKTOP, XEON),
    ("plan", DESKTOP),
    ("plan", DESKTOP, "--strategy", "reserve", "--device-frames", "1000"),
    ("plan", DESKTOP, XEON),
    ("plan", "--capacity"),
    ("compare", DESKTOP, XEON, "--processes", "1"),
    ("check", DESKTOP),
    ("run", "steady", "--touches", "2000"),
    ("replay", GCC),
    ("tlb", "m5475-64m"),
    ("exercise",),
    ("exercise", "8", "--answer"),
]
AS_THEY_ARE = re.compile(
    r" *[0-9a-f]{8,}-[0-9a-f]{8,} +: "  # /proc/iomem
    r"|.*: (?:tunables|slabdata) "  # /proc/slabinfo
    r"|  kernmalloc (?:boot|plan|run|show) "  # a line to type
    r"|/\S+(?: \(.*\))?: "  # FILE: what became of it
)


def too_wide(lines, columns):
    return [line for line in lines if cell_len(line) > columns and not AS_THEY_ARE.match(line)]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(map(os.path.basename, words)))
def test_every_table_fits_the_terminal(words, monkeypatch):
    for columns in (80, 100, 200):
        monkeypatch.setattr(text, "width", lambda columns=columns: columns - text.INDENT)
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0 and not too_wide(result.stdout.splitlines(), columns)


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_tables_of_measurements_fit_too(columns, monkeypatch):
    monkeypatch.setattr(text, "width", lambda: columns - text.INDENT)
    peers = (OURS, "glibc", "mimalloc", "jemalloc", "tcmalloc", "magazines", "a peer with a long name")
    rows = [Row("heap", f"warm: {work}", peer, "ns", (1e5, 2e5, 3e5), 2.0) for work in "ab" for peer in peers]
    verdicts = judge([Goal("heap", "warm: a", 1.0), Goal("heap", "warm: b", 1.0)], rows)
    lines = [*bench.opening(["frames", "heap", "map"], 7), *bench.tables(rows), *bench.verdicts(verdicts)]
    assert not too_wide(lines, columns) and sum(line.count("kernmalloc") for line in lines) >= 1


def test_a_terminal_has_a_width_and_a_pipe_has_none():
    command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "plan", "--capacity"]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    piped = subprocess.run(command, capture_output=True, text=True, check=True, env={**environment, "COLUMNS": "40"})
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    subprocess.run(command, stdout=theirs, check=True, env=environment)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    lines = shown.decode().splitlines()
    assert "x86_64" in shown.decode() and max(map(len, lines)) <= 80
    assert max(map(len, piped.stdout.splitlines())) > 80
    assert set(shown.decode().split()) == set(piped.stdout.split())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # closed on the other side
        return b""
