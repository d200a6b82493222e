"""Single bits of a kernel's metadata, turned over one by one. No flip ends the process, and none gives a byte two
owners without being found. What is not found is not read, or harmless, for a reason that stands here."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from effort import EFFORT
from flips import IN_CHECK, Scene, furnish, small
from metadata import TABLES, Metadata
from numpy.typing import NDArray

from kernmalloc.drivers import hosted_flips as driver
from kernmalloc.kernel.core.kern import Kern

TRIALS = 20_000
RUNNER = Path(__file__).parents[2] / "flips.py"
WELL = (driver.FOUND, driver.NO_EFFECT, driver.OTHER)  # what may become of a flip

PADDING = "no field has these bytes"
FREE = "nobody has the slot"
HISTORY = "says how often, or which number is next: nothing is found by it"
EVER = "whether any: only a flip that makes it 0 does harm, and then memory is vouched for that may not be zero"
UNREAD = "is written before it is read, or never read"
CALLERS = "is for whoever has the frame, range or thread to say"
SHARED = "the driver may write here what it likes, and the kernel believes none of it"
SHUT = "may be shut, or as long as the heap map was: more calls take the lock, and the next one sets it"
HINT = "says where to look first, and any place that there is will do"
HARMLESS = {
    "Cache": {"-": PADDING},
    "Chunk, free": {"-": FREE},
    "Cpu": {
        "-": PADDING, "chunk_groups.base": UNREAD, "frame_groups.base": UNREAD, "stacks": UNREAD,
        "flags": UNREAD, "run": UNREAD, "opened": HISTORY, "shared.gives": SHUT,
        "chunks.last": "so much room there may be in a stock", "frames.last": "so much room there may be in a stock",
    },
    "Depend, free": {"-": FREE},
    "Frame of a device": {"pins": CALLERS, "link": CALLERS, "owner": CALLERS},
    "Frame page": {"pins": CALLERS},
    "Identity": {"oid": UNREAD, "next": UNREAD, "prev": UNREAD},
    "Kern": {
        "-": PADDING, "checked": UNREAD, "adding": UNREAD, "moved": HISTORY, "peak": HISTORY,
        "pages.evictions": HISTORY,
        "pages.hits": HISTORY, "pages.misses": HISTORY, "pages.reads": HISTORY, "pages.writes": HISTORY,
        "recycled": EVER, "returned": EVER, "stalls.late": HISTORY, "stalls.made": HISTORY,
        "stalls.stalled": HISTORY, "stalls.tickets": HISTORY, "wanted": UNREAD,
    },
    "Page": {"pins": CALLERS, "uses": HISTORY, "queue": "where a page that is being read will go"},
    "Region": {"attribute": CALLERS, "guaranteed": CALLERS, "hint": HINT},
    "Region, free": {"-": FREE},
    "Ring": {
        "-": PADDING, "asked": SHARED, "answered": SHARED, "answers.frame": SHARED, "answers.status": SHARED,
        "requests.frame": SHARED, "requests.oid": SHARED,
    },
    "Thread": {
        "-": PADDING, "cleaner": CALLERS, "number": "for people only", "until": CALLERS,
        "need": "it waits for another page that is being read, and then tries again",
    },
    "Thread, free": {"-": FREE},
    "Umap, free": {"-": FREE},
    "user table": {"-": "use of a page marks its entry; whether it may be written to is told only of clean pages"},
    "ghosts": {"-": "says that a page may have been here"},
    "padding": {"-": PADDING},
}  # fmt: skip
"""What may go unnoticed, by record and field, and why. What stands here has no effect on what is given out to whom."""


def tried(bits: NDArray[np.int64], waiting: bool, folder: Path) -> NDArray[np.uint8]:
    """What becomes of each flip."""
    outcomes = folder / "outcomes"
    bits.tofile(folder / "bits")
    outcomes.write_bytes(bytes(len(bits)))
    subprocess.run([sys.executable, RUNNER, folder / "bits", outcomes, str(int(waiting))], check=True)
    return np.fromfile(outcomes, np.uint8)


def judge(metadata: Metadata, bits: NDArray[np.int64], outcomes: NDArray[np.uint8]) -> dict[str, set[str]]:
    """The fields of which a flip was not found, by record. Each flip must be found, or have no effect, or a reason."""
    unnoticed = defaultdict(set)
    for bit, outcome in zip(bits[outcomes != driver.FOUND], outcomes[outcomes != driver.FOUND], strict=True):
        piece = metadata.of(int(bit))
        assert outcome in WELL, f"bit {int(bit):#x} of {piece}: outcome {outcome}"
        assert piece.field in HARMLESS.get(piece.record, {}), f"bit {int(bit):#x} of {piece} has no effect known here"
        unnoticed[piece.record].add(piece.field)
    return unnoticed


@pytest.fixture(params=[False, True], ids=["quick", "waiting"])
def scene(request: pytest.FixtureRequest) -> tuple[bool, Metadata]:
    """Whether threads wait in a scene, so that quick ways are shut, and its metadata, as it is in every process."""
    scene = Scene(request.param)
    try:
        assert scene.kernel.check().passed
        return request.param, Metadata(scene.kernel)
    finally:
        scene.kernel.close()


def test_flips_at_random(scene, tmp_path):
    """Bits drawn by seed, half of them field by field."""
    waiting, metadata = scene
    bits = metadata.sample(TRIALS // 2, seed=EFFORT)
    judge(metadata, bits, tried(bits, waiting, tmp_path))


def test_nothing_is_read_that_is_not_there():
    """On the soft machine, where that is a Fault: the check of damaged records ends, and tells what it found. It
    changes nothing: after all that it passes. Page tables are left out, which the soft machine itself reads."""
    with small("soft") as kernel:
        furnish(kernel)
        blocks = [kernel.malloc(size) for size in (16, 16, 100, 300, 600, 5000, 33000)]
        nodes = [kernel.cache("node").get() for _ in range(4)]
        kernel.cache("node").put(nodes[1])
        kernel.cpu(1).free(blocks[1])
        for va in blocks[4:]:
            kernel.free(va)
        metadata = Metadata(kernel, without=TABLES)
        memory = kernel.handle.life.ram.bytes
        for bit in metadata.sample(TRIALS // 10, seed=EFFORT).tolist():
            memory[bit >> 3] ^= 1 << (bit & 7)
            found = kernel.check()
            assert found.passed == (not found.failure), metadata.of(bit)
            memory[bit >> 3] ^= 1 << (bit & 7)
        assert kernel.check().passed


@pytest.mark.nightly
def test_every_bit(scene, tmp_path):
    """All of the metadata of a kernel of 64 frames."""
    waiting, metadata = scene
    bits = metadata.bits()
    judge(metadata, bits, tried(bits, waiting, tmp_path))


def test_the_watch_sees_what_it_is_for(tmp_path):
    """A block that was written to, and one that overlaps another or lies beyond the heap, is seen; a trial that ends
    its process is noted, and the next one follows."""
    scene = Scene()
    try:
        live = next(int(block["at"]) for block in scene.flips["given"] if block["kind"] == driver.FRAMES)
        for at, wrong in ((live, driver.OVERLAP), (int(scene.flips["heap_end"]), driver.WILD)):
            assert scene.run("flips_note", at, 16) < 0 and scene.flips["wrong"] == wrong
        assert scene.run("flips_begin") == 0
        padding, first = int(scene.kernel.handle.loaded.kern_pa) + Kern.offset("lock") + 4, int(scene.flips["first"])
        bit, outcome = np.array([(padding - first) << 3], np.int64), np.zeros(1, np.uint8)
        for expected in (driver.NO_EFFECT, driver.OVERLAP):
            scene.run("flips_run", bit.ctypes.data, outcome.ctypes.data, 0, 1)
            assert outcome[0] == expected
            scene.kernel.handle.life.ram.bytes[live - driver.FRAME_SPACE] ^= 1  # somebody writes to the block
    finally:
        scene.kernel.close()
    assert tried(np.array([1 << 62, padding << 3]), False, tmp_path).tolist() == [IN_CHECK, driver.NO_EFFECT]
