"""How a result shows itself in a notebook: a class says `_repr_html_ = html`.

What is shown is written by whoever knows how people read it, far above the classes; it is told here once.
"""

from importlib import import_module

_writer = ""  # the module whose `fragment` writes HTML


def written_by(module: str) -> None:
    """Let the function `fragment` of a module write HTML of results. It is loaded when the first is shown."""
    global _writer
    _writer = module


def html(result: object) -> str:
    """A fragment of HTML: what a notebook shows of a result."""
    written: str = import_module(_writer).fragment(result)
    return written
