"""The files that a word means: a file, a folder, or a pattern of names.

A folder means every file in it and in the folders below, sorted by name.  Hidden ones are left out: names that begin
with a dot, as everywhere, or with an underscore, as those do in which tables of many parts keep notes.  Links to
folders are not followed, and what is neither file nor folder is skipped, because reading it might never end.
"""

import os
from collections import Counter
from collections.abc import Iterator
from glob import has_magic, iglob
from pathlib import Path

from kernmalloc.inputs import FOLDER_READERS
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.limits import hold

HIDDEN = "hidden file"


def is_hidden(name: str) -> bool:
    """Whether a file of that name is left out where it is not named itself."""
    return name.startswith((".", "_"))


def files(word: str, skipped: Counter[str]) -> Iterator[Path]:
    """The files that a word means, and folders that are one machine each, such as a device tree.  `*`, `?`, `[…]` and
    `**` stand for names as in a shell, unless there is a file of that very name.  What is left out is counted in
    `skipped`, by reason.  Raises UnreadableError if nothing is there."""
    if has_magic(word) and not os.path.lexists(word):
        taken: set[Path] = set()  # `**` finds a folder, and what is in it again
        for path in map(Path, sorted(iglob(word, recursive=True))):
            if taken.isdisjoint(path.parents):
                taken.add(path)
                yield from _files(path, skipped)
        if not taken:
            raise UnreadableError(word, 0, "no file of such a name", "quote it, or name a file or a folder")
    else:
        yield from _files(Path(word), skipped)


def _files(path: Path, skipped: Counter[str]) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    count = 0
    for found in _below(path, skipped, 1):
        count += 1
        hold("files", count, str(path))
        yield found
    if not count:
        raise UnreadableError(str(path), 0, "a folder without a file in it", "name one that has logs or tables")


def _below(folder: Path, skipped: Counter[str], depth: int) -> Iterator[Path]:
    """The files in a folder and below it; a folder's own files come before the files of its folders."""
    hold("depth", depth, str(folder))
    if any(reader.recognises_folder(folder) for reader in FOLDER_READERS):
        yield folder
        return
    folders = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if is_hidden(entry.name):
            skipped[HIDDEN] += 1
        elif entry.is_dir(follow_symlinks=False):
            folders.append(folder / entry.name)
        elif entry.is_file():
            yield folder / entry.name
        else:
            skipped["neither file nor folder"] += 1
    for below in folders:
        yield from _below(below, skipped, depth + 1)
