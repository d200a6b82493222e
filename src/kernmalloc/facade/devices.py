"""Device ranges of a booted kernel: publish and withdraw them, use their frames, see what is left."""

from dataclasses import dataclass

from kernmalloc.facade.errors import checked
from kernmalloc.facade.handle import Handle
from kernmalloc.kernel.core import kern as k
from kernmalloc.kernel.devices import ANYONE, CHUNK_FRAMES, LAST_WORDS
from kernmalloc.kernel.heap.caches import CHUNK_CACHE, LAST_CACHE
from kernmalloc.lang import status
from kernmalloc.machine.arch import ATTRIBUTE_NAMES


@dataclass(frozen=True)
class Reserve:
    """Entry chunks, of 32 frames each: how many there is memory for, and how many are free."""

    chunks: int
    free: int

    @property
    def frames(self) -> int:
        """Device frames that the free chunks could describe."""
        return self.free * CHUNK_FRAMES


class Devices:
    """The devices of one kernel. Addresses and sizes are bytes, whole pages; frames are pfns."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._shift = handle.profile.page_shift

    def publish(
        self, base: int, size: int, guarantee: int | None = None, kind: str = "device", last_words: bool = False
    ) -> None:
        """Make a range of device memory known, with entries paid for `guarantee` frames, by default for all (C10).

        `last_words`: from the entries kept for console and boot devices (C22). Raises BadRequest (not whole pages),
        Busy (overlaps, inside RAM, beyond the address limit), OutOfMemory (the reserve is used up), WouldBlock; then
        nothing has changed."""
        what = f"publish({base:#x}, {size:#x})"
        page, shift = self._handle.profile.page, self._shift
        if base % page or size % page or size <= 0:
            checked(status.BAD_SIZE, f"{what}: not whole pages of {page} bytes")
        frames = size >> shift
        tier = LAST_WORDS if last_words else ANYONE
        paid = frames if guarantee is None else guarantee
        checked(self._handle.call("publish", base >> shift, frames, k.CLASS_NAMES.index(kind), paid, tier), what)

    def withdraw(self, base: int) -> None:
        """Take a published range away. Raises BadAddress (none starts there), Busy, naming the frames in use."""
        result = self._handle.call("withdraw", base >> self._shift)
        used = self._handle.call("device_used", base >> self._shift) if result == status.BUSY else 0
        checked(result, f"withdraw({base:#x})" + (f": {used} of its frames are in use" if used else ""))

    def get(self, pfn: int) -> None:
        """Use a device frame. Raises BadAddress, OutOfMemory beyond the guarantee; nothing is mapped then."""
        checked(self._handle.call("device_get", pfn), f"get({pfn:#x})")

    def put(self, pfn: int) -> None:
        """Let a device frame go. Raises BadAddress."""
        checked(self._handle.call("device_put", pfn), f"put({pfn:#x})")

    def cache(self, base: int, attribute: str) -> None:
        """Say how a published range is cached: one of `ATTRIBUTE_NAMES`. Raises BadAddress, BadRequest (not on this
        architecture), Busy (frames of it are in use)."""
        known = attribute in ATTRIBUTE_NAMES
        number = ATTRIBUTE_NAMES.index(attribute) if known else len(ATTRIBUTE_NAMES)
        checked(self._handle.call("device_cache", base >> self._shift, number), f"cache({base:#x}, {attribute!r})")

    @property
    def reserve(self) -> Reserve:
        """Entry chunks for any driver."""
        return self._reserve(CHUNK_CACHE)

    @property
    def last_words(self) -> Reserve:
        """Entry chunks kept for last words."""
        return self._reserve(LAST_CACHE)

    def _reserve(self, id: int) -> Reserve:
        cache = self._handle.view.cache(id)
        chunks = int(cache["slabs"]) * int(cache["slots"])
        return Reserve(chunks, chunks - self._handle.view.used_slots().get(id, 0))


@dataclass(frozen=True)
class Ledger:
    """What the space bank was promised, in frames, and how every frame that moved stands against it (C13, C14)."""

    promised: int
    available: int  # free, or pages
    opening: int  # available when the boot was over
    added: int  # of RAM that came since
    withheld: int  # of those, not promised: declared growth
    heap: int  # frames that heap, mapping tables and core tables beside it took since (negative: gave back)
    dma: int  # frames that DMA holds
    lenient: bool

    @property
    def broken_by(self) -> int:
        """Frames that the bank is short of; only a lenient profile lets it come to that."""
        return max(self.promised - self.available, 0)
