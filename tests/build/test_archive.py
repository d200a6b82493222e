"""The static libraries: what ar's format asks for, and that linkers take them as they are."""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from arch_sample import object_of
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.build import archive, elf
from kernmalloc.machine.arch import ARCHES, TARGETS

NAMES = [name for architecture in TARGETS for name in archive.names(architecture)]

PROGRAM = """
typedef long long number;
number km_call_malloc(void *cpu, number bytes);
number km_call_free(void *cpu, number va);
number km_port_interrupts_save(void) { return 7; }
number km_port_interrupts_restore(number flags) { return flags; }
int main(int count, char **words)
{
    return count < 9 ? 0 : (int)km_call_free(words, km_call_malloc(words, 100));
}
"""
BARE = ("-ffreestanding", "-nostdlib", "-static", "-Wl,-emain", "-z", "noexecstack")
LINKS = {
    "gcc": ("x86_64", "gcc"),
    "clang": ("x86_64", "clang"),
    "gcc and lld": ("x86_64", "gcc", "-fuse-ld=lld"),
    "clang and lld": ("x86_64", "clang", "-fuse-ld=lld"),
    "gcc, fixed": ("x86_64", "gcc", "-no-pie"),
    "gcc, shared": ("x86_64", "gcc", "-shared", "-fPIC"),
    "i686": ("i386", "i686-linux-gnu-gcc", *BARE),
    "arm": ("armv7", "arm-none-eabi-gcc", "-mcpu=cortex-a7", *BARE),
    "arm, hard": ("armv7", "arm-none-eabi-gcc", "-mcpu=cortex-a7", "-mfpu=neon-vfpv4", "-mfloat-abi=hard", *BARE),
    "aarch64": ("aarch64", "aarch64-linux-gnu-gcc", *BARE),
    "riscv64": ("riscv64", "riscv64-linux-gnu-gcc", "-march=rv64ima", "-mabi=lp64", *BARE),
    "riscv64, lp64d": ("riscv64-lp64d", "riscv64-linux-gnu-gcc", *BARE),
    "i386 by lld": ("i386", "clang", "--target=i386-none-elf", "-fuse-ld=lld", *BARE),
    "arm by lld": ("armv7", "clang", "--target=armv7-none-eabi", "-fuse-ld=lld", *BARE),
    "aarch64 by lld": ("aarch64", "clang", "--target=aarch64-none-elf", "-fuse-ld=lld", *BARE),
    "riscv64 by lld": ("riscv64", "clang", "--target=riscv64-none-elf", "-march=rv64ima", "-fuse-ld=lld", *BARE),
}


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every library, and the program."""
    folder = tmp_path_factory.mktemp("libraries")
    for architecture in TARGETS:
        for name, data in archive.libraries(architecture).items():
            (folder / name).write_bytes(data)
    (folder / "program.c").write_text(PROGRAM)
    return folder


def members(data: bytes) -> dict[str, bytes]:
    """What is in a library: each member's body, by its place in the file and its name, as ar(5) says."""
    assert data[:8] == b"!<arch>\n"
    found, long, at = {}, b"", 8
    while at < len(data):
        header = data[at : at + 60]
        assert at % 2 == 0 and header[58:] == b"`\n" and header[16:48].split() == [b"0", b"0", b"0", b"644"]
        size, name = int(header[48:58]), header[:16].rstrip()
        body = data[at + 60 : at + 60 + size]
        if name == b"//":
            long = body
        elif name != b"/":
            start = int(name[1:])
            found[f"{at} {long[start : long.index(b'/', start)].decode()}"] = body
        else:
            found["index"] = body
        at += 60 + size + size % 2
    return found


@given(st.lists(st.sampled_from(sorted(TARGETS)), unique=True, min_size=1))
def test_the_index_leads_to_what_defines_a_symbol(architectures: list[str]) -> None:
    """Any number of members, of even and odd lengths: each is there as it was, and so is each of its symbols."""
    given_objects = {
        f"{'a long name of ' * index}{name}.o": object_of(name) + b"\0" * index
        for index, name in enumerate(architectures)
    }
    found = members(archive.archive(given_objects))
    index = found.pop("index")
    assert [name.split(" ", 1)[1] for name in found] == list(given_objects)
    assert list(found.values()) == list(given_objects.values())
    (count,) = struct.unpack_from(">I", index)
    places = struct.unpack_from(f">{count}I", index, 4)
    names = index[4 + 4 * count :].decode().split("\0")[:-1]
    assert len(names) == count
    listed = [(f"{place}", name) for place, name in zip(places, names, strict=True)]
    assert listed == [
        (at.split(" ", 1)[0], each.name) for at, body in found.items() for each in elf.symbols(body) if each.offered
    ]


def test_there_is_one_for_each_convention() -> None:
    assert len(NAMES) == len(set(NAMES)) == len(TARGETS) + sum(len(ARCHES[name].conventions) for name in TARGETS)
    assert {"libkernmalloc-x86_64.a", "libkernmalloc-riscv64.a", "libkernmalloc-riscv64-lp64d.a"} <= set(NAMES)


@pytest.mark.parametrize("way", LINKS)
def test_linkers_take_it(way: str, libraries: Path, tmp_path: Path) -> None:
    """With the compiler's defaults and without a warning; what is not called stays out, and the port's own primitives
    are taken."""
    library, compiler, *flags = LINKS[way]
    for tool in (compiler, *(["ld.lld"] if "-fuse-ld=lld" in flags else [])):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    made = tmp_path / "program"
    words = ["-Wall", "-Wl,--fatal-warnings", "-Wl,--gc-sections", *flags, str(libraries / "program.c")]
    command = [compiler, *words, str(libraries / f"libkernmalloc-{library}.a"), "-o", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    symbols = {each.name: each for each in elf.symbols(made.read_bytes())}
    assert symbols["km_call_malloc"].size and symbols["km_port_flush"].size
    assert not {name for name in symbols if re.search(r"kernel\.check\.", name)} or "-shared" in flags
    if way == "gcc":
        assert subprocess.run([made], check=False).returncode == 0
        listed = subprocess.run(["objdump", "-d", "--disassemble=km_port_interrupts_save", made], capture_output=True)
        assert b"$0x7," in listed.stdout and b"cli" not in listed.stdout
