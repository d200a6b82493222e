"""The part of a TLB comparison: its numbers are those of `tlb --json`, in bars, in tables and as text."""

import msgspec
import pytest
from parts_page import html

from kernmalloc import Machine, Profile
from kernmalloc.report import tlb as report
from kernmalloc.sim.tlb import compare
from kernmalloc.sim.tlb_loads import load_named
from kernmalloc.web.tlb import tlb_part


@pytest.fixture(scope="module")
def done():
    return compare(Machine.shipped("m5475-64m"), Profile.load("coyotos-coldfire"), load_named("boot"))


def test_its_data_are_what_json_prints(done):
    data = msgspec.json.decode(msgspec.json.encode(tlb_part(done).data))
    assert data["compared"] == msgspec.json.decode(msgspec.json.encode(done))
    for side, row in zip((side for side in done.sides if side.load), data["sides"], strict=True):
        rows = [each for each in data["load"] if each["way"] == row["way"]]
        assert sum(each["misses"] for each in rows) == pytest.approx(row["misses"])
        assert sum(each["walks"] for each in rows) == pytest.approx(row["walks"])
        assert row["misses"] == report.scaled(side, side.load.kernel.misses)
    assert {(p["way"], p["entries"]) for p in data["curve"]} == {
        (report.NAMES[side.mapping], point.entries) for side in done.sides if side.load for point in side.curve
    }


def test_the_page_shows_what_the_command_prints(done, page_of):
    page = page_of(html(tlb_part(done)), width=400, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    text = page.inner_text("body")
    for note in report.notes(done):
        assert note in text
    cells = page.eval_on_selector_all("table tr", "rows => rows.map((row) => row.innerText)")
    for side in done.sides:
        if side.load:
            row = "\t".join(report.cells(side))
            assert row in cells
        elif side.reason:
            assert side.reason in text
    bars = page.eval_on_selector_all("svg[aria-label^='Misses'] text", "all => all.map((text) => text.textContent)")
    for side in (side for side in done.sides if side.boot and not side.fixed):
        for each in side.boot.structures.values():
            if each.accesses:
                assert f"{each.misses:,} {report.NAMES[side.mapping]}" in bars
