"""The kernel as C, built by gcc, in place of LLVM's object of the raw life, with warnings as errors.

As a plugin of pytest (`-p gcc_kernel`) it serves all tests of a run, with the flags in KERNMALLOC_GCC.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from kernmalloc.build import shared
from kernmalloc.machine import lives

FLAGS = ("-O2", "-g1", "-Wall", "-Wextra", "-Werror")


def used(*flags: str) -> AbstractContextManager[None]:
    """Raw kernels that are booted meanwhile run gcc's code."""
    return lives.loading(shared.loader("gcc", *FLAGS, *flags))


def installed() -> bool:
    """True if there is a gcc."""
    return shutil.which("gcc") is not None


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main() -> Iterator[object]:
    with used(*os.environ.get("KERNMALLOC_GCC", "").split()):
        return (yield)
