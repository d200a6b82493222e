"""Why a range of physical addresses cannot be had: one sentence for each reason, whoever says it."""

from collections.abc import Iterable

from kernmalloc.kernel.core.kern import CARVED_MEMORY, CLASS_NAMES, RAM
from kernmalloc.lang import status

Span = tuple[int, int, int]  # first pfn, one past the last, class of the region

NAMES = {RAM: "RAM", CARVED_MEMORY: "the kernel's image, its boot area, or what the boot loader left in RAM"}
PARTIAL = "not whole pages"


def refusal(code: int) -> str:
    """What a status means for RAM that is added."""
    special = {
        status.BUSY: "the kernel's image or boot area lies there",
        status.NO_VA: "the heap's bound leaves no room for its page structures",
        status.TOO_SMALL: "its page structures take as many frames as it has",
    }
    return special.get(code, status.MEANINGS[code])


def above(end: int, limit: int) -> str:
    """It ends above the limit of physical addresses."""
    return f"ends at {end:#x}, above the physical address limit of {limit:#x}"


def taken(span: Span, shift: int) -> str:
    """Somebody has it already."""
    first, end, kind = span
    what = NAMES.get(kind, CLASS_NAMES[kind])
    return f"the memory map gives {first << shift:#x}-{(end << shift) - 1:#x} to {what}"


def why_not(base: int, end: int, limit: int, spans: Iterable[Span], shift: int) -> str:
    """Why frames [base, end) cannot be had where `spans` are taken; "" if they can."""
    if end > limit:
        return above(end << shift, limit << shift)
    over = [span for span in spans if span[0] < end and base < span[1]]
    return taken(max(over), shift) if over else ""
