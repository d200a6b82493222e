"""The kernel in Rust: Debian's rustc builds core and alloc for a bare machine, and it boots under QEMU."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = {
    "/usr/bin/rustc": "rustc",
    "/usr/lib/rustlib/src/rust/library": "rust-src",
    "x86_64-linux-gnu-gcc": "gcc",
    "qemu-system-x86_64": "qemu-system-x86",
    "make": "make",
}


@pytest.mark.nightly
def test_it_boots_and_has_vec_and_box(tmp_path: Path) -> None:
    """It takes memory until there is no more, gives all of it back, and the memory manager finds nothing wrong."""
    for tool, package in TOOLS.items():
        if not (Path(tool).exists() or shutil.which(tool)):
            pytest.skip(f"{tool} is not installed (Debian's package {package})")
    kernmalloc = f"{sys.executable} -c 'from kernmalloc.cli import main; main()'"
    words = ["RUSTC=/usr/bin/rustc", f"BUILD={tmp_path}", f"KERNMALLOC={kernmalloc}", "MEMORY=256M"]
    folder = ROOT / "examples/kernels/rust"
    subprocess.run(["make", "-s", "-C", folder, *words], check=True)
    command = ["timeout", "100", "make", "-s", "-C", folder, *words, "run"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    assert told[-4] == "box 7, vec 9999800001, map number 1"
    assert 200 < int(told[-3].split()[0]) < 256 and told[-3].endswith("MiB until memory is exhausted")
    assert told[-2:] == ["check Ok(0)", "status 0"]
