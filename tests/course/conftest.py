"""Whatever an exercise does to a kernel, every invariant holds when it is done with it."""

from collections.abc import Iterator

import pytest

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import UP


@pytest.fixture(scope="module", autouse=True)
def every_kernel_is_sound() -> Iterator[None]:
    """`check` passes on each kernel that has booted, before it is closed."""
    close = Kernel.close

    def checked_close(kernel: Kernel) -> None:
        if not kernel.handle.monitor.closed and int(kernel.view.kern["stage"]) == UP:
            result = kernel.check()
            assert result.passed, result.failure
        close(kernel)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kernel, "close", checked_close)
        yield
