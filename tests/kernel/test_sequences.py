"""Whatever comes and goes, in any order: nothing leaks, every invariant holds after every step (C1, C11 to C18, E25,
E27)."""

import random
from collections import Counter

import pytest
from device_model import World
from heap_model import altered, effort
from msgspec.structs import replace
from small_machines import MIB, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import STRATEGIES, Bank, Devices, Heap, ObjectType, Profile
from kernmalloc.plan.plan import with_strategy

SEQUENCES = effort(2).max_examples  # of each strategy
BATCH = 20  # of them on one machine, which goes on from how the last one left it

OBJECTS = (
    ObjectType(name="node", size=556, per_page=0.1, last_words=7),
    ObjectType(name="process", size=768, pages_per=64),
    ObjectType(name="depend", size=96, per_page=0.5),
    ObjectType(name="big", size=5000, count=9, last_words=1),
)
WINDOW = 32 * MIB


def tuned(strategy: str, chance: random.Random) -> Profile:
    """A small kernel with tunables by chance."""
    pick = chance.choice
    return replace(
        with_strategy(altered("eros2", window=WINDOW), strategy),
        heap=Heap(
            growth_frames=pick((1, 4, 16)),
            growable=pick((0, 64 << 10, MIB)),
            spare=pick((0, 64 << 10, 2 * MIB)),
            excess=2 * MIB,
        ),
        devices=Devices(
            ranges=pick((0, 4, 40)),
            frames=pick((0, 40, 500, 2000)),
            last_words=pick((0, 1, 64, 256)),
            last_maps=pick((0, 2)),
        ),
        bank=Bank(withheld=pick((0, 20, 200, 1000)), promised=pick((0, 0, 500)), lenient=pick((False, True))),
        objects=OBJECTS[: pick((1, 4, 4))],
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_E25_E27_every_counter_returns_to_its_start(strategy):
    """E25, E27, C1, C11, C18: random publishing, withdrawing, malloc, free, release and more, with `check` after each
    step; what refuses changes nothing; when all is withdrawn and freed, every counter is where it began, or as
    `release` left it."""
    steps, refused, shortages, released = 0, 0, Counter(), 0
    for seed in range(SEQUENCES // BATCH):
        chance = random.Random(f"{strategy} {seed}")
        computer = machine((0, 640 << 10), (MIB, chance.choice((11, 13)) * MIB), (16 * MIB, 256 << 10))
        with Kernel.boot(computer, tuned(strategy, chance)) as kernel:
            world = World(kernel, seed)
            for number in range(BATCH):
                if world.released and chance.randrange(3) == 0:
                    world.restart()
                try:
                    world.sequence(chance.choice((10, 30, 60)))
                except AssertionError as error:
                    error.add_note(f"{strategy}, seed {seed}, sequence {number}:\n" + "\n".join(map(str, world.log)))
                    raise
            steps, refused, released = steps + world.steps, refused + world.refused, released + world.releases
            shortages += world.shortages
    told = f"{strategy}: {SEQUENCES:,} sequences, {steps:,} steps, {refused:,} refused, "
    told += f"{dict(shortages)}, {released:,} released"
    assert (
        refused > SEQUENCES and shortages.total() > SEQUENCES // 2 and (released > 0) == STRATEGIES[strategy].affine
    ), told
    print(told)
