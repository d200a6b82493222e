"""The crate: rustc takes it without a warning, and what it says of records is what C says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kernmalloc.build import archive, export, modes, rust
from kernmalloc.build.texts import kernel_functions
from kernmalloc.lang import status
from kernmalloc.lang.c.names import Names
from kernmalloc.lang.c.records import closure
from kernmalloc.lang.functions import REGISTRY, signature
from kernmalloc.machine.arch import TARGETS

RUSTC = shutil.which("rustc") or "rustc"
needs_rustc = pytest.mark.skipif(not shutil.which("rustc"), reason="rustc is not installed (Debian's package rustc)")
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed (Debian's package gcc)")

PRINT = """
fn main() {
    kernmalloc::layouts(|record, size, field, offset| println!("{record} {size} {field} {offset}"));
}
"""


@pytest.fixture(scope="session")
def crate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the exported files and, if there is a rustc, the crate compiled."""
    folder = tmp_path_factory.mktemp("crate")
    for name, text in (export.crate_files() | export.c_files()).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    if shutil.which("rustc"):
        words = ["--edition=2021", "--crate-type=rlib", "--crate-name=kernmalloc", "-O", "-Dwarnings"]
        subprocess.run([RUSTC, *words, folder / "rust/lib.rs", "--out-dir", folder], check=True)
    return folder


def records():
    entries = [function for function in kernel_functions() if REGISTRY[function]]
    taken = (kind for entry in entries for kind in (*signature(entry).arguments, signature(entry).result))
    return closure(kind for kind in taken if kind)


@needs_rustc
@needs_gcc
def test_sizes_and_offsets_are_those_of_c(crate: Path, tmp_path: Path) -> None:
    """Of every record that the header tells, and of each of its fields."""
    names = Names([], records(), set())
    lines, expected = [], []
    for record in records():
        for field, item in record.fields.items():
            struct, member = f"struct km_{names.tags[record].removeprefix('km_')}", names.local(field)
            lines.append(f'printf("{record.name} %zu {rust.name(field)} %zu\\n", sizeof({struct}), ')
            lines.append(f"offsetof({struct}, {member}));")
            expected.append(f"{record.name} {record.size} {rust.name(field)} {item.offset}")
    source = tmp_path / "layout.c"
    source.write_text('#include <stdio.h>\n#include "kernmalloc.h"\nint main(void) {\n' + "\n".join(lines) + "}\n")
    subprocess.run(["gcc", f"-I{crate}", source, "-o", tmp_path / "c"], check=True)
    (tmp_path / "layout.rs").write_text(PRINT)
    words = [RUSTC, "--edition=2021", f"-L{crate}", "--extern", f"kernmalloc={crate}/libkernmalloc.rlib"]
    subprocess.run([*words, tmp_path / "layout.rs", "-o", tmp_path / "rs"], check=True)
    told = {
        way: subprocess.run([tmp_path / way], capture_output=True, text=True, check=True).stdout.splitlines()
        for way in ("c", "rs")
    }
    assert told["c"] == expected
    assert [line for line in told["rs"] if not re.search(r" pad\d+ \d+$", line)] == expected


def test_every_call_and_every_port_function(crate: Path) -> None:
    text = (crate / "rust/bindings.rs").read_text()
    entries = {function for function in kernel_functions() if REGISTRY[function]}
    assert entries and {f"km_call_{entry.__name__}" for entry in entries} == set(
        re.findall(r"fn (km_call_\w+)\(", text)
    )
    for entry in entries:
        assert f"pub unsafe fn {rust.name(entry.__name__)}(" in text
    for code, name in status.NAMES.items():
        assert code == 0 or f"pub const {name}: Status = Status({code});" in text
    header = (crate / "kernmalloc.h").read_text()
    assert set(re.findall(r"fn (km_port_\w+)\(", text)) == set(re.findall(r"\b(km_port_\w+)\(", header)) | {
        "km_port_processor"
    }


def test_the_build_script_knows_every_library() -> None:
    text = (rust.WRITTEN / "build.rs").read_text()
    named = set(re.findall(r'=> "([\w-]+)"', text))
    assert {f"libkernmalloc-{name}.a" for name in named} == {
        library for architecture in TARGETS for library in archive.names(architecture)
    }


@needs_rustc
def test_a_process_has_all_its_memory_from_it(crate: Path, tmp_path: Path) -> None:
    """What std allocates before `main`, collections that grow, all that there is; and nothing is wrong afterwards."""
    library = archive.names("x86_64")[0]
    (tmp_path / library).write_bytes(archive.libraries("x86_64", modes.LAYOUTS["guest"])[library])
    linked = ["-L", str(tmp_path), "-l", f"static={library.removeprefix('lib').removesuffix('.a')}"]
    words = ["--edition=2021", "-O", f"--out-dir={tmp_path}"]
    made = ["--crate-type=rlib", "--crate-name=kernmalloc", crate / "rust/lib.rs", *linked]
    subprocess.run([RUSTC, *words, *made], check=True)
    source = Path(__file__).parents[2] / "examples/kernels/rust/process.rs"
    rlib = f"kernmalloc={tmp_path}/libkernmalloc.rlib"
    subprocess.run([RUSTC, *words, "-L", tmp_path, "--extern", rlib, source], check=True)
    told = subprocess.run([tmp_path / "process"], capture_output=True, text=True, timeout=60, check=True).stdout
    *first, taken, check = told.splitlines()
    assert first == [
        "vec 9999800001, map number 919",
        'sorted Some((999, "number 999"))',
        "a box of 100 bytes has 112",
    ]
    assert 50 < int(taken.split()[0]) < 64 and taken.endswith("MiB until memory is exhausted")
    assert check == "check Ok(0)"
