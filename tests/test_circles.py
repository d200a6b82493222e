"""No module of the package imports itself through others."""

from pathlib import Path

from import_graph import graph

import kernmalloc


def circle(imports: dict[str, set[str]]) -> list[str]:
    """The modules of a circle, the first of them again at the end; none if there is no circle."""
    done: set[str] = set()

    def visit(path: list[str]) -> list[str]:
        for target in sorted(imports[path[-1]] - done):
            if target in path:
                return [*path[path.index(target) :], target]
            if found := visit([*path, target]):
                return found
        done.add(path[-1])
        return []

    return next(filter(None, (visit([module]) for module in sorted(imports))), [])


def test_no_imports_go_in_a_circle():
    found = circle(graph(Path(kernmalloc.__file__).parent, kernmalloc._HOME))
    assert not found, " -> ".join(found)


def test_a_planted_circle_is_found(tmp_path):
    """Through imports in functions, relative ones, and of what the package itself gives; not those for types."""
    root = tmp_path / "package"
    (root / "low").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "low" / "__init__.py").write_text("")
    (root / "low" / "one.py").write_text("def work():\n    import package.two\n")
    (root / "low" / "four.py").write_text("from package import Thing\n")
    (root / "two.py").write_text("from .low import three\n")
    three = root / "low" / "three.py"
    for lines, there in (
        ("import os\n", False),
        ("if TYPE_CHECKING:\n    from package.low import one\n", False),
        ("if TYPE_CHECKING:\n    import os\nelse:\n    from package.low import one\n", True),
        ("from .one import work\n", True),
        ("from . import one\n", True),
        ("from package.low.four import Thing\n", True),
        ("from .three import three\n", True),
    ):
        three.write_text(lines)
        found = circle(graph(root, {"Thing": "package.two"}))
        assert bool(found) == there, lines
        assert not there or (found[0] == found[-1] and "package.low.three" in found)
