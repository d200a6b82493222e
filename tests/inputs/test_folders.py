"""Folders and patterns: every file once, sorted, hidden ones and what is no file left out."""

import os
from collections import Counter
from pathlib import Path

import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.folders import files
from kernmalloc.inputs.limits import raised


@pytest.fixture
def tree(tmp_path):
    for name in ("b.txt", "a.txt", "sub-a/x.log", "sub/deep/c.txt", "sub/.git/config", ".hidden", "_metadata"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    return tmp_path


def names(word: object, root: Path, skipped: Counter[str] | None = None) -> list[str]:
    return [str(path.relative_to(root)) for path in files(str(word), Counter() if skipped is None else skipped)]


ALL = ["a.txt", "b.txt", "link.txt", "sub/deep/c.txt", "sub-a/x.log"]


def test_a_folder_means_every_file_below_it(tree):
    skipped = Counter()
    assert names(tree, tree, skipped) == ALL
    assert skipped == {"hidden file": 3, "neither file nor folder": 2}


@pytest.mark.parametrize(
    "pattern, found",
    [
        ("*.txt", ["a.txt", "b.txt", "link.txt"]),
        ("**/*.txt", ["a.txt", "b.txt", "link.txt", "sub/deep/c.txt"]),
        ("sub*", ["sub/deep/c.txt", "sub-a/x.log"]),
        ("sub/**", ["sub/deep/c.txt"]),
        ("[ab].txt", ["a.txt", "b.txt"]),
    ],
)
def test_patterns(tree, pattern, found):
    (tree / "circle").unlink()
    assert names(tree / pattern, tree) == found


def test_a_file_is_taken_by_its_very_name(tree):
    (tree / "[a].txt").write_text("")
    assert names(tree / "[a].txt", tree) == ["[a].txt"]
    assert names(tree / ".hidden", tree) == [".hidden"]
    assert names(tree / "nothing", tree) == ["nothing"]  # whoever opens it says what is wrong


def test_nothing_is_one_line(tree):
    (tree / "empty").mkdir()
    with pytest.raises(UnreadableError, match="no file of such a name"):
        names(tree / "*.gz", tree)
    with pytest.raises(UnreadableError, match="a folder without a file in it"):
        names(tree / "empty", tree)


def test_a_device_tree_in_a_folder_is_one_machine(tree):
    root = tree / "sub/host/device-tree"
    (root / "memory@0").mkdir(parents=True)
    for file in ("#address-cells", "#size-cells", "compatible", "model"):
        (root / file).write_bytes(bytes(4))
    assert names(tree, tree) == [*ALL[:4], "sub/host/device-tree", ALL[4]]


def test_limits(tree):
    (tree / "a/b/c").mkdir(parents=True)
    with raised(files=4), pytest.raises(UnreadableError, match="more than 4 files in an archive or a folder"):
        names(tree, tree)
    with raised(depth=3), pytest.raises(UnreadableError, match="more than 3 levels of nesting"):
        names(tree, tree)


@settings(max_examples=20 * EFFORT)
@given(st.sets(st.lists(st.sampled_from(["a", "b", "a-", "c."]), min_size=1, max_size=4).map(tuple), max_size=8))
def test_each_file_is_named_once(tmp_path_factory, paths):
    root = tmp_path_factory.mktemp("folder")
    made = set()
    for parts in paths:
        path = root.joinpath(*(f"{part}d" for part in parts[:-1]), parts[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        made.add(path)
    if made:
        found = list(files(str(root), Counter()))
        assert len(found) == len(made) and set(found) == made
        assert sorted(files(f"{root}/**", Counter())) == sorted(found)
