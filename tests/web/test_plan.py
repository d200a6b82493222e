"""The part of a plan: its sums are the plan's to the byte, its numbers those of `plan --json`, and all is text."""

import json

import msgspec
import pytest
from heap_model import effort
from hypothesis import given
from hypothesis import strategies as st
from parts_page import html
from small_machines import MIB, machine
from typer.testing import CliRunner

from kernmalloc import Machine, Profile
from kernmalloc.cli import app
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.plan.advice import advise
from kernmalloc.plan.plan import plan, with_strategy
from kernmalloc.web.plan import plan_part, refused_part

SHIPPED = [name for name in Profile.shipped() if not Profile.load(name).direct]


def part_of(made):
    return plan_part(made, advise(made), "kernmalloc boot")


@effort(0.05)
@given(
    st.sampled_from(SHIPPED), st.sampled_from(list(STRATEGIES)), st.integers(8, 256), st.integers(0, 64), st.booleans()
)
def test_the_parts_of_the_heap_are_the_heap_to_the_byte(kernel, strategy, low, high, hole):
    ram = [(MIB, low * MIB), *([(512 * MIB, high * MIB)] if high else [])]
    profile = with_strategy(Profile.load(kernel), strategy)
    computer = machine((0, 640 << 10), *ram) if hole else machine((0, (low + 1) * MIB))
    try:
        made = plan(computer, profile)
    except TooSmall as error:
        part = refused_part(computer, profile, str(error))
        assert part.data["refused"] == str(error)
        (own,) = (row for row in part.data["strategies"] if row["strategy"] == strategy)
        assert own["status"] == "refused" and own["reason"] == str(error)
        return
    data = part_of(made).data
    assert sum(item["bytes"] for item in data["items"]) == data["heap"] == made.top
    assert all(item["bytes"] >= 0 for item in (*data["items"], *data["beside"]))
    assert sum(item["bytes"] for item in data["beside"][:2]) % made.page == 0  # whole frames of records and tables
    assert sum(sum(row.get("devices", {}).values()) for row in data["strategies"]) == 0
    assert [row["strategy"] for row in data["strategies"]] == list(STRATEGIES)
    (own,) = (row for row in data["strategies"] if row["strategy"] == strategy)
    assert own["heap"] == made.top and own["tlb"] == made.after.tlb and own["promised"] == made.after.promised


@pytest.mark.parametrize("strategy", ["demand", "reserve+release"])
def test_devices_have_the_entries_and_costs_that_the_plan_says(strategy):
    made = plan(Machine.shipped("workstation-64g"), with_strategy(Profile.load("eros2"), strategy))
    data = part_of(made).data
    assert [row["cost"] for row in data["devices"]] == [device.cost for device in (*made.devices, *made.unplaced)]
    for row in data["devices"]:
        assert row["entries"] == (row["frames"] if row["status"] == "fits" else 0)
        assert bool(row["reason"]) == (row["status"] != "fits")
    fitting = sum(row["frames"] for row in data["devices"] if row["status"] == "fits")
    assert data["reserve"]["fitting"] == fitting <= data["reserve"]["wanted"] <= data["reserve"]["most"]
    assert data["reserve"]["reserved"] == made.device_frames <= data["reserve"]["most"]


def test_a_card_costs_what_planning_with_it_says():
    made = plan(Machine.shipped("desktop-16g"), Profile.load("eros2"))
    (card, other) = part_of(made).data["cards"]
    done = CliRunner().invoke(app, ["plan", "desktop-16g", "--kernel", "eros2", "--with", "24GiB", "--json"])
    said = json.loads(done.stdout)
    assert [(d["cost"], d["status"]) for d in said["devices"] if d["size"] == card["window"]] == [
        (card["cost"], card["status"])
    ]
    assert other["status"] == "refused" and "physical address limit" in other["reason"]


def test_the_page_shows_the_numbers_of_plan_json(page_of):
    words = ["plan", "desktop-16g", "--kernel", "eros2", "--strategy", "reserve+release"]
    said = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    made = plan(Machine.shipped("desktop-16g"), with_strategy(Profile.load("eros2"), "reserve+release"))
    page = page_of(html(part_of(made)))
    shown = page.eval_on_selector_all(
        "dd[data-figure]",
        "all => Object.fromEntries(all.map((e) => [e.dataset.figure, [e.dataset.value, e.innerText]]))",
    )
    for name, (value, text) in shown.items():
        expected = said
        for key in name.split("."):
            expected = expected[key]
        assert int(value) == expected and text.startswith(f"{expected:,} ")
    assert {"heap.bound", "ledger.promised", "tlb.entries", "released"} <= set(shown)
    text = page.inner_text("body")
    for device in said["devices"]:
        assert (
            f"{device['base']:08x}-{device['base'] + device['size'] - 1:08x}" in text and f"{device['cost']:,}" in text
        )
    drawn = page.eval_on_selector_all("[data-bytes]", "all => all.map((e) => Number(e.dataset.bytes))")
    assert sum(drawn) == made.top + sum(item.bytes for item in made.beside)


def test_areas_of_the_treemap_are_bytes_and_parts_can_be_left_out(page_of):
    made = plan(Machine.shipped("desktop-16g"), Profile.load("eros2"))
    page = page_of(html(part_of(made)))
    cells = """all => all.map((cell) => {
      const { width, height } = cell.querySelector("rect");
      return [Number(cell.dataset.bytes), width.baseVal.value * height.baseVal.value];
    })"""
    areas = page.eval_on_selector_all("[data-bytes]", cells)
    scale = areas[0][1] / areas[0][0]
    large = [(bytes, area) for bytes, area in areas if area > 2000]
    assert len(large) >= 3 and all(abs(area / (bytes * scale) - 1) < 0.05 for bytes, area in large)
    page.select_option("select", "2")
    fewer = page.eval_on_selector_all("[data-bytes]", cells)
    assert sorted(bytes for bytes, _ in areas)[:-2] == sorted(bytes for bytes, _ in fewer)


def test_each_part_is_read_out_by_keyboard(page_of):
    made = plan(Machine.shipped("desktop-16g"), Profile.load("eros2"))
    page = page_of(html(part_of(made)), width=400, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.focus("select")
    page.keyboard.press("Tab")
    largest = max(made.items, key=lambda item: item.bytes)
    assert f"{largest.name}: {largest.bytes:,} bytes" in page.inner_text("output")
    assert page.eval_on_selector("tr.chosen", "row => row.innerText").split("\t")[1] == f"{largest.bytes:,}"


def test_a_refusal_is_told_with_what_would_do(page_of):
    profile = with_strategy(Profile.load("coyotos-i386"), "reserve")
    computer = machine((0, 640 << 10), (MIB, 7 * MIB))
    with pytest.raises(TooSmall) as error:
        plan(computer, profile)
    part = refused_part(computer, profile, str(error.value))
    page = page_of(html(part))
    text = page.inner_text("body")
    assert f"Refused: {error.value}." in text and "Why a strategy is refused, and what to do:" in text
    assert msgspec.json.encode(part.data)
