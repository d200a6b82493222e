"""What the exercises run on: small machines, and one kernel whose numbers a person can follow.

The kernel is `eros2` with a small window, no object types, and a heap that grows and keeps idle one page at a time. So
each frame that it takes has one reason. It runs in mode soft: any number of them at once, and its TLBs count.
"""

from collections.abc import Iterator
from contextlib import suppress

from kernmalloc.facade.errors import OutOfMemory, checked
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.facade.story import NAMES
from kernmalloc.kernel.core.kern import DONATE, UP
from kernmalloc.machine.memory_map import Machine

PAGE = 4096  # bytes
KIB, MIB = 1 << 10, 1 << 20
IMAGE = MIB, 256 * KIB  # where the kernel's image lies, and its bytes


def kernel_toml(stride: int = 16, bank: str = "lenient = true") -> str:
    """The course's kernel: so many bytes for a core table entry, and what the space bank is told."""
    return f"""\
name = "course"
summary = "a kernel to follow by hand: eros2 whose heap grows by one page at a time"
arch = "i386-pae"
phys_bits = 36
strategy = "demand"

[va]
base = 0xD0000000
size = "64 MiB"
windows = "4 MiB"

[image]
base = {IMAGE[0]:#x}
size = {IMAGE[1]:#x}

[core]
stride = {stride}
identity = 16

[heap]
growth_frames = 1
idle_frames = 1

[devices]
last_words = 0
last_ranges = 0
last_maps = 0

[bank]
{bank}
"""


def machine_toml(*ranges: tuple[int, int]) -> str:
    """A machine with RAM at (first byte, bytes)."""
    lines = "".join(f'  {{ base = {base:#x}, size = {size:#x}, kind = "ram" }},\n' for base, size in ranges)
    return f'name = "a small machine"\narch = "i386"\nmemory = [\n{lines}]\n'


def parsed_pair(machine: str, profile: str) -> tuple[Machine, Profile]:
    """The machine and the kernel that an exercise is about: each is TOML, or the name of a shipped one."""
    return (
        Machine.from_toml(machine) if "\n" in machine else Machine.shipped(machine),
        Profile.parse(profile) if "\n" in profile else Profile.load(profile),
    )


def loaded(machine: str, profile: str) -> Kernel:
    """That kernel before the first step of its boot. Its caller closes it."""
    return Kernel.load(Machine.from_toml(machine), Profile.parse(profile), "soft")


def booted(machine: str, profile: str) -> Kernel:
    """That kernel, booted. Its caller closes it."""
    return Kernel.boot(Machine.from_toml(machine), Profile.parse(profile), "soft")


def steps(kernel: Kernel) -> Iterator[str]:
    """Boot a kernel that has been loaded: the name of each step, as soon as it is done. Raises KernelError for one that
    is refused."""
    stage = DONATE
    while stage != UP:
        name = NAMES[int(kernel.view.kern["stage"])]
        stage = checked(kernel.call("boot_step"), name)
        yield name


def take_all(kernel: Kernel) -> list[int]:
    """Take all frames that are free, for DMA: their pfns."""
    taken = []
    with suppress(OutOfMemory):
        while True:
            taken.append(kernel.frame_get("dma"))
    return taken
