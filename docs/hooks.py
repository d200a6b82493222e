"""What mkdocs does beside reading docs/: orders pages, adds the project's documents, and has the kernel run in pages.

Documents stay plain Markdown that a repository shows: their links lead to files.
"""

import posixpath
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parent.parent
PROJECT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "benchmarks/scaling.md")
"""Documents that do not lie in docs/, and are pages of the site."""
PAGES = {
    "boot-desktop-16g.html": "kernmalloc boot desktop-16g --kernel eros2",
    "boot-m5475-64m.html": "kernmalloc boot m5475-64m --kernel coyotos-coldfire",
    "plan-desktop-16g.html": "kernmalloc plan desktop-16g --kernel coyotos-i386 --with 24GiB",
    "run-storm.html": "kernmalloc run storm --touches 200000",
    "exercise-1.html": "kernmalloc exercise 1",
    "exercise-2.html": "kernmalloc exercise 2 --seed 3",
    "exercise-3.html": "kernmalloc exercise 3",
    "exercise-4.html": "kernmalloc exercise 4",
    "exercise-5.html": "kernmalloc exercise 5",
    "exercise-6.html": "kernmalloc exercise 6",
    "exercise-7.html": "kernmalloc exercise 7",
    "exercise-8.html": "kernmalloc exercise 8",
}
"""Pages in which the kernel runs: the file, and the command line that writes it, with `--html FILE` added. A document
embeds one by the line `<!-- page: FILE -->`, which a repository does not show."""
LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
MARK = re.compile(r"^<!-- page: (\S+) -->$", re.MULTILINE)
FENCED = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the project's own documents, and expands what the navigation says by a *."""
    for name in PROJECT:
        files.append(File.generated(config, _place(name), abs_src_path=str(ROOT / name)))
    names = [file.src_uri for file in files.documentation_pages()]
    config.nav = _expanded(config.nav, names)
    return files


def _place(name: str) -> str:
    """The name in the site of a document of the repository."""
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    return f"project/{name.replace('/', '-').lower()}"


def _expanded(nav: Any, names: list[str]) -> Any:
    """The navigation without a *; a section of no document is left out."""
    if isinstance(nav, dict):
        return {title: part for title, given in nav.items() if (part := _expanded(given, names))}
    if isinstance(nav, list):
        parts = [_matches(part, names) if isinstance(part, str) else [_expanded(part, names)] for part in nav]
        return [each for part in parts for each in part if each]
    return nav


def _matches(pattern: str, names: list[str]) -> list[str]:
    """The documents that a line of the navigation stands for, in order."""
    if "*" not in pattern:
        return [pattern]
    form = re.compile(re.escape(pattern).replace(r"\*", "[^/]*"))
    return sorted(filter(form.fullmatch, names), key=_order)


def _order(name: str) -> tuple[bool, int, str]:
    number = re.match(r"\d+", posixpath.basename(name))
    return posixpath.basename(name).lower() != "readme.md", int(number[0]) if number else 0, name


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Has links lead to pages of the site; what is a file of the repository only is named, not linked."""
    here = page.file.src_uri
    source = next((name for name in PROJECT if _place(name) == here), f"docs/{here}")

    def led(match: re.Match[str]) -> str:
        text, link, anchor = match[1], match[2], match[3] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        if target in PROJECT or target.startswith("docs/"):
            return f"[{text}]({posixpath.relpath(_place(target), posixpath.dirname(here) or '.')}{anchor})"
        return text

    def embedded(match: re.Match[str]) -> str:
        return _embedded(match[1], page)

    parts = FENCED.split(markdown)
    for at in range(0, len(parts), 2):
        parts[at] = MARK.sub(embedded, LINK.sub(led, parts[at]))
    return "".join(parts)


def _embedded(name: str, page: Page) -> str:
    """A page in which the kernel runs, in a document, and a link to it."""
    url = get_relative_url(f"pages/{name}", page.url)
    return (
        f'<div class="kernel-page"><iframe src="{url}" title="{PAGES[name]}" loading="lazy"></iframe>'
        f'<p><a href="{url}">This page by itself</a>, as <code>{PAGES[name]} --html {name}</code> writes it.</p></div>'
    )


def on_post_build(config: MkDocsConfig) -> None:
    """Writes the pages in which the kernel runs."""
    folder = Path(config.site_dir, "pages")
    folder.mkdir(exist_ok=True)
    for name, line in PAGES.items():
        _, *arguments = shlex.split(line)
        command = [Path(sys.executable).with_name("kernmalloc"), *arguments, "--html", folder / name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise PluginError(f"{line} --html {name}: {done.stderr}")
