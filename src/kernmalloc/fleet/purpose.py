"""What a fleet can be asked for: one setting each, a machine's need of it, and what a value of it comes to."""

from typing import Protocol

from kernmalloc.facade.profile import Profile
from kernmalloc.fleet.need import Need
from kernmalloc.fleet.rows import Judged
from kernmalloc.machine.memory_map import Machine


class Purpose(Protocol):
    """One setting. `of_kernels`: it is a kernel's, and there is an answer for each kernel; else it is one for all."""

    @property
    def of_kernels(self) -> bool: ...

    def kernel(self, profile: Profile) -> Profile:
        """The kernel as it is looked at for this purpose."""
        ...

    def option(self, profile: Profile) -> str:
        """The name of the setting."""
        ...

    def unit(self, profile: Profile) -> str:
        """What its values count: "bytes" or "frames"."""
        ...

    def need(self, machine: Machine, profile: Profile) -> Need:
        """The values that cover a machine, found by trying them."""
        ...

    def judge(self, machine: Machine, profile: Profile, value: int) -> Judged:
        """What one value comes to on a machine, tried anew."""
        ...

    def lines(self, value: int, option: str, boot: str, most: tuple[int, ...]) -> list[str]:
        """How the value is set: lines to type. `boot` is the command that boots the kernel, without it; `most` are the
        largest of the numbers `Judged.most` of covered machines."""
        ...
