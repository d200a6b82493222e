"""Changes to kernel code, drawn by seed, and whether the tests of their room see them.

    python tests/mutants.py [--count 200] [--seed 1] [--room frames]

A mutant is the kernel with one change. It is seen if a test of its room fails, or takes `PATIENCE` times as long as all
of them take without a change. One that the front end refuses, or whose object is the unchanged one's, is no mutant:
another is drawn. Prints each mutant that no test of its room saw, and last how many were seen, room by room; also
where Ctrl-C ends it.

Changes (`changes_of`): a store into a record or a call left out; a comparison moved by one or turned round; `+` and
`-`, `&` and `|`, `<<` and `>>` exchanged; a number one higher; one side of `and` or `or` left out.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
KERNEL = Path("src/kernmalloc/kernel")
TESTS = Path("tests/kernel")
PATIENCE = 3
ROOMS = ("loaders", "core", "frames", "map", "heap", "pages", "devices", "boot", "stalls")
"""Rooms that are changed. `check/` and `calls` are not: the tests of the first change memory instead."""

_INSTEAD: dict[type[ast.cmpop | ast.operator], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
"""How an operator is written, and what is written instead."""


class Change(NamedTuple):
    """A piece of a file, from line and column to line and column, and what stands there instead."""

    file: Path
    start: tuple[int, int]
    end: tuple[int, int]
    text: str

    def applied(self, source: str) -> str:
        """The file's text with the change."""
        lines = source.split("\n")
        (first, left), (last, right) = self.start, self.end
        before, behind = "\n".join([*lines[: first - 1], lines[first - 1][:left]]), lines[last - 1][right:]
        return "\n".join([before + self.text + behind, *lines[last:]])

    def stands(self, source: str) -> str:
        """What stands there now."""
        lines = source.split("\n")[self.start[0] - 1 : self.end[0]]
        lines[-1] = lines[-1][: self.end[1]]
        return "\n".join(lines)[self.start[1] :]

    def told(self, source: str) -> str:
        """One line: where, what stood there and what stands there now."""
        line = source.split("\n")[self.start[0] - 1].strip()
        now = self.applied(source).split("\n")[self.start[0] - 1].strip()
        return f"{self.file.relative_to(KERNEL)}:{self.start[0]}: {line}  ->  {now}"


def changes_of(file: Path, source: str) -> Iterator[Change]:
    """Every change of the functions in a file."""

    def over(node: ast.expr | ast.stmt, text: str) -> Change:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return Change(file, (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset), text)

    def between(left: ast.expr, op: ast.cmpop | ast.operator, right: ast.expr) -> Change:
        assert left.end_lineno is not None and left.end_col_offset is not None
        written, instead = _INSTEAD[type(op)]
        gap = Change(file, (left.end_lineno, left.end_col_offset), (right.lineno, right.col_offset), "")
        return gap._replace(text=gap.stands(source).replace(written, instead, 1))

    tree = ast.parse(source)
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        for node in (part for statement in function.body for part in ast.walk(statement)):
            match node:
                case ast.Assign(targets=[ast.Attribute()]) | ast.Expr(value=ast.Call()):
                    yield over(node, "pass")
                case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _INSTEAD:
                    yield between(left, op, right)
                case ast.BinOp(left=left, op=op, right=right) if type(op) in _INSTEAD:
                    yield between(left, op, right)
                case ast.BoolOp(values=[first, *_]):
                    yield over(node, ast.get_source_segment(source, first) or "")
                case ast.Constant(value=int(number)) if not isinstance(node.value, bool):
                    yield over(node, str(number + 1))


def files_of(room: str) -> list[Path]:
    """The files of a room of the kernel."""
    folder = ROOT / KERNEL / room
    found = sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    return [path.relative_to(ROOT) for path in found]


def drawn(room: str, count: int, seed: int) -> Iterator[Change]:
    """Ten times as many changes of a room as are wanted, in an order drawn by seed."""
    every = [change for file in files_of(room) for change in changes_of(file, (ROOT / file).read_text())]
    yield from random.Random(f"{seed} {room}").sample(every, min(len(every), 10 * count))


class Bench:
    """A copy of the project in which a change can be tried, with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "kernmalloc"
        listed = subprocess.run(("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, check=True, text=True)
        for name in filter(None, listed.stdout.split("\0")):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        self.environment = os.environ | {
            "PYTHONPATH": str(self.root / "src"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "KERNMALLOC_DATA": os.environ.get("KERNMALLOC_DATA", str(ROOT.parent / "shared" / "data")),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.unchanged = self.raw()

    def run(self, *words: str, patience: float | None = None) -> "subprocess.CompletedProcess[bytes]":
        """Run Python on these words, for `patience` seconds at most.  Raises TimeoutExpired."""
        return subprocess.run(
            (sys.executable, *words), cwd=self.root, env=self.environment, capture_output=True, timeout=patience
        )

    def raw(self) -> bytes | None:
        """The raw object; None where the front end refuses the source."""
        made = self.run(
            "-c", "import sys; from kernmalloc.lang.objects import built; sys.stdout.buffer.write(built('raw'))"
        )
        return None if made.returncode else made.stdout

    def tests(self, room: str, patience: float | None = None) -> bool:
        """Whether the tests of a room pass."""
        folder = TESTS / room
        where = folder if (self.root / folder).is_dir() else TESTS / f"test_{room}.py"
        words = "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not nightly", str(where)
        try:
            return not self.run(*words, patience=patience).returncode
        except subprocess.TimeoutExpired:
            return False

    def verdict(self, change: Change, room: str, patience: float) -> str:
        """`refused`, `equal`, `seen` or `unseen`."""
        path = self.root / change.file
        source = path.read_text()
        path.write_text(change.applied(source))
        try:
            made = self.raw()
            if made is None or made == self.unchanged:
                return "refused" if made is None else "equal"
            return "unseen" if self.tests(room, patience) else "seen"
        finally:
            path.write_text(source)


def main() -> None:
    """Try mutants of each room, as many as its share of the kernel's lines."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--count", type=int, default=200, help="mutants of all rooms together")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--room", choices=ROOMS, action="append", help="only these rooms")
    told = asked.parse_args()
    lines = {room: sum(len((ROOT / file).read_text().split("\n")) for file in files_of(room)) for room in ROOMS}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for room in told.room or ROOMS:
            count = max(1, round(told.count * lines[room] / sum(lines.values())))
            start = time.perf_counter()
            if not bench.tests(room):
                sys.exit(f"{room}: its tests fail without a change")
            patience = PATIENCE * (time.perf_counter() - start)
            tried, unseen = 0, []
            try:
                for change in drawn(room, count, told.seed):
                    verdict = bench.verdict(change, room, patience)
                    if verdict in ("seen", "unseen"):
                        tried += 1
                        if verdict == "unseen":
                            unseen.append(change)
                            print(change.told((ROOT / change.file).read_text()), flush=True)
                    if tried == count:
                        break
            finally:  # also where it is interrupted
                print(f"{room}: {tried - len(unseen)} of {tried} mutants seen", flush=True)


if __name__ == "__main__":
    main()
