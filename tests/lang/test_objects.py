"""Objects are found, built once, and loaded anywhere in the address space."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from kernmalloc.lang import cache
from kernmalloc.lang import objects as built

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kernmalloc.lang.objects import Library


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of this version's in the cache, nothing shipped, and no temporary folder yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(built, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(cache, "_temporary", [])
    return cache.folder()


@pytest.fixture
def compiler(objects: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for the processes that build. Its file lists what was run; a script may be put before."""
    made, runs, path = tmp_path / "made", tmp_path / "runs", tmp_path / "python"
    fill(made, {**objects, "wasm": b"\0asm"})

    def use(script: str = "") -> None:
        path.write_text(
            f"""#!/bin/sh
            echo ${{2##*.}} $([ $# = 4 ] && echo $3) >> {runs}
            {script}
            case $2 in
            *.pipeline) printf '0.5\\thalf\\n'; echo groups > "$3/groups.json" ;;
            *.backend) grep -q groups "$4/groups.json" && cp {made}/$3.o "$4" ;;
            esac
            """
        )

    use()
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    return SimpleNamespace(use=use, runs=lambda: runs.read_text().splitlines() if runs.exists() else [])


def fill(folder: Path, objects: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for life, data in objects.items():
        cache.put(folder / f"{life}.o", data)


def test_functions_by_name(raw: Library) -> None:
    assert raw.entries["push"] == ("km_call_push", 2) and raw.entries["record_address"].arity == 0
    assert raw.function("record_address") is raw.function("record_address")
    with pytest.raises(KeyError):
        raw.function("nothing")
    with pytest.raises(KeyError):
        raw.address("listed")
    assert raw.function("a_add")(2**62, 2**62) == -(2**63), "int64 all through"


def test_cache_is_used(place: Path, objects: dict[str, bytes]) -> None:
    assert not built.is_built("soft")
    fill(place, objects)
    assert built.is_built("soft")
    assert built.load("raw").function("a_mul")(6, 7) == 42
    assert "port_translate" in built.load("soft").entries


def test_shipped_objects_come_first_if_they_are_of_these_sources(place: Path, objects: dict[str, bytes]) -> None:
    fill(built.SHIPPED, objects)
    (built.SHIPPED / "digest").write_text("of older sources")
    assert not built.is_built("raw")
    (built.SHIPPED / "digest").write_text(cache.digest())
    assert built.is_built("raw") and not list(place.iterdir())
    assert built.load("raw").entries


def test_a_damaged_shipped_object_is_not_used(
    place: Path, objects: dict[str, bytes], compiler: SimpleNamespace
) -> None:
    fill(built.SHIPPED, objects)
    (built.SHIPPED / "digest").write_text(cache.digest())
    (built.SHIPPED / "raw.o").write_bytes(b"")
    with pytest.warns(UserWarning, match="shipped/raw.o is damaged"):
        assert built.load("raw").entries
    assert compiler.runs() == ["pipeline", "backend raw"]
    assert built.load("soft").entries and len(compiler.runs()) == 2


def test_a_life_is_built_when_it_is_asked_for(place: Path, compiler: SimpleNamespace) -> None:
    seen: list[tuple[str, float]] = []
    for _ in range(2):
        assert built.load("raw", lambda stage, fraction: seen.append((stage, fraction))).entries
    assert seen == [("half", 0.5), ("optimising for raw", 0.7), ("made raw", 1.0)]
    assert built.is_built("raw") and not built.is_built("soft")
    assert compiler.runs() == ["pipeline", "backend raw"]
    assert built.load("soft").entries
    assert compiler.runs() == ["pipeline", "backend raw", "backend soft"], "the front end runs once"


def test_failed_build_says_why_and_leaves_nothing(place: Path, compiler: SimpleNamespace) -> None:
    compiler.use('echo "heap.py:7: no assert" >&2; exit 1')
    with pytest.raises(built.BuildError, match=r"^heap\.py:7: no assert$"):
        built.load("raw")
    assert not built.is_built("raw")
    assert not [path for path in place.iterdir() if path.suffix != ".lock"]


def flip(data: bytes) -> bytes:
    return data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-1], flip], ids=["empty", "cut", "flipped"])
def test_a_damaged_object_is_built_again(
    place: Path, compiler: SimpleNamespace, damage: Callable[[bytes], bytes]
) -> None:
    built.load("raw")
    path = place / "raw.o"
    sound = path.read_bytes()
    path.write_bytes(damage(sound))
    with pytest.warns(UserWarning, match=f"^{path} is damaged and is not used$"):
        assert not built.is_built("raw")
    with pytest.warns(UserWarning, match="damaged"):
        assert built.load("raw").entries
    assert path.read_bytes() == sound
    assert compiler.runs() == ["pipeline", "backend raw", "backend raw"]


def test_objects_are_put_where_the_package_ships_them(place: Path, compiler: SimpleNamespace) -> None:
    built.main(built.SHIPPED)
    assert (built.SHIPPED / "digest").read_text() == cache.digest()
    shutil.rmtree(place)
    assert built.load("raw").entries and built.load("soft").entries and built.built("wasm") == b"\0asm"
    assert compiler.runs() == ["pipeline", "backend raw", "backend soft", "backend wasm"]


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
filled = library.function("port_fill")(ctypes.addressof(target), 0x41, 7)
record = library.function("record_address")()
print(abs(library.address("port_fill") - near) >> 31, filled, target.value.decode(), record)
"""


def test_objects_work_far_from_libc(objects: dict[str, bytes], tmp_path: Path) -> None:
    """Calls of libc reach over any distance: big sparse mappings push the code away from it."""
    path = tmp_path / "raw.o"
    path.write_bytes(objects["raw"])
    result = subprocess.run([sys.executable, "-c", FAR, str(path)], capture_output=True, text=True, check=True)
    distance, *rest = result.stdout.split()
    assert int(distance) > 0, "it did land more than 2 GiB away"
    assert rest == ["7", "AAAAAAA", "5"]


def test_loading_does_not_import_the_compiler(objects: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "raw.o"
    path.write_bytes(objects["raw"])
    code = (
        "import sys; from kernmalloc.lang.objects import Library\n"
        "add = Library(open(sys.argv[1], 'rb').read()).function('a_add'); "
        "print(add(1, 2), 'kernmalloc.lang.frontend' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["3", "False"]


def test_functions_outlive_their_library_object(objects: dict[str, bytes]) -> None:
    add = built.Library(objects["raw"]).function("a_add")
    assert add(20, 22) == 42


def test_the_object_of_another_life_is_a_copy_with_a_word_of_its_own(objects: dict[str, bytes]) -> None:
    library = built.Library(objects["soft"])
    word = ctypes.c_int64(7)
    library.machine = ctypes.addressof(word)
    assert ctypes.c_int64.from_address(library.machine).value == 7
