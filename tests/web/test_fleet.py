"""The part of a fleet's answer: the curve, of which a point can be asked what it is."""

from parts_page import html

from kernmalloc.fleet.answer import Answer, Costs
from kernmalloc.fleet.work import LeftOver
from kernmalloc.web.fleet import fleet_part

ANSWER = Answer(
    kernel="eros2",
    strategy="reserve",
    setting="device-frames",
    unit="frames",
    value=70_000,
    machines=200,
    wanted=198,
    covered=199,
    most=200,
    never=0,
    costs=Costs(2 << 20, 8192, 1 << 20),
    lines=("kernmalloc boot FILE --device-frames 70000",),
    curve=((0, 3), (60_000, 150), (70_000, 199), (90_000, 200), (8_000_000, 40)),
    left_over=(LeftOver("a board", "log.txt", "entries are wanted"),),
    wrong=(),
)


def test_a_point_of_the_curve_says_what_it_is(page_of):
    page = page_of(html(fleet_part(ANSWER)))
    text = page.locator("main").inner_text()
    assert "device-frames = 70,000 covers 199 of 200 machines, 99.5%" in text and ANSWER.lines[0] in text
    assert "It is the answer: the smallest that covers 198." in text and "entries are wanted" in text
    slider = page.get_by_role("slider")
    assert slider.input_value() == "2"
    slider.focus()
    for (value, covered), key in zip(ANSWER.curve[3:], ("ArrowRight", "ArrowRight"), strict=True):
        page.keyboard.press(key)
        said = page.locator("[aria-live]").inner_text()
        assert said.startswith(f"device-frames from {value:,}") and f"{covered} of 200 machines covered" in said
        assert slider.get_attribute("aria-valuetext") == said
    assert page.locator("svg[aria-label*='Machines covered']").count() == 1
    cells = page.locator("table").first.locator("tr").all_inner_texts()
    assert "99%\t198\t70,000" in cells and "100%\t200\t90,000" in cells and "50%\t100\t60,000" in cells


def test_it_fits_a_narrow_page(page_of):
    page = page_of(html(fleet_part(ANSWER)), width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
