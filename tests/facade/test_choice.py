"""Which kernel a machine gets where nobody says one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc import Machine, Profile
from kernmalloc.facade.choice import usual_kernel, usual_of
from kernmalloc.inputs.facts import Device, Range
from kernmalloc.machine.memory_map import SHIPPED

MACHINES = Path(__file__).parents[1] / "data" / "machines"
GIB = 1 << 30
LIMIT = 64 * GIB  # what 36 bits reach


def pc(arch: str, end: int, window: tuple[int, int] | None = None) -> Machine:
    """A machine with RAM up to `end`, and a device window."""
    ram = (Range(base=0, size=end, kind="ram", name="", line=0),)
    devices = () if window is None else (Device(base=window[0], size=window[1], name="card", line=0),)
    return Machine(name="", file="", arch=arch, ram=ram, devices=devices)


@given(
    st.sampled_from(["i386", "x86_64"]),
    st.integers(1, 128),
    st.none() | st.tuples(st.integers(4, 300), st.integers(1, 64)),
)
def test_a_pc_has_36_bits_as_long_as_they_reach(arch: str, gib: int, window: tuple[int, int] | None) -> None:
    """E3: of either width, by RAM and devices."""
    placed = (window[0] * GIB, window[1] * GIB) if window and window[0] >= gib else None
    end = max(gib * GIB, sum(placed) if placed else 0)
    choice = usual_kernel(pc(arch, gib * GIB, placed))
    assert choice == (Profile.load("eros2" if end <= LIMIT else "x86_64"), "")


def test_ram_that_is_added_later_counts() -> None:
    more = [Range(base=LIMIT, size=GIB, kind="ram", name="", line=0)]
    assert usual_kernel(pc("x86_64", GIB), more).profile.name == "x86_64"


@pytest.mark.parametrize("arch", ["?", "mips", "ppc", "parisc", "xtensa"])
def test_an_architecture_without_a_kernel_is_said(arch: str) -> None:
    choice = usual_kernel(pc(arch, GIB))
    assert choice.profile.name == "eros2"
    assert (arch in choice.note) == (arch != "?") and "eros2 stands in" in choice.note and "\n" not in choice.note
    assert usual_kernel(pc(arch, 2 * LIMIT)).profile.name == "x86_64"


def test_each_architecture_has_one_kernel_of_each_reach() -> None:
    """Which is taken never depends on the order of files; guests are nobody's usual kernel."""
    named = {arch for name in Profile.shipped() for arch in Profile.load(name).machines}
    assert named == {"i386", "x86_64", "m68k", "arm", "arm64", "riscv64"}
    for arch in named:
        reaches = [profile.phys_bits for profile in usual_of(arch)]
        assert len(set(reaches)) == len(reaches)
        assert not any(profile.direct for profile in usual_of(arch))


def test_the_machines_here_get_the_kernels_of_their_architectures() -> None:
    usual = {"desktop-16g": "eros2", "workstation-64g": "x86_64", "xeon-32g": "eros2"}
    assert {name: usual_kernel(Machine.shipped(name)).profile.name for name in usual} == usual
    for path in (*MACHINES.glob("*.toml"), *SHIPPED.glob("*.toml")):
        machine = Machine.read(path)
        choice = usual_kernel(machine)
        assert machine.arch in choice.profile.machines or choice.note, path


def test_a_board_gets_the_kernel_of_its_architecture() -> None:
    boards = {"m68k": "coyotos-coldfire", "arm": "armv7", "arm64": "aarch64", "riscv64": "riscv64"}
    assert {arch: usual_kernel(pc(arch, 64 << 20)).profile.name for arch in boards} == boards
