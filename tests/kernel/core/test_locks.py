"""The kernel lock: one processor inside, interrupts off while it is, and nothing changed by a leave that cannot be."""

from typing import TYPE_CHECKING

import pytest
from flat_memory import FlatMemory

from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.kernel.core.locks import LOCK, enter, leave
from kernmalloc.lang import memory, twin
from kernmalloc.lang.status import BROKEN, OK

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = 0x202  # what this processor's flags are while its interrupts are on


class Machine(FlatMemory):
    """Memory, the interrupts of the processor that runs, and what the others do while it waits."""

    def __init__(self) -> None:
        super().__init__(1 << 18)
        self.flags = OWN
        self.meanwhile: Callable[[], object] = lambda: pytest.fail("nobody is inside, and it waits")

    def km_port_interrupts_save(self) -> int:
        flags, self.flags = self.flags, 0
        return flags

    def km_port_interrupts_restore(self, flags: int) -> int:
        self.flags = flags
        return 0

    def pause(self) -> int:
        self.meanwhile()
        return 0


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    twin.use(machine)
    return machine


def processors(machine: Machine, count: int = 2) -> list[Cpu]:
    kern, cpus = Kern(machine.new(Kern.size)), []
    for number in range(count):
        cpus.append(Cpu(machine.new(Cpu.size)))
        cpus[-1].kern, cpus[-1].id = kern, number
    return cpus


def holder(cpu: Cpu) -> int:
    """The number, plus 1, of the processor that is inside."""
    return int(memory.load(cpu.kern.addr + LOCK, 4))


@pytest.mark.parametrize("number", [0, 1])
def test_a_processor_enters_as_often_as_it_leaves(machine: Machine, number: int) -> None:
    """Interrupts are off from the first enter to the last leave, and then as they were."""
    cpu = processors(machine)[number]
    for depth in (1, 2, 3):
        assert enter(cpu) == cpu.depth == depth
        assert holder(cpu) == number + 1 and machine.flags == 0 and cpu.flags == OWN
    for depth in (2, 1, 0):
        assert leave(cpu) == OK and cpu.depth == depth
        assert (holder(cpu), machine.flags, cpu.flags) == ((number + 1, 0, OWN) if depth else (0, OWN, 0))


def test_who_is_not_inside_cannot_leave(machine: Machine) -> None:
    one, two = processors(machine)
    for entered in (False, True):
        if entered:
            enter(one)
        before = bytes(machine.bytes), machine.flags
        assert leave(two) == BROKEN
        assert entered or leave(one) == BROKEN
        assert (bytes(machine.bytes), machine.flags) == before


def test_who_waits_has_its_interrupts_on(machine: Machine) -> None:
    """While another processor is inside, the one that waits can be interrupted; it enters when the lock is free."""
    one, two = processors(machine)
    enter(one)
    machine.flags, waited = OWN, 0

    def meanwhile() -> None:
        nonlocal waited
        waited += 1
        assert machine.flags == OWN and holder(one) == 1 and two.depth == 0
        if waited == 3:
            leave(one)

    machine.meanwhile = meanwhile
    assert enter(two) == 1 and waited == 3
    assert holder(two) == 2 and machine.flags == 0 and one.depth == 0
    assert leave(two) == OK and machine.flags == OWN
