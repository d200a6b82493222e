"""Every kernel that a test makes with `boot` is checked when the test is over."""

from collections.abc import Callable, Iterator

import pytest
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile


@pytest.fixture
def boot() -> Iterator[Callable[..., Kernel]]:
    """boot(*(base, bytes) ranges of RAM, mode="twin", profile="eros2", prepare=None): a kernel, checked and closed at
    the end."""
    kernels: list[Kernel] = []

    def make(*ranges: tuple[int, int], mode: str = "twin", profile: str = "eros2", **more: object) -> Kernel:
        kernels.append(Kernel.boot(machine(*(ranges or ((0, 8 * MIB),))), Profile.load(profile), mode, **more))
        return kernels[-1]

    yield make
    try:
        for kernel in kernels:
            conserved(kernel)
    finally:
        for kernel in kernels:
            kernel.close()
