"""Exercise 7: the bank's promise. Which actions leave the bank fewer frames than it was promised, and by how many.

The actions are done one after the other on two kernels: one lets growth break the promise, and its ledger says by how
much; the other refuses.
"""

from random import Random
from typing import NamedTuple

from kernmalloc.course.machines import IMAGE, MIB, PAGE, booted, kernel_toml, machine_toml
from kernmalloc.course.shape import Question, Task
from kernmalloc.facade.devices import Ledger
from kernmalloc.facade.errors import Promised
from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.devices import CHUNK_FRAMES, chunk_bytes
from kernmalloc.plan.scratch import Scratch, Slabs

TITLE = "The bank's promise"
RAM = IMAGE[0], 8 * MIB
LEAST = 10  # pages of a block: smaller ones are slots of a size class
CARD = 0xF000_0000  # where a card has its memory


class Action(NamedTuple):
    """What is done: a letter that names the block, the frames or the card; and pages or frames."""

    what: str
    name: str
    amount: int

    def __str__(self) -> str:
        return WORDS[self.what].format(name=self.name, amount=self.amount)


WORDS = {
    "malloc": "the kernel mallocs block {name}, of {amount} pages",
    "free": "the kernel frees block {name}",
    "dma": "a driver gets {amount} contiguous frames for DMA, {name}",
    "put": "the driver gives {name} back",
    "pages": "processes get {amount} frames for their pages",
    "publish": "a driver publishes card {name}, of {amount} frames",
}


class Done(NamedTuple):
    """What a kernel did: the ledger after each action; the numbers of those that it refused, from 1."""

    after: list[Ledger]
    refused: list[int]


def profile(withheld: int, lenient: bool) -> str:
    """The kernel that withholds so many frames from the bank."""
    return kernel_toml(bank=f"withheld = {withheld}\nlenient = {str(lenient).lower()}")


def done(actions: list[Action], withheld: int, lenient: bool) -> Done:
    """Do all actions, but those on what was refused."""
    after, refused, held = [], [], dict[str, int]()
    with booted(machine_toml(RAM), profile(withheld, lenient)) as kernel:
        for number, action in enumerate(actions, 1):
            try:
                _do(kernel, action, held)
            except Promised:
                refused.append(number)
            after.append(kernel.ledger)
    return Done(after, refused)


def _do(kernel: Kernel, action: Action, held: dict[str, int]) -> None:
    """Do one. `held`: where what was allocated is."""
    name, amount = action.name, action.amount
    if action.what == "malloc":
        held[name] = kernel.malloc(amount * PAGE)
    elif action.what == "dma":
        held[name] = kernel.range_get(amount)
    elif action.what == "publish":
        kernel.devices.publish(CARD, amount * PAGE)
    elif action.what == "pages":
        for _ in range(amount):
            kernel.frame_get("page")
    elif name in held:
        kernel.free(held[name]) if action.what == "free" else kernel.range_put(held[name], amount)


def story(numbers: Random) -> tuple[list[Action], int]:
    """Actions, and how many frames are withheld from the bank: about what half of them take."""
    first, second, third = (numbers.randrange(LEAST, 60) for _ in range(3))
    dma, more = numbers.randrange(5, 40), numbers.randrange(5, 40)
    actions = [
        Action("malloc", "K", first),
        Action("malloc", "L", second),
        Action("dma", "D", dma),
        Action("dma", "E", more),
        Action("publish", "C", CHUNK_FRAMES * numbers.randrange(4, 100)),
        Action("pages", "", numbers.randrange(5, 80)),
    ]
    numbers.shuffle(actions)
    back = [Action("free", *numbers.choice([("K", first), ("L", second)])), Action("put", "D", dma)]
    numbers.shuffle(back)
    return [*actions, back[0], Action("pages", "", third), back[1]], (first + second + dma + more) // 2


def task(numbers: Random) -> Task:
    """A story in which the promise is broken, and the kernel that refuses ends elsewhere."""
    actions, withheld = story(numbers)
    free, strict = done(actions, withheld, lenient=True), done(actions, withheld, lenient=False)
    broken = next(number for number, ledger in enumerate(free.after, 1) if ledger.broken_by)
    with booted(machine_toml(RAM), profile(withheld, lenient=True)) as kernel:
        text = _text(kernel, actions, withheld)
    first, last, end = free.after[broken - 1], free.after[-1], strict.after[-1]
    return Task(
        text,
        (
            Question(
                prompt="After which action is the promise broken for the first time?",
                unit="number of the line",
                answer=broken,
                why=f"The heap has taken {first.heap} frames then, and DMA has {first.dma}: together more than the "
                f"{withheld} that were withheld. Frames for pages stay in page space; they are what was promised.",
            ),
            Question(
                prompt="By how many frames is it broken then?",
                unit="frames",
                answer=first.broken_by,
                why=f"{first.heap} + {first.dma} - {withheld}.",
            ),
            Question(
                prompt="How many frames has the heap taken from page space at the end, its map and leaf tables "
                "included?",
                unit="frames",
                answer=last.heap,
                why="The pages of the blocks and the slabs of chunks, less what was freed but for the page that stays "
                "idle; and the pages of the heap map that were added, one for each 64 pages of the heap begun.",
            ),
            Question(
                prompt="By how many frames is the promise broken at the end? 0: it is not.",
                unit="frames",
                answer=last.broken_by,
                why=f"{last.heap} + {last.dma} - {withheld}, if that is above 0.",
            ),
            Question(
                prompt="Another kernel is not lenient, and refuses what would break the promise. How many actions does "
                "it refuse?",
                unit="actions",
                answer=len(strict.refused),
                why=f"It refuses {', '.join(map(str, strict.refused))}: those that do not fit into what is left when "
                "their turn comes. What is refused takes nothing.",
            ),
            Question(
                prompt="By how many frames is page space above the promise at the end in that kernel?",
                unit="frames",
                answer=end.available - end.promised,
                why=f"{withheld} - {end.heap} of the heap - {end.dma} for DMA.",
            ),
        ),
        machine_toml(RAM),
        profile(withheld, lenient=True),
    )


def _text(kernel: Kernel, actions: list[Action], withheld: int) -> str:
    lines = "\n".join(f"  {number}  {action}" for number, action in enumerate(actions, 1))
    kern, ledger = kernel.view.kern, kernel.ledger
    chunks = Slabs(kernel.profile.page_shift, Scratch(kern.tobytes()).ask(chunk_bytes))
    return f"""\
When the boot of a kernel is over, {ledger.available:,} frames are in page space. It withholds {withheld} of them, and
promises the other {ledger.promised:,} to the space bank. The promise is kept as long as page space has so many
frames, free ones and those that hold pages. The heap has {int(kern["backed"])} pages then, none of them idle, and its
map {int(kern["map_pages"])}. This happens:

{lines}

The heap takes frames from page space one by one, as many as it needs. What it allocates lies behind all that it has.
Of a block that is freed it keeps the first page idle, and gives the others back. The heap map has a record of 64 bytes
for each page from the first of the heap to the last that has a frame: so many whole pages of 4096 bytes as that takes,
more or fewer. Leaf tables are there for all that happens here. Publishing a card takes a chunk for each {CHUNK_FRAMES}
of its frames; chunks come in slabs of {chunks.pages} pages, {chunks.slots} in each, and no slab is there at first. A
record for the card is there already. Frames for DMA have left page space until they are given back."""
