"""A page of parts with nothing around them: the views by themselves, as one script."""

import re
from pathlib import Path

import msgspec

import kernmalloc.web

STATIC = Path(kernmalloc.web.__file__).with_name("static")
IMPORT = re.compile(r'^import \{ [^}]+ \} from "(\./[a-z_]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=function|const|class)", re.MULTILINE)


def script() -> str:
    """All modules of the views as one, each after those that it imports."""
    done: dict[Path, str] = {}

    def take(file: Path) -> None:
        if file not in done:
            text = file.read_text()
            for name in IMPORT.findall(text):
                take((file.parent / name).resolve())
            done[file] = EXPORT.sub("", IMPORT.sub("", text))

    for file in sorted((STATIC / "views").glob("*.js")):
        take(file.resolve())
    return "\n".join(done.values())


def html(*parts) -> str:
    """The page."""
    data = msgspec.json.encode([part._asdict() for part in parts]).decode().replace("<", "\\u003c")
    libraries = "".join(f"<script>{(STATIC / 'vendor' / name).read_text()}</script>" for name in LIBRARIES)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>parts</title><style>body {{ background: var(--chart-ground); color: var(--chart-text); font-family: sans-serif }}
{(STATIC / "charts.css").read_text()}</style><body>{libraries}<script>"use strict";
{script()}
const began = performance.now();
for (const part of {data}) {{
  const root = document.createElement("section");
  const heading = document.createElement("h2");
  heading.textContent = part.title;
  root.append(heading);
  document.body.append(root);
  ({{ {", ".join(dict.fromkeys(part.view for part in parts))} }})[part.view](root, part.data, null);
}}
requestAnimationFrame(() => requestAnimationFrame(() => (window.drawn = performance.now() - began)));
</script>"""


LIBRARIES = ("d3.min.js", "plot.umd.min.js")
