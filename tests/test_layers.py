"""The architecture itself: imports point down only, and what a person runs does not load the compiler."""

import subprocess
import sys
from pathlib import Path

import pytest
from import_graph import graph

import kernmalloc

ROOT = Path(kernmalloc.__file__).parent
LAYERS = (
    "results",
    "lang",
    "inputs",
    "machine",
    "kernel",
    "drivers",
    "facade",
    "plan",
    "fleet",
    "sim",
    "course",
    "bench",
    "report",
    "web",
    "cli",
)
"""The folders of the package, lowest first."""
BESIDE = {"build": "facade", "emulate": "sim", "kernel.loaders": "lang"}
"""What stands beside another layer: what loaders hand over is read without a kernel, by inputs, too."""
ROOMS = (
    *(("loaders",), ("core",), ("frames",), ("map",), ("heap",), ("pages", "devices"), ("boot", "stalls", "held")),
    ("check", "calls"),
)
"""The rooms of the kernel, lowest first; those of one level do not know each other."""


def layer(module: str) -> int:
    """How high a module of the package stands; the package itself stands on top of all."""
    parts = module.split(".")[1:]
    part = parts[0] if parts else ""
    part = BESIDE.get(".".join(parts[:2]), BESIDE.get(part, part))
    return LAYERS.index(part) if part in LAYERS else len(LAYERS)


def room(module: str) -> str:
    """The room of a module of the kernel; empty of what is none."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["kernmalloc", "kernel"] and len(parts) > 2 else ""


def level(module: str) -> int:
    """How high the room of a module of the kernel stands."""
    return next(number for number, rooms in enumerate(ROOMS) if room(module) in rooms)


@pytest.fixture(scope="module")
def imports() -> list[tuple[str, str]]:
    """(module, what it imports) of the whole package; of the package itself there is only its version to import."""
    found = graph(ROOT, kernmalloc._HOME)
    return [(module, target) for module, targets in found.items() for target in targets - {"kernmalloc"}]


def test_imports_point_down_only(imports):
    wrong = [f"{module} imports {target}" for module, target in imports if layer(target) > layer(module)]
    assert imports and not wrong, "\n".join(wrong)


def test_rooms_of_the_kernel_import_lower_rooms_only(imports):
    wrong = [
        f"{module} imports {target}"
        for module, target in imports
        if room(module) and room(target) and room(module) != room(target) and level(target) >= level(module)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_folder_has_a_layer_and_every_room_a_level():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= {*LAYERS, *BESIDE}
    rooms = {path.stem for path in (ROOT / "kernel").iterdir() if path.stem not in ("__init__", "__pycache__")}
    assert rooms == {name for rooms in ROOMS for name in rooms}


def test_kernel_sources_load_no_compiler():
    """Reading kernel Python must not import what compiles it: that is what makes a command start at once."""
    code = "import kernmalloc.kernel.core.kern, kernmalloc.kernel.frames.regions, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "llvmlite" not in loaded
