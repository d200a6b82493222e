"""The Python API for pages and address spaces."""

import random

import pytest
from effort import EFFORT
from small_machines import MIB, MODES, conserved, machine

from kernmalloc.facade.errors import BadAddress, Busy, SourceError, WouldBlock
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.pages import STATE_NAMES
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core import kern
from kernmalloc.lang import status


@pytest.fixture
def boot(tmp_path):
    kernels = []

    def make(mode="raw", ram=6 * MIB, pages=2000, cpus=1):
        kernel = Kernel.boot(machine((0, ram)), Profile.load("eros2"), mode, cpus=cpus)
        kernels.append(kernel)
        return kernel, kernel.pages.source(tmp_path / f"{len(kernels)}.pages", pages)

    yield make
    try:
        for kernel in kernels:
            conserved(kernel)
    finally:
        for kernel in kernels:
            kernel.close()


def test_states_have_their_names():
    assert [getattr(kern, name.upper()) for name in STATE_NAMES] == list(range(kern.STATES))


@pytest.mark.parametrize("mode", MODES)
def test_E31_pages_come_back_byte_for_byte(boot, mode):
    """What was written to a page whose frame was taken since is what is read: through the file, with its checksum."""
    kernel, source = boot(mode, 3 * MIB, 600)
    for oid in range(600):
        with kernel.pages.get(oid) as page:
            assert page.read() == bytes(4096)
            page.write(oid % 4000, b"page %d" % oid)
    assert kernel.pages.state["evictions"] > 0
    for oid in range(600):
        assert kernel.pages.get(oid).read(oid % 4000, 10).rstrip(b"\0") == b"page %d" % oid
    kernel.pages.flush()
    assert kernel.pages.counts()["dirty"] == 0
    source.close()


@pytest.mark.parametrize("seed", range(2 * EFFORT))
def test_any_use_agrees_with_a_dictionary(boot, seed):
    """Gets, writes, pins, cleans, mappings and a source that is closed and opened again, in any order."""
    kernel, source = boot()
    pages, rng, held = kernel.pages, random.Random(seed), []
    shadow, spaces = {}, [kernel.pages.space() for _ in range(2)]
    for _ in range(6000):
        oid, what = int(rng.paretovariate(0.4) * 20) % 2000, rng.randrange(12)
        page = pages.get(oid)
        assert page.read() == shadow.get(oid, bytes(4096))
        if what < 5:
            page.write(rng.randrange(4093), rng.randbytes(4))
            shadow[oid] = page.read()
        elif what == 5 and len(held) < 50:
            page.pin()
            held.append((page, oid))
        elif what == 6 and held:
            held.pop(rng.randrange(len(held)))[0].unpin()
        elif what == 7:
            page.clean()
        elif what < 11:
            space, va = rng.choice(spaces), oid << 12
            space.map(va, oid, rng.random() < 0.5)
        elif rng.random() < 0.1:
            pages.flush()
        for page, oid in held[:3]:
            assert page.read() == shadow.get(oid, bytes(4096))
    assert sum(space.mapped for space in spaces) > 100
    conserved(kernel)
    for page, _ in held:
        page.unpin()
    for space in spaces:
        space.free()
    pages.flush()
    path = source.file.path
    source.close()
    with pages.source(path) as source:  # another look at the same file
        assert source.file.pages == 2000
        for oid, data in shadow.items():
            assert pages.get(oid).read() == data


def test_a_checksum_that_does_not_match_is_told(boot):
    kernel, source = boot()
    with kernel.pages.get(7) as page:
        page.write(0, b"seven")
    kernel.pages.flush()
    path = source.file.path
    for oid in range(100, 2000):  # page 7 is no longer there
        kernel.pages.get(oid)
    source.close()
    with open(path, "r+b") as file:
        file.seek(7 * 4096)
        file.write(b"S")
    with kernel.pages.source(path):
        with pytest.raises(SourceError) as caught:
            kernel.pages.get(7)
        assert caught.value.status == status.IO_ERROR
        assert kernel.pages.get(8).read(0, 4) == bytes(4)


