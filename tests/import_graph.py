"""Which module of the package imports which, wherever in a file the import stands.

What stands under `if TYPE_CHECKING:` is never imported and does not count.
"""

import ast
from collections.abc import Iterator
from pathlib import Path


def modules(root: Path) -> dict[str, Path]:
    """The modules of the package in a folder, by name."""
    found = {}
    for file in root.rglob("*.py"):
        name = ".".join((root.name, *file.relative_to(root).with_suffix("").parts))
        found[name.removesuffix(".__init__")] = file
    return found


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """What code of a package imports: modules, and what may be one, or a name in one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING":
            yield from (name for other in node.orelse for name in imported(ast.Module([other], []), package))
        else:
            yield from imported(node, package)


def graph(root: Path, lazy: dict[str, str]) -> dict[str, set[str]]:
    """The modules that each module imports. `lazy`: names that the package gives, and the modules that they are in."""
    files = modules(root)
    found: dict[str, set[str]] = {}
    for module, file in files.items():
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        found[module] = set()
        for name in imported(ast.parse(file.read_text()), package):
            outer, _, inner = name.rpartition(".")
            target = lazy.get(inner, outer) if outer == root.name and name not in files else name
            found[module] |= {target if target in files else outer} & files.keys()
    return found
