"""The architecture itself: imports point down only, and what a person runs does not load the compiler."""

import ast
import subprocess
import sys
from pathlib import Path

import kernmalloc

ROOT = Path(kernmalloc.__file__).parent
LAYERS = (
    "lang",
    "inputs",
    "machine",
    "kernel",
    "drivers",
    "facade",
    "plan",
    "sim",
    "bench",
    "report",
    "cli",
)  # lowest first
BESIDE = {"build": "facade"}


def layer(module: str) -> int:
    """How high a module of the package stands; the package itself stands on top of all."""
    part = module.split(".")[1] if "." in module else ""
    part = BESIDE.get(part, part)
    return LAYERS.index(part) if part in LAYERS else len(LAYERS)


def imports(file: Path, module: str):
    """Modules of this package that a file imports, wherever in it the import stands."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base == "kernmalloc":
                lazy = kernmalloc._HOME
                names = (lazy.get(alias.name, f"kernmalloc.{alias.name}") for alias in node.names)
                yield from ((name, node.lineno) for name in names if name != "kernmalloc.__version__")
            else:
                yield base, node.lineno


def test_imports_point_down_only():
    wrong = []
    for file in ROOT.rglob("*.py"):
        module = ".".join(("kernmalloc", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for target, line in imports(file, module):
            if target.split(".")[0] == "kernmalloc" and layer(target) > layer(module):
                wrong.append(f"{file.relative_to(ROOT)}:{line}: {module} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_every_folder_has_a_layer():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= {*LAYERS, *BESIDE}


def test_kernel_sources_load_no_compiler():
    """Reading kernel Python must not import what compiles it: that is what makes a command start at once."""
    code = "import kernmalloc.kernel.kern, kernmalloc.kernel.regions, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numba", "llvmlite"} & set(loaded)
