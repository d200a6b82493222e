"""`kernmalloc top`, by textual's own pilot: keys, pauses, steps, and that nothing is left when it ends."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from kernmalloc.cli.live import OVER, PAUSED, RUNNING, Live
from kernmalloc.cli.options import CompiledMode
from kernmalloc.cli.top import of_scenario, of_trace
from kernmalloc.cli.top_screen import Top
from kernmalloc.facade.handle import _open
from kernmalloc.inputs.errors import InputError
from kernmalloc.report import top as report

GCC = str(Path(__file__).parents[1] / "data" / "traces" / "gcc.tracefs.txt")
RAW = CompiledMode.raw


def text(app, id):
    return str(app.query_one(f"#{id}").render())


def rows(app, id):
    """The cells of a table."""
    table = app.query_one(f"#{id}")
    return [[str(cell) for cell in table.get_row_at(at)] for at in range(table.row_count)]


async def until(pilot, holds, seconds=60.0):
    """Wait until something holds."""
    for _ in range(int(seconds / 0.05)):
        await pilot.pause(0.05)
        if holds():
            return
    raise TimeoutError


def watched(work, steps, size=(80, 24)):
    """Run `steps(app, pilot)` on a screen of that size; then no kernel is open, and no file or thread is left."""
    app = Top(Live(work))

    async def go():
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.shot is not None)
            await steps(app, pilot)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(tempfile, "tempdir", folder)
        asyncio.run(go())
        assert not os.listdir(folder)
    assert not [monitor for monitor in _open if not monitor.closed]
    assert not [thread for thread in threading.enumerate() if thread.name == "kernmalloc top"]
    assert app.live.error is None
    return app


@pytest.mark.parametrize("size", [(80, 24), (132, 43)], ids=["80x24", "132x43"])
def test_a_run_is_paused_stepped_sorted_and_ended(size):
    async def steps(app, pilot):
        await pilot.press("space")
        await until(pilot, lambda: app.live.state == PAUSED)
        app.look()
        await pilot.pause()
        at = app.shot.figures["done"]
        await pilot.pause(0.3)
        app.look()
        assert app.shot.figures["done"] == at and text(app, "state").startswith("paused: ")
        await pilot.press("n")
        await until(pilot, lambda: app.shot.figures["done"] > at)
        later = app.shot.figures["done"]
        await pilot.pause(0.3)
        assert app.shot.figures["done"] == later <= at + 2 * 20_000  # a thousand moments
        for name in ("free", "heap", "mapping", "page", "dma", "reserved"):
            assert name in text(app, "frames")
        assert max(map(len, text(app, "frames").split("\n"))) <= app.query_one("#frames").content_size.width
        for part in ("heap used", "backed", "bank", "hits", "so far"):
            assert part in text(app, "figures")
        assert len(text(app, "orders").split()) == 19
        assert [row[0] for row in rows(app, "loads")] == ["editors", "backup", "objects", "buffers"]
        pages = [int(row[5].replace(",", "")) for row in rows(app, "caches")]
        assert len(pages) > 3 and pages == sorted(pages, reverse=True)
        await pilot.press("s")
        names = [row[0] for row in rows(app, "caches")]
        assert names == sorted(names) and app.query_one("#caches").border_title == "caches by name"
        await pilot.press("r")
        assert [row[0] for row in rows(app, "caches")] == names[::-1]
        await pilot.press("s")
        active = [int(row[1].replace(",", "")) for row in rows(app, "caches")]
        assert active == sorted(active, reverse=True)
        await pilot.press("space")
        await until(pilot, lambda: app.live.state == RUNNING and app.shot.figures["done"] > later)
        await pilot.press("q")

    app = watched(of_scenario("steady", "", None, 20_000_000, RAW), steps, size)
    assert app.live.told is None  # ended in the middle


def test_it_stays_until_it_is_seen_how_it_ended():
    async def steps(app, pilot):
        await until(pilot, lambda: app.live.state == OVER)
        await until(pilot, lambda: "every page is as it was written" in text(app, "state"))
        assert app.shot.figures["done"] == 300 == app.shot.total
        await pilot.press("q")

    assert watched(of_scenario("smp", "", 3, 300, RAW), steps).live.told.held


def test_a_trace_is_replayed():
    async def steps(app, pilot):
        await until(pilot, lambda: "ns each" in text(app, "state"))
        assert not app.query_one("#loads").display and "asked for    20.7 KiB" in text(app, "figures")
        assert {"dentry", "task_struct", "size-64"} <= {row[0] for row in rows(app, "caches")}

    assert watched(of_trace(GCC, "", None, None, RAW), steps).live.told.held


def test_what_goes_wrong_ends_it():
    def work(observer, says):
        raise InputError("x", 0, "no")

    app = Top(Live(work))

    async def go():
        async with app.run_test():
            for _ in range(100):
                await asyncio.sleep(0.05)
                if app.live.error:
                    return

    asyncio.run(go())
    assert str(app.live.error) == "x: no"


@pytest.mark.parametrize("share, drawn", [(0, "    "), (1, "████"), (0.5, "██  "), (0.53, "██▏ "), (2, "████")])
def test_bars_are_exact_to_an_eighth_of_a_column(share, drawn):
    assert report.bar(share, 4) == drawn


@pytest.mark.parametrize(
    "count, told",
    [(0, "0"), (99_999, "99,999"), (100_000, "100k"), (9_999_999, "9,999k"), (10_000_000, "10M"), (2 << 31, "4,294M")],
)
def test_large_counts_are_short(count, told):
    assert report.short(count) == told


def test_what_cannot_be_watched_is_one_line():
    for words, why in (
        ([], "kernmalloc top: there is no terminal (kernmalloc run tells what came of a scenario)"),
        (["steady", "--mode", "twin"], "not one of 'raw', 'soft'"),
    ):
        command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "top", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and why in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    with pytest.raises(InputError, match="none: no such scenario"):
        of_scenario("none", "", None, None, RAW)
    with pytest.raises(InputError, match=r"--seed 3: .* is a trace, and no scenario \(leave it out\)"):
        of_trace(GCC, "", 3, None, RAW)
