"""What the numbers and words of a list of ranges mean, decided by the list as a whole (see `range_list`).

Nothing is guessed in silence: what the list leaves open is told as a doubt.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

from kernmalloc.inputs.maps.range_line import Entry, Number
from kernmalloc.inputs.memory_words import E820, E820_WORDS, EFI, LIMINE, LOADER_WORDS, WORDS, squeezed

GRAIN = 1024
"""Bytes whose multiples the edges of ranges are, but for odd ones."""

NUMBERS = {
    "E820": {**E820, 0x1000: "ram", 0x1001: "image", 0x1002: "reserved"},  # the last three are stivale's
    "Limine": LIMINE,
    "EFI": EFI,
}
"""The systems of numbers for types."""

_CONVENTIONAL = 7  # EFI's number for free memory; every map has some
_EFI_FORM = re.compile(r"\b(?:attr\w*|att|attributes|num_?pages|page_?count)\b", re.I)
_FROM_FIRMWARE = re.compile(r"unknown(uefi|bios)\(\s*(0x[0-9a-f]{1,8}|\d{1,10})", re.I)
_TYPE_ALONE = re.compile(r"[\s|,:;=()\]]*[+#(]?(0x[0-9a-f]{1,16}|0000000[0-9a-f]{9}|\d{1,10})\b(?!\s?[kmgt]i?b)", re.I)
_WORD = re.compile(r"[a-z][a-z0-9]*", re.I)
_WHO_PRINTS = LOADER_WORDS.keys() - E820_WORDS.keys() - {"usable"}
_LONGEST = 5  # words that name a kind together, at most
_LEADING = 8  # words of a text that are looked at for a kind


def value(number: Number, hexadecimal: bool) -> int:
    """What a number stands for; with a unit it is decimal."""
    radix = 16 if number.hexadecimal or (hexadecimal and not number.shift) else 10
    try:
        return int(number.digits, radix) << number.shift
    except ValueError:  # letters in a decimal number
        return int(number.digits, 16) << number.shift


def hexadecimal(told: Iterable[Number]) -> bool | None:
    """Whether numbers without 0x are hexadecimal; None where nothing shows it."""
    digits = [number.digits for number in told if not (number.hexadecimal or number.shift) and number.digits.strip("0")]
    if not digits:
        return True
    if any(set(each) & set("abcdef") for each in digits) or any(each[0] == "0" and len(each) >= 8 for each in digits):
        return True
    whole = [sum(int(each, radix) % GRAIN in (0, GRAIN - 1) for each in digits) for radix in (10, 16)]
    return None if whole[0] == whole[1] else whole[1] > whole[0]


def extent(pairs: list[tuple[int, int]]) -> str:
    """Whether the second of two columns is a "size" or "either" kind of end; "" where nothing shows it."""
    bases = {base for base, _ in pairs}
    if any(second < base for base, second in pairs):
        return "size"
    ordered = sorted(pairs)
    apart = all(base + second <= after for (base, second), (after, _) in pairwise(ordered))
    if not apart:
        return "either"
    as_size = sum(base + second in bases for base, second in pairs if base)
    as_end = sum(bool({second, second + 1} & bases) for base, second in pairs if base)
    if as_size == as_end:
        return ""
    return "size" if as_size > as_end else "either"


def beyond(pairs: list[tuple[int, int, int | None]]) -> tuple[int | None, list[int]]:
    """What to add to the ends of ranges (base, end, size if it is told beside) so that they are the first byte after.

    1 where ends are the last byte, 0 where they are not, None where nothing shows it; and the indexes of the ranges
    that say otherwise than most.
    """
    bases = {base for base, _, _ in pairs}
    votes = []
    for base, end, size in pairs:
        if size is not None and end - base in (size, size - 1):
            votes.append(int(end - base == size - 1))
        elif end in bases or end + 1 in bases:
            votes.append(int(end not in bases))
        elif end % GRAIN == 0 or (end + 1) % GRAIN == 0:
            votes.append(int(end % GRAIN != 0))
        else:
            votes.append(-1)
    last, after = votes.count(1), votes.count(0)
    if last == after == 0:
        return None, []
    most = int(last >= after)
    return most, [index for index, vote in enumerate(votes) if vote == 1 - most]


def system(entries: list[Entry], lines: list[str]) -> str:
    """Whose numbers a list's types are."""
    told = {type_number(entry) for entry in entries}
    if any(entry.means == "pages" for entry in entries) or (
        _CONVENTIONAL in told and any(_EFI_FORM.search(line) for line in lines)
    ):
        return "EFI"
    return "Limine" if 0 in told else "E820"


def type_number(entry: Entry) -> int | None:
    """The number that a line gives as the type of its range."""
    return next((number for said in entry.kinds if (number := _number(said)) is not None), None)


def kind(entry: Entry, numbered: str) -> tuple[str, str, bool]:
    """The kind of memory of an entry ("": unknown), what the line calls it, and whether by a number of a system."""
    for said in entry.kinds:
        if match := _FROM_FIRMWARE.search(said):
            known = EFI if match[1].lower() == "uefi" else E820
            return known.get(_integer(match[2]), "reserved"), match[0] + ")", False
        if found := word(said):
            return WORDS[squeezed(found)], found, False
        if (number := _number(said)) is not None:
            return NUMBERS[numbered].get(number, "reserved"), f"type {number}", True
    if found := word_before(entry):
        return WORDS[squeezed(found)], found, False
    return "", entry.kinds[0].strip(" :,|=()[]")[:40], False


def word_before(entry: Entry) -> str:
    """What the words right before a range call its kind: there "kernel" and "bootloader" say who prints."""
    found = word(entry.before)
    return "" if squeezed(found) in _WHO_PRINTS else found


@lru_cache(maxsize=1024)  # a list has few kinds of memory
def word(text: str) -> str:
    """The longest and first run of words in a text that names a kind of memory; "" if none does."""
    said = _WORD.findall(text.replace("_", " "))[:_LEADING]
    for count in range(min(len(said), _LONGEST), 0, -1):
        for start in range(len(said) - count + 1):
            run = said[start : start + count]
            if squeezed("".join(run)) in WORDS:
                return " ".join(run)
    return ""


def _number(said: str) -> int | None:
    """The number that a text begins with, if it may be a type's."""
    match = _TYPE_ALONE.match(said)
    if not match:
        return None
    return _integer(match[1]) & 0xFFFFFFFF  # above are the attributes of an E820 entry of ACPI 3, read as one number


def _integer(text: str) -> int:
    """A type's number: decimal, or hexadecimal with 0x or in all 16 digits."""
    return int(text, 16 if text[:2].lower() == "0x" or len(text) == 16 else 10)
