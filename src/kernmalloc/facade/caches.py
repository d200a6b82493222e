"""The object caches of a booted kernel: which there are, by name, and `get` and `put` of each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy

from kernmalloc.facade.errors import checked
from kernmalloc.facade.handle import Handle
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.heap.caches import FIRST_TYPE, LAST_MAP_CACHE, REGION_CACHE
from kernmalloc.kernel.heap.slabs import is_own
from kernmalloc.lang.records import hexadecimal
from kernmalloc.results.tables import Rows, table

if TYPE_CHECKING:
    import pyarrow


class CacheNames(NamedTuple):
    """Names of caches by number: of the profile's object types, and of what is kept for last words."""

    typed: dict[int, str]
    last_words: dict[int, str]


def cache_names(profile: Profile, frames: int) -> CacheNames:
    """The caches that a kernel makes at boot, on a machine with that many frames of RAM."""
    names = CacheNames({REGION_CACHE: "region"}, {LAST_MAP_CACHE: "mapping frame"})
    wanted, next_id = profile.wanted_counts(frames), FIRST_TYPE
    for kind in profile.objects:
        for by_id, exists in ((names.typed, wanted[kind.name]), (names.last_words, kind.last_words)):
            if exists:
                by_id[next_id] = kind.name
                next_id += 1
    return names


class ObjectCache:
    """One object type's cache: `get` and `put` objects of it (E19, E22)."""

    def __init__(self, handle: Handle, id: int, name: str) -> None:
        self._handle, self.id, self.name = handle, id, name

    def get(self) -> int:
        """A new object: its address. Raises OutOfMemory, WouldBlock; BadAddress if the type is the kernel's own."""
        return checked(self._handle.call("cache_get", self.id), f"{self.name}.get()")

    def put(self, va: int) -> None:
        """Give an object back. Raises BadAddress."""
        checked(self._handle.call("cache_put", self.id, va), f"{self.name}.put({hexadecimal(va)})")

    def get_bulk(self, count: int) -> list[int]:
        """So many new objects, or none: their addresses. Raises as `get`, and BadRequest."""
        with self._handle.numbers(count) as (va, objects):
            checked(self._handle.call("cache_get_bulk", self.id, count, va), f"{self.name}.get_bulk({count})")
            return list(map(int, objects))

    def put_bulk(self, objects: Sequence[int]) -> None:
        """Give all of these objects back, or none. Raises BadAddress, BadRequest (none at all)."""
        with self._handle.numbers(len(objects)) as (va, numbers):
            numbers[: len(objects)] = objects
            what = f"{self.name}.put_bulk of {len(objects)}"
            checked(self._handle.call("cache_put_bulk", self.id, len(objects), va), what)

    @property
    def state(self) -> numpy.void:
        """The cache's record."""
        return self._handle.view.cache(self.id)

    @property
    def own(self) -> bool:
        """Whether its objects are the kernel's own: callers get none."""
        return bool(is_own(self.id))

    @property
    def size(self) -> int:
        """Bytes of one object as declared."""
        return int(self.state["object"])

    @property
    def wanted(self) -> int:
        """Objects that the profile's ratio asks for on this machine."""
        return int(self.state["wanted"])

    @property
    def limit(self) -> int:
        """Objects there may be, in whole slabs: the lesser of wanted and what the window holds."""
        return int(self.state["limit"]) * int(self.state["slots"])

    @property
    def used(self) -> int:
        """Objects given out now, recounted."""
        return self._handle.view.used_slots().get(self.id, 0)

    @property
    def slots(self) -> int:
        """Objects for which there is memory now."""
        return int(self.state["slabs"]) * int(self.state["slots"])

    @property
    def figures(self) -> "CacheFigures":
        """All of it as it is now."""
        return CacheFigures(self.name, self.own, self.size, self.wanted, self.limit, self.slots, self.used)


class CacheFigures(NamedTuple):
    """A cache at one moment: bytes of an object; all else counts objects."""

    name: str
    own: bool
    size: int
    wanted: int
    limit: int
    slots: int
    used: int


class Caches(Rows[ObjectCache]):
    """Caches in order."""

    def to_arrow(self) -> "pyarrow.Table":
        """A table of the figures of each, as they are now. Raises NoArrow, LifeError if the kernel is closed."""
        return table(CacheFigures, (cache.figures for cache in self))
