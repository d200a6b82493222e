"""Objects are found, built once, and loaded anywhere in the address space."""

import ctypes
import os
import subprocess
import sys

import pytest

from kernmalloc.lang import objects as built


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and nothing shipped."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(built, "SHIPPED", tmp_path / "shipped")
    return built.cache_folder()


def fill(folder, objects):
    folder.mkdir(parents=True)
    for life, data in objects.items():
        (folder / f"{life}.o").write_bytes(data)


def compiler(tmp_path, monkeypatch, script):
    """Replace the process that builds by a shell script; $3 is the folder to fill."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_functions_by_name(raw):
    assert raw.entries["push"] == 2 and raw.entries["record_address"] == 0
    assert raw.function("record_address") is raw.function("record_address")
    with pytest.raises(KeyError):
        raw.function("nothing")
    with pytest.raises(KeyError):
        raw.address("node_at")
    assert raw.function("a_add")(2**62, 2**62) == -(2**63), "int64 all through"


def test_cache_is_used(cache, objects):
    assert not built.is_built()
    fill(cache, objects)
    assert built.is_built()
    assert built.load("raw").function("a_mul")(6, 7) == 42
    assert "translate" in built.load("soft").entries


def test_shipped_objects_come_first_if_they_are_of_these_sources(cache, objects):
    fill(built.SHIPPED, objects)
    (built.SHIPPED / "digest").write_text("of older sources")
    assert not built.is_built()
    (built.SHIPPED / "digest").write_text(built.digest())
    assert built.is_built() and not cache.exists()
    assert built.load("raw").entries


def test_builds_once_and_reports_progress(cache, objects, tmp_path, monkeypatch):
    fill(tmp_path / "made", objects)
    compiler(
        tmp_path,
        monkeypatch,
        f'echo x >> {tmp_path}/runs; printf "0.5\\thalf\\n1\\tall\\n"; cp {tmp_path}/made/*.o "$3"',
    )
    seen = []
    for _ in range(2):
        assert built.load("soft", lambda stage, fraction: seen.append((stage, fraction))).entries
    assert seen == [("half", 0.5), ("all", 1.0)]
    assert (tmp_path / "runs").read_text() == "x\n"
    assert sorted(path.name for path in cache.iterdir()) == ["raw.o", "soft.o"]
    assert list(cache.parent.iterdir()) == [cache], "no scratch folder is left"


def test_failed_build_says_why_and_leaves_nothing(cache, tmp_path, monkeypatch):
    compiler(tmp_path, monkeypatch, 'echo "heap.py:7: no assert" >&2; touch "$3/raw.o"; exit 1')
    with pytest.raises(built.BuildError, match="^heap.py:7: no assert$"):
        built.load("raw")
    assert not cache.exists() and not built.is_built()


def test_only_the_newest_builds_are_kept(cache, objects, tmp_path, monkeypatch):
    for age in range(6):
        folder = cache.parent / f"old{age}"
        fill(folder, objects)
        os.utime(folder, (1000 - age, 1000 - age))
    fill(tmp_path / "made", objects)
    compiler(tmp_path, monkeypatch, f'cp {tmp_path}/made/*.o "$3"')
    built.load("raw")
    assert sorted(path.name for path in cache.parent.iterdir()) == sorted([cache.name, "old0", "old1", "old2"])


def test_digest_follows_the_sources(tmp_path, monkeypatch):
    for folder in ("lang", "machine", "kernel"):
        (tmp_path / folder).mkdir()
    source = tmp_path / "kernel" / "heap.py"
    digests = set()
    monkeypatch.setattr(built, "PACKAGE", tmp_path)
    for text in ("a = 1\n", "a = 2\n", "a = 1\n"):
        source.write_text(text)
        built.digest.cache_clear()
        digests.add(built.digest())
    (tmp_path / "cli.py").write_text("not part of an object\n")
    built.digest.cache_clear()
    digests.add(built.digest())
    built.digest.cache_clear()
    assert len(digests) == 2


FAR = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
import llvmlite.binding
from kernmalloc.lang.objects import Library
near = ctypes.cast(libc.memset, ctypes.c_void_p).value
for shift in range(40, 11, -1):  # fill every hole of the address space within 4 TiB of libc
    while True:
        at = libc.mmap(None, 1 << shift, 0, 0x4022, -1, 0)  # no access, private, anonymous, no reserve
        if abs(at - near) > 1 << 42:
            libc.munmap(at, 1 << shift)
            break
library = Library(open(sys.argv[1], "rb").read())
library.machine = 5
target = ctypes.create_string_buffer(8)
filled = library.function("fill")(ctypes.addressof(target), 0x41, 7)
print(abs(library.address("fill") - near) >> 31, filled, target.value.decode(), library.function("record_address")())
"""


def test_objects_work_far_from_libc(objects, tmp_path):
    """Calls of libc reach over any distance: big sparse mappings push the code away from it."""
    path = tmp_path / "raw.o"
    path.write_bytes(objects["raw"])
    result = subprocess.run([sys.executable, "-c", FAR, str(path)], capture_output=True, text=True, check=True)
    distance, *rest = result.stdout.split()
    assert int(distance) > 0, "it did land more than 2 GiB away"
    assert rest == ["7", "AAAAAAA", "5"]


def test_loading_does_not_import_the_compiler(objects, tmp_path):
    path = tmp_path / "raw.o"
    path.write_bytes(objects["raw"])
    code = (
        "import sys; from kernmalloc.lang.objects import Library\n"
        "add = Library(open(sys.argv[1], 'rb').read()).function('a_add'); print(add(1, 2), 'numba' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["3", "False"]


def test_functions_outlive_their_library_object(objects):
    add = built.Library(objects["raw"]).function("a_add")
    assert add(20, 22) == 42


def test_the_object_of_another_life_is_a_copy_with_a_word_of_its_own(objects):
    library = built.Library(objects["soft"])
    word = ctypes.c_int64(7)
    library.machine = ctypes.addressof(word)
    assert ctypes.c_int64.from_address(library.machine).value == 7
