"""Fleets in pieces: what words name, cut into units of work that any process can do by itself.

A fleet may be millions of machines in one file, or a machine in each of a million files, so nobody holds it whole.
`pieces` goes through it once, without reading any machine, and gives `Piece`s.  A piece is small, can be pickled, and
says where its machines are: which lines of a file, which rows of a table, which files.  What cannot be reached in the
middle (a packed file, an archive, standard input) travels in the piece itself: some MiB of lines, or whole files.

The id of a piece is a digest of what it names and, as far as that is seen, of what is in it.  The same words give the
same ids as long as the files stay the same, so whoever keeps results by id can go on where work stopped.  Within one
fleet ids are unique: a file that is named twice counts twice.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from glob import has_magic
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from kernmalloc.inputs import archive, fleet, folders, parquet
from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.limits import Limits, hold, limits, raised
from kernmalloc.inputs.packed import BUFFER, HEAD, Buffered, Readable, is_packed, unpacked

if TYPE_CHECKING:
    from kernmalloc.inputs.facts import Facts
    from kernmalloc.machine.memory_map import Machine

    Found = Machine | InputError

MOST = 256  # machines of a piece
HELD = 4 << 20  # bytes after which a piece that carries its machines is full
GENERATED = "generated:"


class File(msgspec.Struct, frozen=True):
    """A file of any form, or a folder that is one machine; `mark` is a digest of its beginning, `size` in bytes."""

    file: str
    mark: str = ""
    size: int = 0

    @property
    def count(self) -> int:
        """Machines, as far as told: one."""
        return 1

    def machines(self) -> "Iterator[Found]":
        from kernmalloc.machine.memory_map import Machine

        return Machine.read_all(self.file)


class Held(msgspec.Struct, frozen=True):
    """A file that is nowhere else: in an archive, or what came by standard input."""

    file: str
    data: bytes

    @property
    def count(self) -> int:
        """Machines, as far as told: one."""
        return 1

    def machines(self) -> "Iterator[Found]":
        from kernmalloc.machine.memory_map import Machine

        return Machine.read_all(BytesIO(self.data), name=self.file)


class HeldLines(msgspec.Struct, frozen=True):
    """Lines of JSON from a stream, the first of which has the number `line`; `count` tell of a machine."""

    file: str
    line: int
    count: int
    data: bytes

    def machines(self) -> "Iterator[Found]":
        return _resolved(fleet.facts_in(self.data.split(b"\n"), self.file, self.line))


class Lines(msgspec.Struct, frozen=True):
    """Lines of JSON in a file: `size` bytes from `offset` on, whose digest is `mark`."""

    file: str
    line: int
    count: int
    offset: int
    size: int
    mark: str

    def machines(self) -> "Iterator[Found]":
        with open(self.file, "rb") as stream:
            stream.seek(self.offset)
            data = stream.read(self.size)
        if _digest(data) != self.mark:
            raise UnreadableError(self.file, self.line, "changed while it was read", "start again")
        return HeldLines(self.file, self.line, self.count, data).machines()


class Rows(msgspec.Struct, frozen=True):
    """Rows of a group of a Parquet file, from the group's row `first` on; `mark` is a digest of the file's end."""

    file: str
    mark: str
    group: int
    first: int
    count: int

    def machines(self) -> "Iterator[Found]":
        return _resolved(parquet.facts_in(self.file, self.mark, self.group, self.first, self.count))


class Generated(msgspec.Struct, frozen=True):
    """Machines that are made where they are needed (`fleet/generate`)."""

    file: str
    seed: int
    first: int
    count: int

    def machines(self) -> "Iterator[Found]":
        from kernmalloc.fleet.generate import generate

        made = enumerate(generate(self.seed, self.count, self.first), self.first + 1)
        return _resolved(fleet.facts(record, self.file, number) for number, record in made)


class Refused(msgspec.Struct, frozen=True):
    """What cannot be read, and why."""

    file: str
    line: int
    reason: str
    advice: str

    @property
    def count(self) -> int:
        """Machines: none."""
        return 0

    def machines(self) -> "Iterator[Found]":
        yield InputError(self.file, self.line, self.reason, self.advice)


Part = File | Held | HeldLines | Lines | Rows | Generated | Refused


class Piece(msgspec.Struct, frozen=True):
    """Some machines of a fleet: a unit of work.

    `id` is stable and unique in its fleet (16 hexadecimal digits). `count` is how many machines there are, as far as
    is told before they are read: a file counts for one. `limits` are those that held where the piece was cut.
    """

    id: str
    count: int
    parts: tuple[Part, ...]
    limits: Limits

    def machines(self) -> "Iterator[Found]":
        """Each machine, in order; in place of one that cannot be read, why. No more than a part is held at a time."""
        for part in self.parts:
            found: list[Found] = []
            try:
                with raised(**msgspec.structs.asdict(self.limits)):
                    for machine in part.machines():
                        found.append(machine)  # noqa: PERF402 (those before an error are kept)
            except InputError as error:
                found.append(error)
            except OSError as error:
                found.append(UnreadableError(part.file, 0, error.strerror or str(error)))
            yield from found

    def __str__(self) -> str:
        first = self.parts[0]
        line = getattr(first, "line", 0) or getattr(first, "first", -1) + 1
        place = f"{first.file}:{line}" if line else first.file
        return place + (f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else "")


def pieces(
    words: Iterable[str],
    most: int = MOST,
    source: Callable[[str], str | Path | BinaryIO] | None = None,
    skipped: Counter[str] | None = None,
) -> Iterator[Piece]:
    """The fleet that words name, in order, in pieces of at most `most` machines, as far as they are told.

    A word is a file of any form, a folder, a pattern of names, a tar archive, JSON Lines, Parquet, a shipped machine or
    `generated:SEED:COUNT`. `source` tells where a word is (None: `machine/memory_map.located`). What is left out is
    counted in `skipped`, by reason. What cannot be read is a part that says why; nothing is raised.
    """
    ids: Counter[str] = Counter()
    left_out = Counter() if skipped is None else skipped
    gathered: list[Part] = []
    carried = 0
    for part in _parts(words, most, source, left_out):
        alone = part.count > 1
        carried += _weight(part)
        if alone or len(gathered) == most or carried > HELD:
            yield from _piece(gathered, ids)
            gathered, carried = [], _weight(part)
        gathered.append(part)
        if alone:
            yield from _piece(gathered, ids)
            gathered, carried = [], 0
    yield from _piece(gathered, ids)


def _piece(parts: list[Part], ids: Counter[str]) -> Iterator[Piece]:
    """Parts as one piece; of none there is none."""
    if parts:
        content = repr(parts).encode()
        id = _digest(content)
        ids[id] += 1
        if ids[id] > 1:
            id = _digest(content + str(ids[id]).encode())
        yield Piece(id, sum(part.count for part in parts), tuple(parts), limits())


def _weight(part: Part) -> int:
    """Bytes that a part carries."""
    return len(part.data) if isinstance(part, Held | HeldLines) else 0


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


def _parts(
    words: Iterable[str], most: int, source: Callable[[str], str | Path | BinaryIO] | None, skipped: Counter[str]
) -> Iterator[Part]:
    """The parts of a fleet, in order."""
    from kernmalloc.machine.memory_map import located

    for word in words:
        try:
            if word.startswith(GENERATED) and not os.path.lexists(word):
                yield from _generated(word, most)
                continue
            place = word if has_magic(word) else (source or located)(word)
            if not isinstance(place, str | Path):
                yield from _in_stream(place, word, most, skipped)
                continue
            for path in folders.files(str(place), skipped):
                yield from _in_file(path, most, skipped)
        except (InputError, OSError) as error:
            yield _refused(word, error)


def _refused(file: str, error: InputError | OSError) -> Refused:
    if isinstance(error, InputError):
        return Refused(error.file, error.line, error.reason, error.advice)
    return Refused(file, 0, error.strerror or str(error), "")


def _generated(word: str, most: int) -> Iterator[Generated]:
    seed, _, count = word.removeprefix(GENERATED).partition(":")
    if not (word.isascii() and seed.isdecimal() and count.isdecimal() and max(len(seed), len(count)) <= 18):
        raise InputError(word, 0, "no fleet that can be generated", "write generated:SEED:COUNT, two numbers")
    for first in range(0, int(count), most):
        yield Generated(word, int(seed), first, min(most, int(count) - first))


def _in_file(path: Path, most: int, skipped: Counter[str]) -> Iterator[Part]:
    """The parts of one file or folder; what is wrong with it is its own."""
    file = str(path)
    try:
        if path.is_dir():
            yield File(file)
            return
        with open(path, "rb") as stream:
            if not path.is_file():  # a pipe, which nobody can open again
                yield from _in_stream(stream, file, most, skipped)
                return
            packed = is_packed(stream.peek(HEAD))
            inner = unpacked(stream, file, "fleet")
            head = inner.peek(archive.BLOCK)
            if archive.recognises(head):
                yield from _members(inner, file, most, skipped)
            elif head.startswith(parquet.MAGIC) and not packed:
                yield from _rows(file, most)
            elif not fleet.recognises(head.decode(errors="replace")):
                yield File(file, _digest(inner.read(BUFFER)), path.stat().st_size)
            elif packed:
                yield from _held(inner, file, most)
            else:
                for block in fleet.blocks(inner, file, most):
                    place = block.offset, len(block.data), _digest(block.data)
                    yield Lines(file, block.line, block.machines, *place)
    except (InputError, OSError) as error:
        yield _refused(file, error)


def _in_stream(stream: Readable, file: str, most: int, skipped: Counter[str]) -> Iterator[Part]:
    """The parts of what can be read only once."""
    inner = unpacked(stream, file, "fleet")
    if archive.recognises(inner.peek(archive.BLOCK)):
        yield from _members(inner, file, most, skipped)
    else:
        yield from _held(inner, file, most)


def _members(stream: Buffered, file: str, most: int, skipped: Counter[str]) -> Iterator[Part]:
    """The parts of the files in an archive."""
    for name, contents in archive.members(stream, file, skipped):
        member = f"{file}:{name}"
        try:
            yield from _held(unpacked(contents, member, "fleet"), member, most)
        except UnreadableError as error:
            if error.file == file:  # the archive is damaged, and nothing more comes out of it
                raise
            yield _refused(member, error)


def _held(stream: Buffered, file: str, most: int) -> Iterator[Part]:
    """The parts of an unpacked file in a stream: lines, or all of it."""
    head = stream.peek(archive.BLOCK)
    if fleet.recognises(head.decode(errors="replace")):
        for block in fleet.blocks(stream, file, most):
            yield HeldLines(file, block.line, block.machines, block.data)
        return
    for what, here in (("an archive", archive.recognises(head)), ("Parquet", head.startswith(parquet.MAGIC))):
        if here:
            raise UnreadableError(file, 0, f"{what} in an archive, packed, or not in a file", "unpack it")
    data = stream.read(limits().bytes + 1)
    hold("bytes", len(data), file)
    yield Held(file, data)


def _rows(file: str, most: int) -> Iterator[Rows]:
    counts, mark = parquet.groups(file)
    for group, count in enumerate(counts):
        for first in range(0, count, most):
            yield Rows(file, mark, group, first, min(most, count - first))


def _resolved(machines: "Iterable[Facts]") -> "Iterator[Found]":
    from kernmalloc.machine.memory_map import resolve

    for told in machines:
        try:
            yield resolve(told)
        except InputError as error:
            yield error
