"""Settings of guests: the hole that a hypervisor leaves for devices, and the memory that a guest boots with."""

from typing import NamedTuple

from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import Profile
from kernmalloc.fleet import hole, hotadd
from kernmalloc.fleet.hole_check import violations
from kernmalloc.fleet.hole_options import options, room_behind_bridges
from kernmalloc.fleet.hotadd import Policy, growth, with_boot_memory
from kernmalloc.fleet.need import Need
from kernmalloc.fleet.rows import Judged
from kernmalloc.inputs.sizes import size
from kernmalloc.machine.memory_map import Machine

PLACED = "placed"


class Hole:
    """The aperture above RAM: the guest has a machine's RAM and devices."""

    of_kernels = False

    def kernel(self, profile: Profile) -> Profile:
        return profile

    def option(self, profile: Profile) -> str:
        return "aperture"

    def unit(self, profile: Profile) -> str:
        return "bytes"

    def need(self, machine: Machine, profile: Profile) -> Need:
        return hole.need(machine)

    def judge(self, machine: Machine, profile: Profile, value: int) -> Judged:
        """Everything is placed anew, and the places are checked without the placer. It costs addresses, no memory."""
        found = hole.proof(machine, value)
        if isinstance(found, hole.Refusal):
            return Judged(False, found.reason)
        wrong = violations(machine, found, hole.BITS)
        devices = tuple((each.base, each.size, each.name, PLACED, 0, 0, "") for each in found.placed if not each.window)
        return Judged(
            not wrong, "; ".join(wrong), 0, devices=devices, most=(found.aperture.end, *room_behind_bridges([found]))
        )

    def lines(self, value: int, option: str, boot: str, most: tuple[int, ...]) -> list[str]:
        told = options(value, *most)
        other = f"{told.model} (a processor other than the host's)"
        return [told.qemu, told.ovmf, told.host, other, told.cloud_hypervisor, told.linux]


class HotAdd(NamedTuple):
    """The memory that guests boot with, so that they can grow to `target` bytes by hot-added RAM."""

    target: int
    policy: Policy
    of_kernels: bool = True

    def kernel(self, profile: Profile) -> Profile:
        return profile

    def option(self, profile: Profile) -> str:
        return "boot-memory"

    def unit(self, profile: Profile) -> str:
        return "bytes"

    def need(self, machine: Machine, profile: Profile) -> Need:
        limit = 1 << profile.phys_bits
        if self.target > limit:
            return Need(
                None, None, f"{size(self.target)} of RAM reach above the kernel's address limit of {size(limit)}"
            )
        return hotadd.need(machine, profile, self.target, self.policy)

    def judge(self, machine: Machine, profile: Profile, value: int) -> Judged:
        """The guest grows step by step; it costs what all its page structures take."""
        try:
            found = growth(with_boot_memory(machine, value), profile, self.target, self.policy)
        except TooSmall as error:
            return Judged(False, str(error))
        return Judged(not found.reason, found.reason, sum(step.taken for step in found.steps))

    def lines(self, value: int, option: str, boot: str, most: tuple[int, ...]) -> list[str]:
        return [f"-m {value >> 20}M,slots=256,maxmem={self.target >> 20}M"]
