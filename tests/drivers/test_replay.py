"""The loops that replay: whatever is given out must stay its owner's, and be taken back."""

import pytest
from small_machines import MIB, conserved, machine, poke

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.traces.trace import Recorder
from kernmalloc.kernel.core.kern import PAGE, Word
from kernmalloc.sim.replay import Replayed, Stage, Wrong


@pytest.fixture
def stage():
    recorder = Recorder("two")
    for key, bytes in enumerate((100, 40_000)):
        recorder.block(key, bytes)
    recorder.object(2, "object", 60)
    recorder.pages(3, 1)
    trace = recorder.trace("two")
    with Kernel.boot(machine((0, 16 * MIB)), Profile.load("eros2")) as kernel:
        stage = Stage(kernel, trace)
        stage.marked(trace.ops)
        yield stage


def given_out(stage, slot):
    """What the kernel gave for a slot."""
    return int(stage._slots.get(Word.dtype, slot + 1)["bits"][slot])


def test_nothing_is_left_of_a_replay(stage):
    done = Replayed(file="two")
    stage.end(done)
    assert done.assertions > 0 and done.lost == 0
    conserved(stage.kernel)


@pytest.mark.parametrize("slot, offset", [(0, 0), (0, 48), (0, 96 + 8), (1, 0), (1, 20_000), (1, 40_952), (2, 56)])
def test_a_block_with_two_owners_is_seen(stage, slot, offset):
    """Whoever wrote anywhere in a block was not its owner."""
    poke(stage.kernel.view, given_out(stage, slot) + offset, b"\1")
    with pytest.raises(Wrong, match=f"operation {slot}: an invariant does not hold"):
        stage.end(Replayed(file="two"))


@pytest.mark.parametrize("order", [0, 3, 5, 6, 9])
def test_frames_that_are_given_out_twice_are_seen(order):
    """A block in another, at its ends and within: when it is got, whichever of its frames are marked."""
    recorder = Recorder("nested")
    recorder.pages(1, 9)
    recorder.pages(2, order)
    trace = recorder.trace("nested")
    for at in {0, 1 << 8 & -(1 << order), (1 << 9) - (1 << order)}:
        with Kernel.boot(machine((0, 16 * MIB)), Profile.load("eros2")) as kernel:
            stage = Stage(kernel, trace)
            stage.marked(trace.ops[:1])
            whole = given_out(stage, 0)
            while kernel.call("frame_get", PAGE) >= 0:
                pass
            kernel.frame_put(whole)
            while (got := kernel.call("block_get", order, PAGE)) >= 0:
                assert 0 <= got - whole < 1 << 9
            kernel.frame_put(whole + at)  # the only block that is free now
            with pytest.raises(Wrong, match="operation 0: an invariant does not hold"):
                stage.marked(trace.ops[1:])
            assert given_out(stage, 1) == whole + at


@pytest.mark.parametrize("frame", [0, 1])
def test_a_frame_with_two_owners_is_seen(stage, frame):
    at = (given_out(stage, 3) + frame) * 4096
    stage.kernel.view.ram.bytes[at : at + 1] = b"\1"
    with pytest.raises(Wrong, match="operation 3: an invariant does not hold"):
        stage.end(Replayed(file="two"))


def test_a_block_that_is_freed_by_another_is_seen(stage):
    """In the replays that are timed, too: its own free is refused."""
    stage.kernel.free(given_out(stage, 0))
    with pytest.raises(Wrong, match="a free: the address or frame is free already"):
        stage.timed(stage.ending[:0], lambda done: None)


def test_a_block_that_is_left_is_seen(stage):
    stage.kernel.malloc(1000)
    with pytest.raises(Wrong, match="frames before and after"):
        stage.end(Replayed(file="two"))
