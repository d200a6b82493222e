"""Numbers in pages are written as the command line writes them."""

import random

from parts_page import html

from kernmalloc.inputs.sizes import size
from kernmalloc.report.tlb import number
from kernmalloc.report.units import several, span
from kernmalloc.web.page import Part


def test_sizes_rates_and_ranges_are_written_as_the_command_line_writes_them(page_of):
    page = page_of(html(Part("slabinfo", "none", {"caches": []})))
    some = random.Random(1)
    counts = [0, 1, 1023, 1024, 1280, 1536, 10291, 102348, 104858, *(some.getrandbits(i % 50 + 1) for i in range(500))]
    counts += [count << 10 | 128 for count in range(100)]  # ends in what is rounded to even
    assert page.evaluate("counts => counts.map(sizeText)", counts) == [size(count) for count in counts]
    assert page.evaluate("counts => counts.map((n) => several(n, 'frame'))", counts) == [
        several(count, "frame") for count in counts
    ]
    rates = [0, 1, 59.0, 0.033, 99.96, 100.4, 7185.2, *(some.random() * 10 ** some.randint(-2, 5) for _ in range(300))]
    assert page.evaluate("rates => rates.map(rateText)", rates) == [number(rate) for rate in rates]
    ranges = [(some.getrandbits(40), some.getrandbits(30) + 1) for _ in range(50)]
    assert page.evaluate("ranges => ranges.map(([base, size]) => addresses(base, size))", ranges) == [
        span(base, base + size) for base, size in ranges
    ]
