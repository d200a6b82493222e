"""The part of strategies compared: curves of machines covered, and every figure of `compare --json`."""

import pytest
from parts_page import html

from kernmalloc import Machine, Profile
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.plan.compare import CARDS, compare
from kernmalloc.plan.coverage import coverage
from kernmalloc.report.compare import row
from kernmalloc.web.compare import compare_part


@pytest.fixture(scope="module")
def made():
    pairs = [(Machine.shipped(name), Profile.load("eros2")) for name in ("desktop-16g", "xeon-32g")]
    return compare(pairs, 1), coverage(pairs, 1)


def test_the_page_shows_every_figure_and_every_curve(made, page_of):
    found, curves = made
    page = page_of(html(compare_part(found, curves, "eros2")), width=1280)
    rows = page.eval_on_selector_all("table tr", "rows => rows.map((row) => row.innerText)")
    for summary in found:
        assert "\t".join(row(summary)) in rows
    asked = (0, 1 << 12, 1 << 16, 1 << 18, 1 << 23, 1 << 26)
    for curve in curves:
        setting = f"--{curve.setting}" if curve.setting else "nothing"
        most = max(machines for _, machines in curve.steps)
        assert "\t".join([curve.strategy, setting, *(str(curve.at(frames)) for frames in asked), str(most)]) in rows
    pictures = page.query_selector_all("svg[aria-label*='machines covered']")
    assert len(pictures) == len(CARDS)
    for picture in pictures:
        named = picture.inner_text() or picture.text_content()
        assert all(strategy in named for strategy in STRATEGIES)


def test_a_table_is_sorted_by_keyboard(made, page_of):
    found, curves = made
    page = page_of(html(compare_part(found, curves, "eros2")), width=400)
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
