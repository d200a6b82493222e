"""What the hosted machine supplies."""

from kernmalloc.lang import entry, machine_record, port, primitive
from lang_sample.lists import listed, push
from lang_sample.records import Cpu

memset = primitive("memset", 3)


@port
def fill(addr: int, value: int, n: int) -> int:
    memset(addr, value, n)
    return n


@entry
def count(cpu: Cpu) -> int:
    """How many nodes the list at cpu holds, read as the host does."""
    return listed(cpu)


@entry
def push_all(cpu: Cpu, n: int) -> int:
    """Drive the kernel: push nodes 0 to n - 1; how many went in."""
    pushed = 0
    for i in range(n):
        pushed += push(cpu, i) >= 0
    return pushed


@entry
def record_address() -> int:
    return machine_record()
