"""docs/tour.md tells what happens: its tables name, in order, functions that the twin really calls."""

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import kernmalloc.kernel
from kernmalloc import Kernel, Machine, Profile
from kernmalloc.facade import loader
from kernmalloc.kernel.core import kern
from kernmalloc.lang.functions import PRIMITIVES, REGISTRY
from kernmalloc.lang.records import RECORDS

ROOT = Path(__file__).parent.parent
PACKAGE = Path(kernmalloc.__file__).parent
CALLS = str(PACKAGE / "kernel" / "calls.py")  # whose functions it makes itself
TOUR = (ROOT / "docs" / "tour.md").read_text()
PICTURE = (ROOT / "docs" / "tour.svg").read_text()
PLACES = (PACKAGE / "kernel", PACKAGE)
"""Where the files that the tour names may lie."""

Step = tuple[str, str]


def place(name: str) -> Path:
    """The file that the tour calls so."""
    return next(here / name for here in PLACES if (here / name).exists())


def tables() -> list[list[Step]]:
    """The (file, function) pairs of each table. Primitives are no kernel functions: their rows are left out."""
    rows = re.compile(r"^\| `([\w/]+\.py)` \| `(\w+)` \|", re.MULTILINE)
    return [
        [(str(place(file)), function) for file, function in rows.findall(table) if file != "machine/primitives.py"]
        for table in re.findall(r"(?:^\|.*\n)+", TOUR, re.MULTILINE)
    ]


def called(action: Callable[[], Any]) -> tuple[Any, list[Step]]:
    """The result of an action, and the functions of the package that it calls, in order."""
    steps = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            steps.append((CALLS if file.startswith("<call of") else file, frame.f_code.co_name))

    sys.setprofile(note)
    try:
        return action(), steps
    finally:
        sys.setprofile(None)


def missing(told: list[Step], done: list[Step]) -> Step | None:
    """The first step of a table that does not come in its turn."""
    rest = iter(done)
    return next((step for step in told if step not in rest), None)


@pytest.fixture(scope="module")
def ways() -> list[list[Step]]:
    """What each table is about, done by the twin."""
    machine = Machine.read(ROOT / "tests/data/machines/laptop-20m.toml")
    kernel, booting = called(lambda: Kernel.boot(machine, Profile.load("eros2"), mode="twin"))
    with kernel:
        pfn, getting = called(lambda: kernel.call("frame_get", kern.DMA))
        window, showing = called(lambda: kernel.call("window_open", pfn))
        kernel.call("window_close", window)
        _, putting = called(lambda: kernel.call("frame_put", pfn))
        _, first = called(lambda: kernel.call("malloc", 100))
        va, second = called(lambda: kernel.call("malloc", 100))
        _, freeing = called(lambda: kernel.call("free", va))
        many = [kernel.call("malloc", 4000) for _ in range(400)]
        _, shrinking = called(lambda: [kernel.call("free", va) for va in many])
    return [booting, getting, showing, putting, first, second, freeing, shrinking]


def test_the_tables_tell_what_is_called(ways):
    told = tables()
    assert len(told) == len(ways) and all(told)
    for number, (table, way) in enumerate(zip(told, ways, strict=True), 1):
        step = missing(table, way)
        assert step is None, f"docs/tour.md, table {number}: {step[1]} of {step[0]} is not called there"


@pytest.fixture(scope="module")
def names() -> set[str]:
    """Kernel functions, records and primitives."""
    for module in pkgutil.walk_packages(kernmalloc.kernel.__path__, "kernmalloc.kernel."):
        importlib.import_module(module.name)
    primitives = {symbol.removeprefix("km_port_") for symbol in PRIMITIVES}
    return {function.__name__ for function in REGISTRY} | {*RECORDS} | primitives


def test_every_name_exists(names):
    prose = re.sub(r"^```.*?^```$", "", TOUR, flags=re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`(\w+)(?:\(\d+\))?`", prose):
        known = name in names or hasattr(kern, name) or hasattr(loader, name)
        assert known, f"docs/tour.md: there is no {name}"


def test_every_name_in_the_picture_exists(names):
    shown = re.findall(r'<text class="f"[^>]*>(\w+)</text>', PICTURE)
    assert len(shown) > 30
    assert {*shown} <= names, f"docs/tour.svg: there is no {sorted({*shown} - names)}"


def test_every_row_with_a_primitive_names_one(names):
    rows = re.findall(r"^\| `machine/primitives\.py` \| `(\w+)` \|", TOUR, re.MULTILINE)
    assert rows and all(f"km_port_{name}" in PRIMITIVES for name in rows)
