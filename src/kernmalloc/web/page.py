"""A page: one HTML file that needs no network, of parts, each drawn by a view; and, beside them, the kernel.

The modules of `static` become one script: each stands behind those that it imports, without its imports and exports. So
their names at the top level differ, and nothing is fetched when the page is opened. What runs in the page's worker is a
script of its own.
"""

import html as escaping
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from kernmalloc import __version__

STATIC = Path(__file__).with_name("static")
LIBRARIES = ("d3.min.js", "plot.umd.min.js")
STYLES = ("page.css", "charts.css")
MOST = 3 << 20  # bytes of a page

_IMPORT = re.compile(r'^import \{ ([^}]+) \} from "(\.{1,2}/[\w./]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=function|const|class|async)", re.MULTILINE)
_VIEW = re.compile(r"^export function (\w+)\(root, data, page\)", re.MULTILINE)


class Part(NamedTuple):
    """One part of a page: the JavaScript function that draws it, `view(root, data, page)`, its heading, and its data,
    of which JSON can be made."""

    view: str
    title: str
    data: object


KERNEL = (Part("bootstrap", "The bootstrap", None), Part("tryIt", "Try it", None))
"""The parts that show the kernel which a page holds."""


def script(*modules: Path) -> str:
    """These modules and all that they import, as one script."""
    done: dict[Path, str] = {}

    def take(file: Path) -> None:
        if file in done:
            return
        text = file.read_text()
        for _, name in _IMPORT.findall(text):
            take((file.parent / name).resolve())
        done[file] = _EXPORT.sub("", _IMPORT.sub("", text))

    for module in modules:
        take(module.resolve())
    return "\n".join(done.values())


def views() -> dict[str, Path]:
    """Every view, by name, and the module that has it."""
    return {name: file for file in sorted((STATIC / "views").glob("*.js")) for name in _VIEW.findall(file.read_text())}


def page(title: str, intro: Sequence[str], parts: Sequence[Part], kernel: dict[str, Any] | None = None) -> str:
    """The HTML of a page: its title, sentences that open it, its parts in order, and the kernel that its worker runs
    (`web/kernel.py`), if it has one."""
    known = views()
    needed = list(dict.fromkeys(part.view for part in parts))
    own = script(*(known[name] for name in needed), STATIC / "shell.js")
    data = {"parts": [part._asdict() for part in parts], "kernel": kernel}
    libraries = [(STATIC / "vendor" / name).read_text() for name in LIBRARIES]
    worker = script(STATIC / "worker.js") if kernel else ""
    opening = "\n".join(f"<p>{escaping.escape(sentence)}</p>" for sentence in intro)
    style = "\n".join((STATIC / name).read_text() for name in STYLES)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="kernmalloc {__version__}">
<title>{escaping.escape(title)}</title>
<style>{style}</style>
<body>
<header><h1>{escaping.escape(title)}</h1>
{opening}
<nav aria-label="Parts of this page"></nav></header>
<main></main>
<noscript><p>The kernel in this page runs as WebAssembly, which takes JavaScript. Nothing is fetched.</p></noscript>
<script type="application/json" id="data">{_inert_json(msgspec.json.encode(data, enc_hook=int).decode())}</script>
<script type="text/plain" id="worker">{_inert(worker)}</script>
{"".join(f"<script>{library}</script>" for library in libraries)}
<script>"use strict";
{own}
startPage({{ {", ".join(needed)} }});
</script>
</body>
</html>
"""


def _inert_json(text: str) -> str:
    """JSON that ends no script."""
    return text.replace("<", "\\u003c")


def _inert(text: str) -> str:
    """JavaScript that ends no script: `</` stands in its strings only."""
    return text.replace("</", "<\\/")
