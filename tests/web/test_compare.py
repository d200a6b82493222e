"""The part of strategies compared: curves of machines covered, and every figure of `compare --json`."""

from random import Random

import pytest
from parts_page import html

from kernmalloc import Machine, Profile
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.plan.compare import CARDS, compare
from kernmalloc.plan.coverage import Coverage
from kernmalloc.plan.least import swept
from kernmalloc.report.compare import row
from kernmalloc.web.compare import compare_part

ASKED = (0, 1 << 12, 1 << 16, 1 << 18, 1 << 23, 1 << 26)
MACHINES = 40


def some_curve(strategy: str, card: str, some: Random) -> Coverage:
    """Any curve: `tests/plan` holds those of machines against plans."""
    firsts = sorted({0, *(int(2 ** some.uniform(0, 26)) for _ in range(some.randint(0, 30)))})
    steps = tuple((frames, some.randint(0, MACHINES)) for frames in firsts)
    return Coverage(strategy, card, swept(strategy), MACHINES, steps)


@pytest.fixture(scope="module")
def part():
    found = compare([(Machine.shipped("desktop-16g"), Profile.load("eros2"))], 1)
    some = Random(1)
    return compare_part(found, [some_curve(s, card, some) for card in CARDS for s in STRATEGIES], "eros2"), found


def test_the_page_shows_every_figure_and_every_curve(part, page_of):
    made, found = part
    page = page_of(html(made))
    rows = page.eval_on_selector_all("table tr", "rows => rows.map((row) => row.innerText)")
    for summary in found:
        assert "\t".join(row(summary)) in rows
    some = Random(1)
    for curve in (some_curve(s, card, some) for card in CARDS for s in STRATEGIES):
        setting = f"--{curve.setting}" if curve.setting else "nothing"
        most = max(machines for _, machines in curve.steps)
        assert "\t".join([curve.strategy, setting, *(str(curve.at(frames)) for frames in ASKED), str(most)]) in rows
    pictures = page.eval_on_selector_all(
        "svg[aria-label*='machines covered']", "all => all.map((svg) => svg.textContent)"
    )
    assert len(pictures) == len(CARDS)
    assert all(strategy in named for named in pictures for strategy in STRATEGIES)


def test_a_table_is_sorted_by_keyboard(part, page_of):
    page = page_of(html(part[0]), width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    table = page.locator("table", has_text="TLB").first
    table.get_by_role("button", name="TLB").focus()

    def shown():
        cells = table.locator("tbody tr").evaluate_all("rows => rows.map((row) => row.children[11].innerText)")
        return [float(cell.replace(",", "")) for cell in cells]

    before = shown()
    page.keyboard.press("Enter")
    assert shown() == sorted(before, reverse=True)
    assert table.locator("[aria-sort=descending]").inner_text().startswith("TLB")
    page.keyboard.press("Space")
    assert shown() == sorted(before)
    assert table.locator("[aria-sort=ascending]").count() == 1
