"""`kernmalloc export`: what it writes, and what it refuses in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

C = ["kernmalloc.c", "kernmalloc.h", "kernmalloc_entries.h"]


def export(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "export", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_kernel_is_written(tmp_path: Path) -> None:
    """An object, C and a README; ColdFire is C only, and says so; what is there twice is the same."""
    made = tmp_path / "made"
    done = export("-o", made, "--arch", "x86_64", "--arch", "coldfire")
    assert (done.returncode, done.stderr) == (0, "")
    assert names(made) == ["README.md", "coldfire.c", *C, "libkernmalloc-x86_64.a", "port.c"]
    assert done.stdout.endswith("\ncoldfire: C only, LLVM makes no objects for it\n")
    for name in names(made):
        assert f"{made / name}: {(made / name).stat().st_size:,} bytes\n" in done.stdout
    first = {name: (made / name).read_bytes() for name in names(made)}
    assert export("-o", made, "--arch", "coldfire").returncode == 0
    assert names(made) == ["README.md", "coldfire.c", *C, "port.c"], "an older export is renewed as a whole"
    for name in ("kernmalloc.c", "kernmalloc.h"):
        assert (made / name).read_bytes() == first[name]
    assert names(tmp_path) == ["made"]


def test_bad_folders(tmp_path: Path) -> None:
    """One line, exit status 2, and nothing has changed."""
    file = tmp_path / "file"
    file.write_text("mine")
    for folder, said in (
        (file, f"{file}: Not a directory\n"),
        (file / "in it", f"{file / 'in it'}: Not a directory\n"),
        (tmp_path / "no" / "such", f"{tmp_path / 'no' / 'such'}: No such file or directory\n"),
        (tmp_path, f"{tmp_path}: it holds something else, file (name a new folder)\n"),
    ):
        done = export("-o", folder, "--arch", "coldfire")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert names(tmp_path) == ["file"] and file.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = export("-o", tmp_path / "new", "--arch", "coldfire")
    assert (done.returncode, done.stderr) == (2, f"{tmp_path / 'new'}: Permission denied\n")


def test_an_architecture_that_is_none(tmp_path: Path) -> None:
    done = export("-o", tmp_path / "made", "--arch", "vax")
    assert done.returncode == 2 and not names(tmp_path)
    assert done.stderr.startswith("--arch vax: no such architecture (one of aarch64, armv7, armv7m, coldfire,")


def test_no_folder_is_named() -> None:
    done = export()
    assert done.returncode == 2 and "Missing option" in done.stderr and done.stderr.count("\n") == 1


def test_the_crate_comes_and_goes_with_its_option(tmp_path: Path) -> None:
    """What cargo built beside it is left alone."""
    made = tmp_path / "made"
    done = export("-o", made, "--arch", "coldfire", "--rust")
    assert (done.returncode, done.stderr) == (0, "")
    assert names(made) == ["README.md", "coldfire.c", *C, "port.c", "rust"]
    assert names(made / "rust") == ["Cargo.toml", "bindings.rs", "build.rs", "lib.rs"]
    assert f"{made / 'rust/lib.rs'}: {(made / 'rust/lib.rs').stat().st_size:,} bytes\n" in done.stdout
    (made / "rust" / "target").mkdir()
    assert export("-o", made, "--arch", "coldfire").returncode == 0
    assert names(made) == ["README.md", "coldfire.c", *C, "port.c", "rust"]
    assert names(made / "rust") == ["target"]


def test_an_arena_is_written(tmp_path: Path) -> None:
    """C of a small heap; and what cannot be is refused in one line."""
    made = tmp_path / "made"
    done = export("-o", made, "--mode", "arena", "--arch", "armv7m", "--classes", 24, "--types", 3, "--page", 512)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(made) == ["README.md", "kernmalloc.c", "kernmalloc.h"]
    text = (made / "README.md").read_text()
    assert "There are 24 size classes, up to 512 bytes" in text and "km_arena_add" not in text
    for words, said in (
        (("--mode", "ring"), "--mode ring: no such mode (one of owner, guest, frames, arena)\n"),
        (("--kernel", "eros2"), "--kernel eros2: an arena has no configuration\n"),
        (("--classes", 20), "--classes 20: an arena has 16, 24, 32 to 72 size classes (say one of these)\n"),
        (("--types", 250), "--types 250: types and classes are 255 at most (say fewer)\n"),
        (("--page", 700), "--page 700: a page is a power of two, 256 bytes to 64 KiB (say one of these)\n"),
        (
            ("--classes", 72, "--page", 256),
            "--page 256: slots of 32768 bytes lie in at most 32 pages (--page 1024, or fewer --classes)\n",
        ),
        (("--arch", "x86_64"), "--arch: an arena has references of one width: not armv7m and x86_64 "),
    ):
        done = export("-o", tmp_path / "other", "--mode", "arena", "--arch", "armv7m", *words)
        assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith(said)
    assert names(tmp_path) == ["made"]


def test_the_configuration_of_a_profile(tmp_path: Path) -> None:
    """It comes with --kernel, and goes without."""
    made = tmp_path / "made"
    assert export("-o", made, "--arch", "coldfire", "--kernel", "coyotos-coldfire").returncode == 0
    assert "km_profile_config" in (made / "config.h").read_text()
    assert export("-o", made, "--arch", "coldfire").returncode == 0 and "config.h" not in names(made)
    done = export("-o", made, "--arch", "coldfire", "--kernel", "nobody")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_a_guests_export_has_no_page_cache(tmp_path: Path) -> None:
    """Neither in C nor in the library nor in its header."""
    done = export("-o", tmp_path / "made", "--arch", "x86_64", "--mode", "guest")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("kernmalloc.c", "kernmalloc.h", "libkernmalloc-x86_64.a"):
        data = (tmp_path / "made" / name).read_bytes()
        assert b"km_call_frame_get" in data and b"km_call_page_get" not in data, name
