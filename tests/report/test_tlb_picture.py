"""The picture of the TLB comparison."""

import re
from xml.etree import ElementTree

import msgspec
import pytest

from kernmalloc.facade.tlb import STRUCTURES, Traffic
from kernmalloc.report.tlb_picture import STYLES, picture
from kernmalloc.sim.tlb import FIXED, LARGE, MAPPINGS, PAGES, SIZES, Compared, Counted, Point, Side

SVG = "{http://www.w3.org/2000/svg}"


def side(mapping, scale, fixed=0):
    counted = Counted(5000, scale, dict.fromkeys(STRUCTURES, Traffic(scale, scale, scale)))
    points = tuple(Point(entries, scale // entries, 2 * scale // entries) for entries in SIZES if entries > fixed)
    return Side(mapping=mapping, strategy="demand", fixed=fixed, boot=counted, load=counted, curve=points)


@pytest.fixture
def done():
    return Compared(
        file="file", machine='a <machine> & "more"', kernel="kernel", processor="p", title="Processor",
        loads="hardware", locks=True, tlb_entries=32, second_cycles=7, walk_cycles=20, cost="estimate",
        load="a & b", page=4096, large_page=1 << 20,
        window=1 << 30, direct_map=1 << 26, room=0, growth=(), seconds=1.0,
        sides=(side(PAGES, 90_000), side(LARGE, 4000), side(FIXED, 0, 12)),
    )  # fmt: skip


def test_it_is_an_svg_that_needs_nothing(done):
    text = picture(done)
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg" and root.get("viewBox")
    assert not re.search(r"href|url\(|<script|<image", text)
    told = " ".join(element.text or "" for element in root.iter(f"{SVG}text"))
    assert 'a <machine> & "more"' in told and "load a & b" in told and "Processor: 32" in told


def test_lines_differ_without_colour(done):
    """Of each side a line with dashes of its own, and a mark of its own at each size; its name stands at it."""
    root = ElementTree.fromstring(picture(done))
    dashes = {line.get("stroke-dasharray") for line in root.iter(f"{SVG}polyline")}
    assert len(dashes) == 3 == len({mark for _, _, mark in STYLES.values()})
    assert sum(1 for _ in root.iter(f"{SVG}polyline")) == 2 * len(MAPPINGS)
    circles = sum(1 for _ in root.iter(f"{SVG}circle"))
    assert circles == 2 * (len(SIZES) + 1)  # and one beside its name


def test_nothing_is_drawn_outside(done):
    root = ElementTree.fromstring(picture(done))
    width, height = (float(root.get(name)) for name in ("width", "height"))
    for element in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.get(name, 0)) <= width
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.get(name, 0)) <= height
    for line in root.iter(f"{SVG}polyline"):
        ys = [float(pair.split(",")[1]) for pair in line.get("points").split()]
        assert ys == sorted(ys)  # misses fall, and y grows downwards


def test_what_could_not_be_measured_stands_in_the_table(done):
    refused = Side(mapping=FIXED, strategy="reserve", reason="the heap takes 300 entries of 2 MiB")
    text = picture(msgspec.structs.replace(done, sides=(*done.sides[:2], refused)))
    assert "the heap takes 300 entries of 2 MiB" in text
