"""The part of a replay's caches: every line of slabinfo, sortable."""

from parts_page import html

from kernmalloc.inputs.traces import read_trace
from kernmalloc.sim.replay import replay
from kernmalloc.web.replay import caches_part


def test_every_cache_is_there_and_sorts_by_any_column(page_of):
    caches = replay(read_trace("tests/data/traces/gcc.tracefs.txt"), mode="soft").caches
    page = page_of(html(caches_part(caches)))
    shown = "rows => rows.map((row) => [...row.children].map((cell) => cell.innerText.replaceAll(',', '')))"
    rows = page.eval_on_selector_all("tbody tr", shown)
    keys = ("name", "active_objs", "num_objs", "objsize", "objperslab", "pagesperslab", "active_slabs", "num_slabs")
    assert [row[: len(keys)] for row in rows] == [[str(getattr(line, key)) for key in keys] for line in caches]
    for at, key in enumerate(keys):
        page.get_by_role("button", name=key, exact=True).click()
        found = [row[at] for row in page.eval_on_selector_all("tbody tr", shown)]
        if key == "name":
            assert sorted(found) == sorted(line.name for line in caches) and found[0] < found[-1]
        else:
            assert list(map(int, found)) == sorted((getattr(line, key) for line in caches), reverse=True)
