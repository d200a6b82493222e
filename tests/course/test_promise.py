"""Exercise 7, solved with the lines of its text alone, by counting frames."""

import re

from exercises import found, lines, solved_as

from kernmalloc.course import Exercise
from kernmalloc.facade.errors import Promised

RECORDS = 4096 // 64  # of heap pages, in a page of the heap map


class Bank:
    """Page space against the promise: frames that may still be taken, of the heap and for DMA."""

    def __init__(self, asked: Exercise, lenient: bool) -> None:
        (self.withheld,) = found("withholds # of them", asked.text)
        self.top, self.map = found("heap has # pages then, none of them idle, and its map #", asked.text)
        self.chunk, self.pages, self.slots = found(
            "chunk for each # of its frames; chunks come in slabs of # pages, # in each", asked.text
        )
        self.lenient, self.heap, self.dma = lenient, 0, 0
        self.held: dict[str, tuple[int, int]] = {}  # page where it begins, or 0; pages or frames

    @property
    def over(self) -> int:
        return self.heap + self.dma - self.withheld

    def take(self, heap: int, dma: int) -> None:
        """Frames, all of them or none."""
        if not self.lenient and self.over + heap + dma > 0:
            raise Promised(-1, "")
        self.heap, self.dma = self.heap + heap, self.dma + dma

    def grow(self, pages: int) -> None:
        """Pages of the heap, behind those that it has, and what the map needs for them."""
        more = max(-(-(self.top + pages) // RECORDS) - self.map, 0)
        self.take(pages + more, 0)
        self.top, self.map = self.top + pages, self.map + more

    def does(self, line: str) -> None:
        amount = int((re.search(r"(?:of|get|gets) (\d+)", line) or ["0", "0"])[1])
        name = re.search(r"\b([A-Z])\b", line)
        if "mallocs" in line:
            start = self.top
            self.grow(amount)
            self.held[name[1]] = start, amount
        elif "publishes" in line:
            self.grow(-(-(amount // self.chunk) // self.slots) * self.pages)
        elif "DMA" in line:
            self.take(0, amount)
            self.held[name[1]] = 0, amount
        elif "frees" in line and name[1] in self.held:
            start, pages = self.held[name[1]]
            self.heap -= pages - 1
            if start + pages == self.top:
                self.top = start + 1
                self.heap -= self.map - -(-self.top // RECORDS)
        elif "back" in line and name[1] in self.held:
            self.dma -= self.held[name[1]][1]


def solve(asked: Exercise) -> list[int | str]:
    told = [line.split(maxsplit=1)[1] for line in lines(asked)]
    lenient, strict = Bank(asked, True), Bank(asked, False)
    over, refused = [], 0
    for line in told:
        lenient.does(line)
        over.append(lenient.over)
        try:
            strict.does(line)
        except Promised:
            refused += 1
    broken = next(at for at, frames in enumerate(over) if frames > 0)
    return [broken + 1, over[broken], lenient.heap, max(over[-1], 0), refused, -strict.over]


test_C13_C14_the_promise_by_hand = solved_as(7, solve)
