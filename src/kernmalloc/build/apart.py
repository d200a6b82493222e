"""What is made of the kernel under another layout than that of this interpreter: in one of its own, and kept.

    fields   of each record in `SHAKEN` the fields that the layout's entries lead to
    c        name to text of the C files
    files    name to text of the C files that `export` makes, with all that its header tells
    raw      name to text of the C files of mode raw, with all drivers, whatever entries the layout names
    ir       what the front end makes, for every target

`python -m kernmalloc.build.apart WHAT` prints it as JSON, under the layout that the environment gives.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from kernmalloc.lang import cache
from kernmalloc.lang.functions import PORTS, REGISTRY, Function, group
from kernmalloc.lang.layout import LAYOUT, VARIABLE, Layout
from kernmalloc.lang.objects import BuildError

SHAKEN = ("Kern", "Cpu", "Cache", "Magazine", "Tally")
"""Records that lose the fields that nobody names. The others lie over records of other kinds."""


def made(layout: Layout, what: str) -> Any:
    """One of the things above. BuildError: the sources do not compile; OSError: there is no folder to keep it in."""

    def make() -> bytes:
        path = os.pathsep.join(filter(None, [str(cache.PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, VARIABLE: layout.text(), "PYTHONPATH": path}
        done = subprocess.run([sys.executable, "-m", __name__, what], env=env, capture_output=True, check=False)
        if done.returncode:
            raise BuildError(done.stderr.decode().strip())
        return done.stdout

    return json.loads(cache.kept(f"{what}-{layout.number}.json", make))


def shaken(layout: Layout) -> Layout:
    """A layout with the fields that its entries lead to, and no others."""
    return layout._replace(fields=made(layout, "fields"))


def entries() -> list[Function]:
    """Of an interpreter with a layout that names them, the entries; no other function is one then."""
    from kernmalloc.lang import pipeline

    pipeline.import_kernel()
    known = {f"{function.__module__}.{function.__name__}": function for function in REGISTRY}
    unknown = [name for name in (*LAYOUT.entries, *LAYOUT.answers) if name not in known]
    assert not unknown, f"no function is called {', '.join(unknown)}"
    wanted = [known[name] for name in LAYOUT.entries]
    for function in REGISTRY:
        REGISTRY[function] = function in wanted or function in PORTS
    return wanted


def _make(what: str) -> object:
    from kernmalloc.build.interface import interface
    from kernmalloc.lang import c, frontend, gates, pipeline, shake
    from kernmalloc.lang.records import RECORDS

    if what == "raw":
        pipeline.import_kernel()
        return c.source(None, "raw")
    functions = shake.reachable(entries())
    gates.check(functions)
    if what == "fields":
        kernel = [each for name in SHAKEN for each in RECORDS[name] if each.__module__.startswith("kernmalloc.kernel.")]
        return shake.fields(functions, kernel)
    if what == "files":
        from kernmalloc.build import texts

        return texts.written()
    if what == "c":
        return c.source(functions, interface=interface(functions))
    return frontend.compile([*functions, *(port for port in PORTS if group(port) == "bare")])


if __name__ == "__main__":
    json.dump(_make(sys.argv[1]), sys.stdout)
