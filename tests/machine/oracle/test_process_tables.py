"""Processors that are not ours run with the rights of a process on tables that the kernel made for it, while its pages
are mapped, stolen and brought back.

Rows E14 (a process reaches its pages and nothing else), E17 (its tables are memory of the kernel's), E30 (pages go)."""

from pathlib import Path

import pytest
from emulated import PROCESSORS
from oracle import Tables
from processes import World

from kernmalloc.machine.arch import FORMATS

KNOWN = [name for name in FORMATS if name in PROCESSORS]
ROUNDS = 16


def oracle(format: str, rounds: int, file: Path) -> None:
    with Tables(format, "demand", rounds) as tables:
        world = World(tables, file)
        for _ in range(rounds):
            world.run(world.change(), 25)
        evicted = int(tables.kernel.view.kern["pages"]["evictions"])
        world.close()
        print(f"{format}: {dict(tables.counts)}, {evicted} pages stolen")
        assert tables.counts["in a page"] > 4 * rounds and evicted > rounds
        assert tables.counts["in a large page"]


@pytest.mark.parametrize("format", KNOWN)
def test_a_process_reaches_its_pages_and_nothing_else_E14_E17_E30(format: str, tmp_path: Path) -> None:
    oracle(format, ROUNDS, tmp_path / "pages")


@pytest.mark.nightly
@pytest.mark.parametrize("format", KNOWN)
def test_a_process_reaches_them_for_long_E14_E17_E30(format: str, tmp_path: Path) -> None:
    oracle(format, 150 * ROUNDS, tmp_path / "pages")
