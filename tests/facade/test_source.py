"""The files of sources: nothing is lost by asking for one that cannot be."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_machines import MIB, conserved, machine

from kernmalloc.facade.errors import Busy, SourceError
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.facade.source import SUM
from kernmalloc.lang.status import IO_ERROR

PAGE = 4096


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with Kernel.boot(machine((0, 6 * MIB)), Profile.load("eros2")) as made:
        yield made
        if made.pages.open and not made.pages.open.closed:
            made.pages.open.close()
        conserved(made)


def dirty(kernel: Kernel, path: Path, words: bytes, pages: int = 600) -> None:
    """A file of pages with something in page 7."""
    with kernel.pages.source(path, pages):
        kernel.pages.get(7).write(0, words)
        kernel.pages.flush()


@pytest.mark.parametrize("pages", [0, -1, 1 << 50, 1 << 62, 1 << 80])
@pytest.mark.parametrize("what", ["source", "text", "none"])
def test_a_number_of_pages_that_cannot_be_changes_no_file(kernel, tmp_path, pages, what):
    path = tmp_path / "file"
    if what == "source":
        dirty(kernel, path, b"seven")
    elif what == "text":
        path.write_text("a letter")
    before = path.read_bytes() if path.exists() else None
    for create in (False, True):
        with pytest.raises((SourceError, OSError)):
            kernel.pages.source(path, pages=pages, create=create)
        assert (path.read_bytes() if path.exists() else None) == before
        assert os.listdir(tmp_path) == (["file"] if before is not None else [])
    with kernel.pages.source(tmp_path / "other", 10):  # the kernel can have another
        pass


def test_another_source_that_is_open_changes_no_file(kernel, tmp_path):
    path, other = tmp_path / "open", tmp_path / "letter"
    other.write_text("a letter")
    with kernel.pages.source(path, 600):
        for create in (False, True):
            with pytest.raises(Busy):
                kernel.pages.source(other, 10, create)
            with pytest.raises(Busy):
                kernel.pages.source(path, 10, create)
        assert other.read_text() == "a letter" and path.stat().st_size == 600 * (PAGE + SUM)


@pytest.mark.parametrize("size", [1, 8, 5000, PAGE + SUM, 10 * (PAGE + SUM)])
def test_a_file_that_is_no_source_is_replaced_only_if_the_caller_says_so(kernel, tmp_path, size):
    path, data = tmp_path / "thesis", random.Random(size).randbytes(size)
    path.write_bytes(data)
    with pytest.raises(SourceError, match="not a file of pages with checksums"):
        kernel.pages.source(path, pages=10)
    assert path.read_bytes() == data
    with kernel.pages.source(path, pages=10, create=True) as source:
        assert source.file.pages == 10 and kernel.pages.get(9).read() == bytes(PAGE)


def test_a_source_is_made_anew_and_an_empty_file_becomes_one(kernel, tmp_path):
    dirty(kernel, tmp_path / "p", b"seven")
    while kernel.pages.counts()["clean"]:  # what the cache has is of the old file
        kernel.call("page_discard", kernel.pages.in_state(2)[0])
    with kernel.pages.source(tmp_path / "p", 100):
        assert kernel.pages.get(7).read(0, 5) == bytes(5)
    (tmp_path / "empty").touch()
    with kernel.pages.source(tmp_path / "empty", 10):
        pass


def test_a_file_that_is_truncated_from_outside_is_an_error_that_is_told(kernel, tmp_path):
    """Not a SIGBUS: what is gone cannot be read, what is written is there again."""
    path = tmp_path / "p"
    with kernel.pages.source(path, 600):
        with kernel.pages.get(7) as page:
            page.write(0, b"seven")
            os.truncate(path, 3 * PAGE)
            with pytest.raises(SourceError) as caught:
                kernel.pages.get(599)
            assert caught.value.status == IO_ERROR
            assert kernel.pages.get(2).read(0, 4) == bytes(4)
            kernel.pages.flush()
        os.truncate(path, 0)
        for oid in (0, 300, 599):
            if kernel.call("page_get", oid) < 0:
                with pytest.raises(SourceError):
                    kernel.pages.get(oid)


def test_a_snapshot_is_not_restored_under_a_source(kernel, tmp_path):
    """Its requests would be done again, and an old page be written over a newer one."""
    path = tmp_path / "p"
    empty = kernel.snapshot()
    source = kernel.pages.source(path, 600)
    kernel.pages.get(7).write(0, b"old")
    old = kernel.snapshot()
    kernel.pages.get(7).write(0, b"new")
    kernel.pages.flush()
    for snapshot in (empty, old):
        with pytest.raises(Busy, match="source is open"):
            kernel.restore(snapshot)
    source.close()
    with pytest.raises(Busy, match="written to the source since"):
        kernel.restore(old)
    kernel.restore(empty)  # it has no page
    with pytest.raises(Busy):
        kernel.restore(old)
    with kernel.pages.source(path):
        assert kernel.pages.get(7).read(0, 3) == b"new"
