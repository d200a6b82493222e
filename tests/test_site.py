"""The documents as a site: links and anchors lead somewhere, it builds without a warning, and loads nothing else."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")))
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}
"""Elements that a browser loads something for, and where they name it."""
KEPT = ("canonical", "next", "prev")
"""Relations of links that a browser does not load."""


def prose(document: Path) -> str:
    return re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """Those of the headings, as repositories make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.add(next(each for each in (name, *(f"{name}-{i}" for i in range(1, 1000))) if each not in found))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_and_anchor_exists(document):
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        url = urlsplit(link)
        if url.scheme:
            continue
        target = (document.parent / unquote(url.path)).resolve() if url.path else document
        if not target.exists() or (url.fragment and url.fragment not in anchors(target)):
            lost.append(link)
    assert not lost


def test_every_page_of_the_kernel_that_a_document_embeds_is_made():
    listed = re.findall(r'^    "([\w-]+\.html)": "kernmalloc ', (ROOT / "docs/hooks.py").read_text(), re.MULTILINE)
    embedded = [name for document in DOCUMENTS for name in re.findall(r"<!-- page: (.*) -->", prose(document))]
    assert listed and {*embedded} == {*listed}


class Elements(HTMLParser):
    """What a page loads and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.styles: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._in_style = tag == "style"
        self.styles.append(given.get("style") or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in LOADED and given.get(LOADED[tag]) and given.get("rel") not in KEPT:
            self.loaded.append(given[LOADED[tag]])
        self.loaded += [part.split()[0] for part in (given.get("srcset") or "").split(",") if part.strip()]

    def handle_data(self, data):
        if self._in_style:
            self.styles.append(data)


def named_in(style: str) -> list[str]:
    """What a style loads."""
    return re.findall(r"url\(\s*[\"']?((?!data:)[^\"')]+)", style) + re.findall(r"@import\s+[\"']([^\"']+)", style)


@pytest.mark.nightly
def test_the_site_builds_without_a_warning_and_is_whole(tmp_path):
    """Nothing that a page loads is outside of the site, and everything that it loads or links to is there."""
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    lost = []
    for page in pages:
        if page.name == "404.html":  # whose links are of a server's root
            continue
        elements = Elements()
        elements.feed(page.read_text())
        loaded = [*elements.loaded, *(name for style in elements.styles for name in named_in(style))]
        inside = [link for link in elements.links if not urlsplit(link).scheme]
        for name in (*loaded, *inside):
            url = urlsplit(name)
            if url.scheme != "data" and (url.scheme or url.netloc or not (page.parent / unquote(url.path)).exists()):
                lost.append(f"{page.relative_to(tmp_path)}: {name}")
    for style in tmp_path.rglob("*.css"):
        named = named_in(style.read_text())
        lost += [
            f"{style.relative_to(tmp_path)}: {name}" for name in named if urlsplit(name).scheme or name[:2] == "//"
        ]
    assert not lost
