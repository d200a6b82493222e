"""What is installed: everything pinned, in one place each, and everything shipped."""

import re
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


def test_the_compiler_is_no_runtime_dependency(project):
    assert not any(line.startswith("numba") for line in project["project"]["dependencies"])


def test_profiles_and_machines_are_shipped(project):
    patterns = project["tool"]["setuptools"]["package-data"]["kernmalloc"]
    package = Path(kernmalloc.__file__).parent
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    assert shipped >= set(package.rglob("*.toml"))


def test_ci_runs_what_the_readme_says():
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make run" in (ROOT / "README.md").read_text()
