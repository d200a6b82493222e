"""The picture of the strategy comparison."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.inputs.errors import InputError
from kernmalloc.plan.compare import CARDS, Summary
from kernmalloc.plan.coverage import Coverage
from kernmalloc.plan.least import swept
from kernmalloc.report.compare_picture import SMALL, STYLES, can_draw, draw

pytest.importorskip("matplotlib")
SVG = "{http://www.w3.org/2000/svg}"
SHOWN = 860  # pixels: how wide repositories show a picture


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    file = tmp_path_factory.mktemp("picture") / "strategies.svg"
    curves = [
        Coverage(name, card, swept(name), 40, ((0, 3), (1 << 14, 20 + number), (1 << 18, 40), (1 << 26, 30 - number)))
        for card in CARDS
        for number, name in enumerate(STRATEGIES)
    ]
    found = [Summary("demand", "", 40, *[7] * (len(Summary._fields) - 3))]
    draw(curves, found, "eros2", 4096, str(file))
    return ElementTree.fromstring(file.read_text())


def test_it_is_read_at_the_width_at_which_it_is_shown(drawing):
    """Shown 860 pixels wide, no letter is lower than 12."""
    scale = SHOWN / float(drawing.get("viewBox").split()[2])
    sizes = [
        float(each)
        for node in drawing.iter()
        for each in re.findall(r"(?:font|font-size): ([\d.]+)px", node.get("style", ""))
    ]
    assert len(sizes) > 30 and min(sizes) * scale >= 12 and SMALL == 9


def test_each_line_has_dashes_of_its_own_and_its_name(drawing):
    assert {*STYLES} == {*STRATEGIES}
    assert len({str(dashes) for _, dashes, _ in STYLES.values()}) == len(STRATEGIES)
    texts = [node.text.strip() for node in drawing.iter(f"{SVG}text") if node.text]
    for name in STRATEGIES:
        assert texts.count(name) == len(CARDS)
    for said in ("As they are", "With a card of 24GiB added", "40 (100%)", "256 Ki"):
        assert said in texts, texts
    assert any("on 7 of 40 machines" in text for text in texts)


def test_names_do_not_stand_on_top_of_each_other(drawing):
    places = {}
    for node in drawing.iter(f"{SVG}text"):
        if node.text and node.text.strip() in STRATEGIES:
            x, y = float(node.get("x")), float(node.get("y"))
            places.setdefault(x, []).append(y)
    assert sum(map(len, places.values())) == len(CARDS) * len(STRATEGIES)
    for column in places.values():
        column.sort()
        assert all(below - above >= SMALL for above, below in pairwise(column)), column


def test_a_kind_that_cannot_be_drawn_is_refused():
    can_draw("a.svg")
    with pytest.raises(InputError, match="no such kind of picture"):
        can_draw("a.txt")
