"""The build up to the back end: every kernel module is imported, gated and compiled, once for all lives.

`python -m kernmalloc.lang.pipeline FOLDER` leaves groups.json in the folder: the IR of each group, which the back end
links for a life. It reports progress on standard output, one "fraction TAB stage" a line.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import platform
import sys
from pathlib import Path


def import_kernel() -> None:
    """Import every module that may register kernel functions."""
    for name in ("kernmalloc.machine", "kernmalloc.kernel", "kernmalloc.drivers"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, name + "."):
            importlib.import_module(module.name)


def build(folder: Path) -> None:
    """Make <folder>/groups.json."""
    _report(0.0, "reading kernel Python")
    import_kernel()
    from kernmalloc.lang import frontend, gates
    from kernmalloc.lang.functions import REGISTRY

    gates.check(REGISTRY)
    groups = frontend.compile(progress=lambda stage, done: _report(0.1 + 0.6 * done, stage))
    target = importlib.import_module("kernmalloc.machine.arch").TARGETS.get(platform.machine())
    host = [target.cpu, target.pause] if target else []
    (folder / "groups.json").write_text(json.dumps({"groups": groups, "host": host}))


def _report(fraction: float, stage: str) -> None:
    print(f"{fraction:.3f}\t{stage}", flush=True)


if __name__ == "__main__":
    from kernmalloc.lang.gates import GateError

    try:
        build(Path(sys.argv[1]))
    except GateError as error:
        raise SystemExit(str(error)) from None
