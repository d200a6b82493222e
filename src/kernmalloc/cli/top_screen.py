"""The screen of `kernmalloc top`: what `report/top.py` tells of the newest moment, ten times a second."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import DataTable, Footer, Static

from kernmalloc.cli.live import Live, Shot
from kernmalloc.report import top
from kernmalloc.report.printable import printable

EVERY = 0.1  # seconds
MEMORY = top.CACHE_COLUMNS.index("pages")  # what caches are sorted by at first
DOWN, UP = "▼", "▲"


class Top(App[None]):
    """The screen of one run or replay, which begins with it and ends with it at the latest."""

    CSS = """
    #state, #frames, #figures { text-wrap: nowrap; text-overflow: ellipsis; }
    #state { height: 1; text-style: bold; }
    #pictures { height: 7; }
    #frames { width: 1fr; padding-right: 1; border-top: solid $primary; border-title-align: left; }
    #figures { width: 36; border-top: solid $primary; }
    #orders { height: 3; border-top: solid $primary; }
    #tables { height: 1fr; }
    #tables DataTable { scrollbar-size-vertical: 1; }
    #caches { width: 1fr; border-top: solid $primary; }
    #loads { width: 36; border-top: solid $primary; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "pause, go on", priority=True),
        Binding("n", "step", "next moment"),
        Binding("s", "sort", "sort by next"),
        Binding("r", "reverse", "reverse"),
        Binding("q,ctrl+c", "quit", "quit", key_display="q", priority=True),
    ]

    def __init__(self, live: Live) -> None:
        super().__init__()
        self.live = live
        self.shot: Shot | None = None
        self.by, self.falls = MEMORY, True  # the column that caches are sorted by, and whether the largest comes first
        # held, and not looked up: the timer may go off while the screen is taken down
        self.state, self.frames, self.figures, self.orders = (
            Static(id=id) for id in ("state", "frames", "figures", "orders")
        )
        self.caches, self.loads = (
            DataTable[Text](id=id, cursor_type="row", cell_padding=0) for id in ("caches", "loads")
        )

    def compose(self) -> ComposeResult:
        """Its parts, from the top."""
        yield self.state
        with Horizontal(id="pictures"):
            yield self.frames
            yield self.figures
        yield self.orders
        with Horizontal(id="tables"):
            yield self.caches
            yield self.loads
        yield Footer()

    def on_mount(self) -> None:
        """Begin the work."""
        self.frames.border_title = "frames"
        self.figures.border_title = "heap, bank, waits"
        self.orders.border_title = "free blocks, from one frame on"
        self.loads.border_title = "loads"
        self.set_interval(EVERY, self.look)
        self.live.start()

    def on_unmount(self) -> None:
        """End it."""
        self.live.end()

    def on_resize(self) -> None:
        """Draw again, as wide as it is now."""
        self.call_after_refresh(self.draw)

    def action_pause(self) -> None:
        """Pause, or go on."""
        self.live.pause()

    def action_step(self) -> None:
        """Go on to the next moment."""
        self.live.step()

    def action_sort(self) -> None:
        """Sort caches by the next column."""
        self.by = (self.by + 1) % len(top.CACHE_COLUMNS)
        self.falls = self.by > 0  # names from a on
        self.draw()

    def action_reverse(self) -> None:
        """Sort them the other way round."""
        self.falls = not self.falls
        self.draw()

    def look(self) -> None:
        """Draw what is new. What went wrong ends the screen; whoever began it tells it."""
        if self.live.error:
            self.exit()
            return
        shot = self.live.take()
        if shot:
            self.shot = shot
            self.draw()
        _put(self.state, self._state())

    def draw(self) -> None:
        """The newest moment."""
        shot = self.shot
        if not shot:
            return
        _put(self.frames, "\n".join(top.frames(shot.figures, self.frames.content_size.width)))
        _put(self.figures, "\n".join(top.figures(shot.figures)))
        _put(self.orders, top.orders(shot.figures))
        caches = sorted(map(top.cache, shot.caches), key=lambda row: (row[self.by], row[0]), reverse=self.falls)
        marks = [(DOWN if self.falls else UP) if at == self.by else "" for at in range(len(top.CACHE_COLUMNS))]
        names = [name + mark for name, mark in zip(top.CACHE_COLUMNS, marks, strict=True)]
        self.caches.border_title = f"caches by {top.CACHE_COLUMNS[self.by]}"
        _fill(self.caches, names, caches)
        self.loads.display = bool(shot.loads)
        _fill(self.loads, list(top.LOAD_COLUMNS), [top.load(load) for load in shot.loads])

    def _state(self) -> str:
        shot, live = self.shot, self.live
        if live.told:
            return f"{live.told.verdict} (q quits)"
        if not shot:
            return "booting"
        done = int(shot.figures["done"])
        share = done / shot.total if shot.total else 1.0
        at = live.at or f"{done:,} of {shot.total:,} {shot.unit}, {share:.0%}"
        return f"{live.state}: {at}, {shot.figures['seconds']:.1f} s; {shot.title}"


def _put(part: Static, text: str) -> None:
    lines = (printable(line) for line in text.split("\n"))
    part.update(Text("\n".join(lines)))


def _fill(table: DataTable[Text], names: list[str], rows: Sequence[tuple[str | int, ...]]) -> None:
    """Lay a table out anew; who had scrolled stays where he was."""
    row = table.cursor_row
    table.clear(columns=True)
    for at, name in enumerate(names):
        table.add_column(_right(name) if at else Text(name))
    for cells in rows:
        table.add_row(*(Text(printable(cell)) if isinstance(cell, str) else _right(top.short(cell)) for cell in cells))
    table.move_cursor(row=min(row, max(len(rows) - 1, 0)))


def _right(text: str) -> Text:
    """A cell of a number, apart from the one before it."""
    return Text(f" {text}", justify="right")
