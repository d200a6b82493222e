"""The part of a run over time: its figures are the samples', a span is chosen by mouse and keyboard, and the frame map
at a moment is what was sampled."""

import re

import numpy
import pytest
from msgspec.structs import replace
from parts_page import html

from kernmalloc import Kernel
from kernmalloc.sim.observer import Observer
from kernmalloc.sim.run import run_on
from kernmalloc.sim.scenario import Scenario
from kernmalloc.web.over_time import over_time_part

MOMENT, FROM, TO = range(3)  # the sliders, in their order


@pytest.fixture(scope="module")
def samples():
    storm = Scenario.load("storm")
    groups = tuple(replace(group, pages=500) for group in storm.processes)
    observer, scenario = Observer(), storm.with_changes(touches=400, processes=groups)
    with Kernel.boot(scenario.machine_made(), scenario.profile(), "soft", cpus=scenario.cpus) as kernel:
        run_on(kernel, scenario, observer=observer)
        assert kernel.check().passed
    return observer.samples


@pytest.fixture
def opened(samples, page_of):
    return lambda **how: page_of(html(over_time_part(samples)), **how)


def figures(page):
    """The figures of the moment, as numbers: shares are in percent."""
    shown = page.eval_on_selector_all(
        "[data-figure]", "all => Object.fromEntries(all.map((e) => [e.dataset.figure, e.textContent]))"
    )
    return {name: float(re.match(r"-?[\d,.]+", text)[0].replace(",", "")) for name, text in shown.items()}


def held_against(samples, page, at):
    shown = figures(page)
    assert set(shown) == set(samples.columns)
    for name, column in samples.columns.items():
        value = float(column.values[at]) * (100 if column.unit == "share" else 1)
        assert shown[name] == pytest.approx(value, abs=0.06 if column.unit == "share" else 0.001, rel=1e-5), name


def test_the_figures_of_each_moment_are_the_samples(samples, opened):
    page = opened()
    last = len(samples) - 1
    held_against(samples, page, last)
    page.locator("input").nth(MOMENT).focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "at => document.querySelector('[data-figure=done]').textContent.startsWith(at)",
        arg=f"{samples['done'][last - 3]:,}",
    )
    held_against(samples, page, last - 3)
    page.keyboard.press("Home")
    page.wait_for_function("document.querySelector('[data-figure=done]').textContent.startsWith('0 ')")
    held_against(samples, page, 0)


def test_a_span_is_chosen_by_keyboard_and_by_dragging(samples, opened):
    page = opened()
    whole = page.locator("output").first.inner_text()
    first, last = page.locator("input").nth(FROM), page.locator("input").nth(TO)
    first.focus()
    page.keyboard.press("PageUp")
    moved = int(first.input_value())
    assert moved > 0
    page.wait_for_function("text => document.querySelector('output').textContent !== text", arg=whole)
    assert f"Drawn: {samples['done'][moved]:,} to {samples['done'][-1]:,}." in page.locator("output").first.inner_text()
    page.get_by_role("button", name="Whole").press("Enter")
    assert (int(first.input_value()), int(last.input_value())) == (0, len(samples) - 1)
    strip = page.locator(".chart-strip svg").bounding_box()
    y = strip["y"] + strip["height"] / 2
    page.mouse.move(strip["x"] + strip["width"] * 0.4, y)
    page.mouse.down()
    page.mouse.move(strip["x"] + strip["width"] * 0.5, y, steps=3)
    page.mouse.move(strip["x"] + strip["width"] * 0.6, y, steps=3)
    page.mouse.up()
    begin, end = int(first.input_value()), int(last.input_value())
    assert 0.2 * len(samples) < begin < 0.5 * len(samples) < end < 0.8 * len(samples)


def test_the_frame_map_is_what_was_sampled(samples, opened):
    page = opened(width=400, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.wait_for_function("document.querySelector('.chart-map path[d]')")
    maps = samples.map
    types = maps.to_json()["types"]
    drawn = {
        name: page.locator(".chart-map path").nth(number).get_attribute("d").count("M")
        for number, name in enumerate(types)
    }
    counted = numpy.bincount(maps.dominant[-1], minlength=len(types))
    assert list(drawn.values()) == counted.tolist()
    page.locator(".chart-map svg").focus()
    page.keyboard.press("ArrowRight")
    share = maps.shares[-1][1] / 255
    says = page.locator("output").nth(1).inner_text()
    assert says.startswith("Cell 1, frames ") and says.endswith(f" {types[maps.dominant[-1][1]]}.")
    assert float(re.search(r"([\d.]+)%", says)[1]) == pytest.approx(100 * share, abs=0.06)
    pfn, frames = maps.spans[0]
    assert f"{pfn + maps.each:x}-" in says or frames < 2 * maps.each


def test_each_panel_is_named_and_every_meaning_is_text(samples, opened):
    page = opened()
    text = page.inner_text("body")
    for name in ("Live and backed", "Free frames by order", "Hit rate", "Stalls", "Ledger", "Fragmentation"):
        assert name in text and page.locator(f"svg[aria-label='{name} over time']").count() == 1
    assert all(column.meaning in text for column in samples.columns.values())
