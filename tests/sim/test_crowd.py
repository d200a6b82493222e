"""How processes choose pages, and what pages must hold."""

import numpy
import pytest

from kernmalloc.drivers.processes import WORDS, number
from kernmalloc.facade.kernel import Kernel
from kernmalloc.sim.crowd import Crowd, liked
from kernmalloc.sim.scenario import Scenario

COUNT = 40_000


@pytest.fixture
def chosen(tmp_path):
    def choose(keys, seed=1):
        text = f'summary = "t"\nseed = {seed}\ntouches = 1\nram = "16 MiB"\n[[processes]]\nname = "p"\n{keys}'
        wanted = Scenario.parse(text)
        with (
            Kernel.boot(wanted.machine_made(), wanted.profile()) as kernel,
            kernel.pages.source(tmp_path / "p", wanted.pages) as source,
        ):
            crowd = Crowd(wanted, kernel, [kernel], source, timed=True)
            pages = numpy.zeros(COUNT, numpy.uint32)
            kernel.run("pages_chosen", crowd.processes.ctypes.data, pages.ctypes.data, COUNT)
            return pages

    return choose


def test_shares_of_touches_are_what_was_asked_for(chosen):
    pages = chosen("pages = 1000\nshared = 500\nshare = 0.2\nloop = 0.3\nloop_pages = 10\nscan = 0.1\n")
    shared, looped = (pages >= 1000).mean(), (pages < 10).mean()
    assert 0.19 < shared < 0.21 and 0.29 < looped < 0.32
    assert set(pages) == set(range(1500))  # anywhere is everywhere


def test_a_scan_and_a_loop_go_in_order(chosen):
    scan = chosen("pages = 700\nscan = 1.0").astype(int)
    assert ((scan[1:] - scan[:-1]) % 700 == 1).all()
    loop = chosen("pages = 700\nloop = 1.0\nloop_pages = 30").astype(int)
    assert loop[0] == 0 and ((loop[1:] - loop[:-1]) % 30 == 1).all() and loop.max() == 29


def test_zipf_likes_pages_as_the_law_says(chosen):
    counts = numpy.sort(numpy.bincount(chosen("pages = 500\nzipf = 1.0\nexponent = 1.0"), minlength=500))[::-1]
    law = 1 / numpy.arange(1, 501)
    assert abs(counts[:20] / COUNT - law[:20] / law.sum()).max() < 0.01
    assert (counts[:100].sum() / COUNT) == pytest.approx(law[:100].sum() / law.sum(), abs=0.02)


def test_a_seed_says_it_all(chosen):
    keys = "pages = 500\nzipf = 0.5"
    assert (chosen(keys) == chosen(keys)).all() and (chosen(keys) != chosen(keys, seed=2)).any()


def test_tables_hold_every_page_that_is_liked_enough():
    table = liked(1000, 0.9, numpy.random.default_rng(1))
    assert set(table) == set(range(1000)) and len(table) & (len(table) - 1) == 0


def test_what_pages_must_hold_is_what_writes_leave():
    """The array formula against one write after the other, with the kernel Python that writes."""
    for oid, version in ((0, 0), (1, 1), (2, WORDS - 1), (3, WORDS), (4, WORDS + 1), (9, 3 * WORDS + 5)):
        words = [0] * WORDS
        for v in range(1, version + 1):
            words[v % WORDS] = number(oid, v)
        crowd = Crowd.__new__(Crowd)
        crowd.versions = numpy.zeros(10, numpy.uint32)
        crowd.versions[oid] = version
        assert crowd.expected(oid, 1)[0].tolist() == words


def test_numbers_are_all_different():
    assert len({number(oid, version) for oid in range(300) for version in range(1, 300)}) == 300 * 299
    assert number(0, 0) == 0
