"""The cache folder: what is in it is whole and the user's own; where it cannot be, a temporary one serves."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from typing import TYPE_CHECKING

import pytest

from kernmalloc.lang import cache

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache goes; there is nothing yet, and no temporary folder either."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "_temporary", [])
    return tmp_path / "kernmalloc"


def never() -> bytes:
    raise AssertionError("it has been made before")


def serves_for_this_run(why: str) -> None:
    """Nothing is lost while this process lives, a warning tells the folder and why, and how to name another."""
    with pytest.warns(UserWarning, match=why) as said:
        assert cache.kept("a.o", lambda: b"made") == b"made"
    assert "XDG_CACHE_HOME" in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.kept("a.o", never) == cache.found("a.o") == b"made"


def test_what_is_made_once_is_kept(root: Path) -> None:
    assert cache.found("a.o") is None and not root.exists()
    assert cache.kept("a.o", lambda: b"made") == b"made"
    assert cache.kept("a.o", never) == cache.found("a.o") == b"made"
    check = subprocess.run(["sha256sum", "--check", "a.o.sha256"], cwd=cache.folder(), capture_output=True, text=True)
    assert check.stdout == "a.o: OK\n"


def test_of_two_who_want_it_one_makes_it_and_the_other_says_that_it_waits(root: Path) -> None:
    begun, waits, made = threading.Event(), threading.Event(), []

    def make() -> bytes:
        begun.set()
        made.append(1)
        assert waits.wait(60)
        return b"made"

    first = threading.Thread(target=cache.kept, args=("a.o", make))
    first.start()
    assert begun.wait(60)
    assert cache.kept("a.o", never, waits.set) == b"made"
    first.join()
    assert made == [1]


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
def test_folders_are_private_under_any_umask(root: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        cache.kept("a.o", lambda: b"made")
    finally:
        os.umask(before)
    assert cache.kept("a.o", never) == b"made"
    assert {place.stat().st_mode & 0o777 for place in (root, cache.folder())} == {0o700}


def test_a_file_without_a_checksum_is_not_used(root: Path) -> None:
    (cache.folder() / "a.o").write_bytes(b"from elsewhere")
    with pytest.warns(UserWarning, match="a.o is damaged"):
        assert cache.kept("a.o", lambda: b"made") == b"made"


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
@pytest.mark.parametrize("which", ["of all versions", "of this one"])
def test_a_folder_that_others_may_write_to_is_not_used(root: Path, mode: int, which: str) -> None:
    cache.kept("a.o", lambda: b"planted")
    place = root if which == "of all versions" else cache.folder()
    place.chmod(mode)
    assert cache.found("a.o") is None
    serves_for_this_run(f"chmod go-w {place}")
    assert (root / cache.digest() / "a.o").read_bytes() == b"planted", "it is left alone"


def test_a_folder_of_another_user_is_not_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.kept("a.o", lambda: b"planted")
    monkeypatch.setattr(os, "geteuid", lambda: root.stat().st_uid + 1)
    assert cache.found("a.o") is None
    with pytest.warns(UserWarning, match="another user"):
        place = cache.folder()
    assert root not in place.parents


def test_a_file_in_the_place_of_the_folder(root: Path) -> None:
    root.write_text("")
    serves_for_this_run("File exists")


def test_a_home_that_is_nowhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/dev/null/nowhere")
    serves_for_this_run("/dev/null/nowhere/.cache/kernmalloc is not used")


def test_a_read_only_cache_serves_what_it_has(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.kept("b.o", lambda: b"before")

    def read_only(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    assert cache.kept("b.o", never) == b"before"
    serves_for_this_run("Read-only file system")


def test_a_full_disk_is_found_before_anything_is_made(root: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", root.parent], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    try:
        serves_for_this_run("No space left on device")
    finally:
        subprocess.run(["umount", root.parent], check=True)


def test_the_temporary_folder_goes_with_its_process(root: Path) -> None:
    root.write_text("")
    code = "from kernmalloc.lang import cache; cache.kept('a.o', lambda: b''); print(cache.folder().parent)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("/") and not os.path.exists(done.stdout.strip())
    assert done.stderr.count("XDG_CACHE_HOME") == 1, "it is said once"


MAKE = """
import sys, time
from kernmalloc.lang import cache
def make():
    open(sys.argv[1], "a").write("x")
    time.sleep(0.3)
    return b"made"
assert cache.kept("a.o", make) == b"made"
"""


def test_of_two_processes_that_want_it_at_once_one_makes_it(root: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    both = [subprocess.Popen([sys.executable, "-c", MAKE, str(runs)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert runs.read_text() == "x"


def test_who_reads_while_a_file_is_written_finds_the_whole_file_or_none(root: Path) -> None:
    path, done = cache.folder() / "a.o", threading.Event()
    seen: set[bytes | None] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(cache.whole(path))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(100):
            cache.put(path, b"same" * 100_000)
        done.set()
        reader.join()
    assert seen <= {None, b"same" * 100_000}


def test_a_build_that_fails_leaves_nothing(root: Path) -> None:
    with pytest.raises(AssertionError):
        cache.kept("a.o", never)
    assert cache.found("a.o") is None
    assert cache.kept("a.o", lambda: b"made") == b"made"


def test_only_the_newest_versions_are_kept(root: Path) -> None:
    root.mkdir(mode=0o700)
    for age in range(6):
        old = root / f"old{age}"
        old.mkdir()
        cache.put(old / "a.o", b"")
        os.utime(old, (1000 - age, 1000 - age))
    (root / "bench").mkdir()
    cache.kept("a.o", lambda: b"made")
    assert sorted(path.name for path in root.iterdir()) == sorted([cache.digest(), "bench", "old0", "old1", "old2"])


def test_digest_follows_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("lang", "machine", "kernel"):
        (tmp_path / folder).mkdir()
    source = tmp_path / "kernel" / "heap.py"
    digests = set()
    monkeypatch.setattr(cache, "PACKAGE", tmp_path)
    for text in ("a = 1\n", "a = 2\n", "a = 1\n"):
        source.write_text(text)
        cache.digest.cache_clear()
        digests.add(cache.digest())
    (tmp_path / "cli.py").write_text("not part of an object\n")
    cache.digest.cache_clear()
    digests.add(cache.digest())
    cache.digest.cache_clear()
    assert len(digests) == 2
