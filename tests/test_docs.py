"""What the documents show is run: ```python blocks as doctests, ```console blocks as commands with output.

In an expected output `...` stands for anything. Commands that set up or need more than the package (make, git, sudo)
are shown, not run. The blocks of one document run in order, in one folder and one namespace.
"""

import doctest
import fnmatch
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
SHOWN_ONLY = ("make", "git", "sudo", "dmesg")


PLACES = (ROOT, ROOT / "src/kernmalloc", ROOT / "src/kernmalloc/kernel")
"""Where the files lie that documents name."""


def blocks(document: Path, language: str):
    """(line number, text) of each fenced block in that language."""
    text = document.read_text()
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text[: match.start()].count("\n") + 2, match[1]


def documents(language: str):
    """Runs a test on each document that has blocks in that language."""
    found = [path for path in DOCUMENTS if any(blocks(path, language))]
    return pytest.mark.parametrize("document", found, ids=lambda path: path.name)


def commands(block: str):
    """(command, expected output) pairs: a command follows "$ ", its output stands below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def matches(expected: str, got: str) -> bool:
    pattern = re.sub(r"([\[\]?*])", r"[\1]", expected.strip()).replace("...", "*")
    return fnmatch.fnmatchcase(got.strip(), pattern)


@documents("console")
def test_console_blocks(document):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line, block in blocks(document, "console"):
        for command, expected in commands(block):
            if command.split()[0] in SHOWN_ONLY:
                continue
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=ROOT,
                env={**os.environ, "PATH": path, "COLUMNS": "120"},
                capture_output=True,
                text=True,
                timeout=120,
            )
            got = done.stdout
            assert "Traceback" not in done.stderr, f"{document.name}:{line}: {command}\n{done.stderr}"
            if expected.strip():
                assert matches(expected, got), f"{document.name}:{line}: {command}\nprints\n{got}\nnot\n{expected}"


@documents("python")
def test_python_blocks(document, tmp_path):
    """In a process of its own: a raw kernel has its window to itself."""
    script = "\n".join(block for _, block in blocks(document, "python"))
    file = tmp_path / "blocks.txt"
    file.write_text(script)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    code = f"import doctest, sys; sys.exit(doctest.testfile({str(file)!r}, False, optionflags={flags}).failed)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{document.name}:\n{done.stdout}{done.stderr}"


@documents("toml")
def test_toml_blocks_are_profiles(document):
    from kernmalloc import Profile

    for line, block in blocks(document, "toml"):
        assert Profile.parse(block, f"{document.name}:{line}").summary


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "benchmarks/README.md"], ids=lambda path: path.name)
def test_files_that_are_named_exist(document):
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", prose) if "://" not in link]
    lost = [link for link in links if not (document.parent / link).exists()]
    names = re.findall(r"`(\w[\w.*/-]*(?:/|\.(?:py|md|toml|txt|svg)))`", prose)
    lost += [name for name in names if not any(any(place.glob(name)) for place in (document.parent, *PLACES))]
    lost += [name for name in re.findall(r"`(kernmalloc(?:\.\w+)+)`", prose) if not pkgutil.resolve_name(name)]
    assert not lost, f"{document.name} names what is not there: {lost}"
