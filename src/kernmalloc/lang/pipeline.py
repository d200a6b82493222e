"""The build: every kernel module is imported, gated, compiled once, and linked for each hosted life in parallel.

`python -m kernmalloc.lang.pipeline FOLDER` leaves raw.o and soft.o in the folder and reports progress on standard
output, one "fraction TAB stage" a line. It is a process of its own, so that no other ever loads the compiler.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

LIVES = ("raw", "soft")


def import_kernel() -> None:
    """Import every module that may register kernel functions."""
    for name in ("kernmalloc.machine", "kernmalloc.kernel", "kernmalloc.drivers"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, name + "."):
            importlib.import_module(module.name)


def build(folder: Path) -> None:
    """Make <folder>/raw.o and <folder>/soft.o."""
    _report(0.0, "reading kernel Python")
    import_kernel()
    from kernmalloc.lang import frontend, gates
    from kernmalloc.lang.functions import REGISTRY

    gates.check(REGISTRY)
    groups = frontend.compile(progress=lambda stage, done: _report(0.1 + 0.6 * done, stage))
    for name, text in groups.items():
        (folder / f"{name}.ll").write_text(text)
    _report(0.7, "optimising for raw and soft")
    backends = {
        life: subprocess.Popen([sys.executable, "-m", "kernmalloc.lang.backend", life, str(folder)]) for life in LIVES
    }
    for done, (life, process) in enumerate(backends.items(), 1):
        if process.wait():
            raise SystemExit(1)  # the back end has said why
        _report(0.7 + 0.3 * done / len(LIVES), f"made {life}")


def _report(fraction: float, stage: str) -> None:
    print(f"{fraction:.3f}\t{stage}", flush=True)


if __name__ == "__main__":
    from kernmalloc.lang.gates import GateError

    try:
        build(Path(sys.argv[1]))
    except GateError as error:
        raise SystemExit(str(error)) from None
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        raise SystemExit("the kernel has to be compiled first, which needs numba: install kernmalloc[build]") from None