def test_a_page_that_the_file_does_not_have_is_refused(boot):
    kernel, _ = boot(pages=100)
    with pytest.raises(SourceError):
        kernel.pages.get(100)
    with pytest.raises(BadAddress):
        kernel.pages.get(-1)


def test_sources_that_cannot_be(boot, tmp_path):
    kernel, source = boot()
    with pytest.raises(Busy):
        kernel.pages.source(tmp_path / "other", 10)
    source.close()
    source.close()  # a second time changes nothing
    with pytest.raises(SourceError) as caught:
        kernel.pages.get(1)
    assert caught.value.status == status.NO_SOURCE
    odd = tmp_path / "odd"
    odd.write_bytes(bytes(5000))
    with pytest.raises(SourceError, match="not a file of pages with checksums"):
        kernel.pages.source(odd)
    with pytest.raises(OSError):
        kernel.pages.source(tmp_path / "none")
    with pytest.raises(SourceError):
        kernel.pages.source(tmp_path / "empty", 0)


def test_what_pages_refuse(boot):
    kernel, _ = boot()
    page = kernel.pages.get(1)
    with pytest.raises(BadAddress):
        page.unpin()
    with pytest.raises(ValueError, match="of a page of 4096"):
        page.write(4090, bytes(7))
    space = kernel.pages.space()
    space.map(0x1000, 1)
    with pytest.raises(Busy):
        space.map(0x1000, 2)
    with pytest.raises(BadAddress):
        space.map(0x1001, 2)
    with pytest.raises(BadAddress):
        space.unmap(0x5000)
    space.unmap(0x1000)
    space.free()
    with pytest.raises(BadAddress):
        space.free()


def test_a_driver_that_cannot_help_leaves_would_block(boot):
    """Everything is pinned: no answer of the source can bring a frame."""
    kernel, _ = boot(ram=3 * MIB)
    held = []
    with pytest.raises(WouldBlock):
        for oid in range(2000):
            held.append(kernel.pages.get(oid))
            held[-1].pin()
    assert len(held) > 50
    for page in held:
        page.unpin()
    kernel.pages.get(len(held))


@pytest.mark.parametrize("mode", MODES)
def test_one_processor_drives_the_source_for_all(boot, mode):
    """Who asks on another is told to wait; the page is the same for all when it has come."""
    kernel, source = boot(mode, cpus=2)
    other = kernel.cpu(1).pages
    assert other.open is source
    with pytest.raises(WouldBlock):
        other.get(5)
    assert source.waiting == 1 and source.run() == 1
    conserved(kernel)
    with other.get(5) as page:
        page.write(0, b"five")
        assert kernel.pages.get(5).pfn == page.pfn
    with pytest.raises(WouldBlock):
        other.flush()
    conserved(kernel)
    assert source.waiting == 1 and kernel.pages.flush() == 0 and other.flush() == 0
    assert source.file.read(5, memoryview(bytearray(4096))) == status.OK
    source.close()


@pytest.mark.parametrize(
    "offset, size", [(-8, 8), (4090, 100), (0, 4097), (4097, None), (0, -1), (-1, None), (1 << 70, 1)]
)
def test_a_page_is_read_and_written_inside_only(boot, offset, size):
    """What lies before and behind it is another frame's."""
    kernel, _ = boot()
    page = kernel.pages.get(1)
    with pytest.raises(ValueError, match="of a page of 4096"):
        page.read(offset, size)
    if size is not None and size > 0:
        with pytest.raises(ValueError, match="of a page of 4096"):
            page.write(offset, bytes(size))
    assert page.read(4096) == page.read(0, 0) == b"" and kernel.pages.counts()["dirty"] == 0
