"""Where in a person's code a kernel was booted: what tells it from others in a process or a notebook."""

import inspect
import sys

PACKAGE = __name__.partition(".")[0]


def origin() -> str:
    """The innermost place outside this package that leads here: "notes.py:12", or "cell In[3], line 2" of a notebook;
    empty if there is none."""
    frame = inspect.currentframe()
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame = frame.f_back
    if frame is None:
        return ""
    cell = _cell(frame.f_code.co_filename)
    return f"{cell}, line {frame.f_lineno}" if cell else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _cell(file: str) -> str:
    """The cell of a notebook whose code this is, as IPython's own tracebacks name it; empty if it is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    name_of = getattr(getattr(shell, "compile", None), "format_code_name", None)  # IPython 8 and later
    named = name_of(file) if name_of else None
    return f"{named[0].lower()} {named[1]}" if named else ""
