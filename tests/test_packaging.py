"""What is installed: everything pinned, in one place each, and everything shipped."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kernmalloc

ROOT = Path(__file__).parent.parent


def pins(lines):
    """Package name to version; a line that pins nothing is an error."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][0-9a-z.]*)", line)
        assert match, f"not an exact pin: {line}"
        found[match[1].lower().replace("_", "-")] = match[2]
    return found


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_dependency_is_pinned_as_in_the_constraints(project):
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    constraints = pins(lines)
    extras = project["project"]["optional-dependencies"].values()
    direct = pins([*project["project"]["dependencies"], *(line for extra in extras for line in extra)])
    pins(project["build-system"]["requires"])
    assert direct.items() <= constraints.items()


def test_nothing_needs_numba():
    assert not any("numba" in (ROOT / file).read_text() for file in ("pyproject.toml", "constraints.txt", "Makefile"))


@pytest.mark.nightly
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_pin_has_a_wheel_for_every_python(project, version, tmp_path):
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for lines in project["project"]["optional-dependencies"].values():
        wanted += lines
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--target", str(tmp_path), "--quiet"]
    command += ["--only-binary=:all:", "--python-version", version, "--constraint", str(ROOT / "constraints.txt")]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_profiles_machines_and_tables_are_shipped(project):
    patterns = project["tool"]["setuptools"]["package-data"]["kernmalloc"]
    package = Path(kernmalloc.__file__).parent
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    assert shipped >= {*package.rglob("*.toml"), *package.glob("fleet/*.json")}


def test_ci_runs_what_the_readme_says():
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make run" in (ROOT / "README.md").read_text()


def test_the_changelog_tells_of_this_version():
    """What is not released yet comes first, then this version with its date."""
    headings = re.findall(r"^## \[(.*?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == kernmalloc.__version__ and re.fullmatch(r" - \d{4}-\d\d-\d\d", headings[1][1])


def test_types_are_shipped(project):
    """Type checkers look at the annotations of a package that says so."""
    assert (Path(kernmalloc.__file__).parent / "py.typed").read_bytes() == b""
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["kernmalloc"]


def test_example_kernels_are_shipped_without_what_is_built_of_them(project):
    """A wheel takes the files of each folder, and no folder that `make` has put beside them."""
    patterns = project["tool"]["setuptools"]["data-files"]
    shipped = {path for folder in patterns.values() for pattern in folder for path in ROOT.glob(pattern)}
    kernels = ROOT / "examples" / "kernels"
    assert {path for path in kernels.glob("*/*") if path.is_file()} <= shipped
    assert all(path.is_file() for path in shipped)
