"""What is exported: C of the kernel's rooms alone, a header that a port can use, a README that tells the truth."""

import re
import subprocess
import sys

import pytest

from kernmalloc.build import export
from kernmalloc.lang import status
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.machine.arch import ARCHES, TARGETS


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return export.c_files()


def test_every_entry_of_the_kernel_and_no_driver(files):
    entries = {
        f"km_call_{function.__name__}"
        for function, is_entry in REGISTRY.items()
        if is_entry and function.__module__.startswith("kernmalloc.kernel.")
    }
    declared = files["kernmalloc.h"].partition("/* The entries. */")[2]
    assert entries and entries == set(re.findall(r"\b(km_call_\w+)\(", declared))
    assert "drivers/" not in files["kernmalloc.c"] and " * kernel/check/check\n" in files["kernmalloc.c"]


def test_the_header_is_enough_to_boot(files):
    """The records that a loader fills, the frames and stages that callers name, the statuses."""
    header = files["kernmalloc.h"]
    for record in ("config", "boot_range", "object_type", "cpu", "kern", "region"):
        assert f"struct km_{record} {{" in header
    for text in (
        "KM_PAGE = 3,",
        "KM_RAM = 1,",
        "KM_UP = 6,",
        "KM_FORMAT_X86_64 = 2,",
        "KM_CACHE_UNCACHED = 2,",
        "KM_OWNER = 0,",
    ):
        assert text in header
    for name in status.NAMES.values():
        assert f"KM_{name} = " in header
    assert not re.search(r"^#define (PAGE|DMA|RAM|UP) ", files["kernmalloc.c"], re.MULTILINE)


def test_rooms_come_lowest_first(files):
    rooms = list(dict.fromkeys(re.findall(r"={76}\n \* kernel/(\w+)", files["kernmalloc.c"])))
    below = ["core", "frames", "map", "heap", "pages", "stalls", "calls"]
    assert rooms[0] == "core" and [room for room in rooms if room in below] == below


def test_the_licence_stands_on_top(files):
    for text in files.values():
        assert text.startswith("/* SPDX-License-Identifier: Apache-2.0 OR MIT */\n")


def test_the_text_does_not_depend_on_what_was_imported_before(files):
    """The same from a process that has imported the modules in another order."""
    code = (
        "import kernmalloc.kernel.pages.pages, kernmalloc.facade.kernel, kernmalloc.drivers.replay\n"
        "from kernmalloc.build import export\n"
        "for text in export.c_files().values(): print(text)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{text}\n" for text in files.values())


def test_the_readme_tells_how_to_build():
    text = export.readme(ARCHES)
    for name, arch in ARCHES.items():
        assert (f"libkernmalloc-{name}.a" in text) == (name in TARGETS)
        for compiler in arch.compilers:
            assert f"    {' '.join(export.build_command(compiler))} kernmalloc.c\n" in text
    for prefix, helpers in export.LIBRARY.items():
        assert re.search(rf"^    {prefix} +{' '.join(helpers) or 'nothing'}$", text, re.MULTILINE)
    assert all(len(line) <= 120 for line in text.split("\n") if not line.startswith("    "))
