"""Reader of Linux's /sys/firmware/memmap: the firmware's map as it was before Linux changed it.

Each entry is a folder with the files start, end (included) and type.  They come as a folder, or printed:

    /sys/firmware/memmap/0/start:0x0                 grep . /sys/firmware/memmap/*/*
    ==> /sys/firmware/memmap/0/type <==              head or tail, and the value in the next line
    System RAM
"""

import re
from pathlib import Path

import msgspec

from kernmalloc.inputs.facts import Facts, Problem
from kernmalloc.inputs.maps.printed import lines, put
from kernmalloc.inputs.memory_words import E820_WORDS, squeezed
from kernmalloc.inputs.text import clean

_GREP = re.compile(r"(?<![\w.-])(\d{1,5})/(start|end|type):\s*(\S.*)$")
_HEADING = re.compile(r"==> (?:\S*/)?(\d{1,5})/(start|end|type) <==")
_NUMBER = re.compile(r"0x[0-9a-f]{1,16}$", re.I)
_RECOGNISE = re.compile(r"(?<![\w.-])\d{1,5}/(?:start|end):\s*0x[0-9a-f]|==> (?:\S*/)?\d{1,5}/(?:start|end) <==", re.I)
_PARTS = ("start", "end", "type")


def recognises(head: str) -> bool:
    """Whether `head` has a file of /sys/firmware/memmap."""
    return "/start" in head and bool(_RECOGNISE.search(head))


def recognises_folder(folder: Path) -> bool:
    """Whether a folder is /sys/firmware/memmap or a copy of it."""
    return (folder / "0" / "start").is_file()


def read_folder(folder: Path) -> list[Facts]:
    """The one machine described by a folder.  Raises OSError."""
    entries = [entry for entry in folder.iterdir() if entry.name.isdecimal()]
    files = [entry / part for entry in entries for part in _PARTS if (entry / part).is_file()]
    told = ((file.parent.name, file.name, file.read_text(errors="replace")[:80].strip()) for file in files)
    facts = read("".join(f"{entry}/{part}:{text}\n" for entry, part, text in told), str(folder))
    facts[0].memory = [msgspec.structs.replace(r, line=0) for r in facts[0].memory]
    return facts


def read(text: str, file: str) -> list[Facts]:
    """The one machine described."""
    facts = Facts(file)
    facts.origin = "/sys/firmware/memmap"
    entries: dict[int, dict[str, tuple[int, str]]] = {}
    heading: re.Match[str] | None = None
    for number, line in lines(text):
        if match := _GREP.search(line):
            entries.setdefault(int(match[1]), {})[match[2]] = number, match[3].strip()
        elif heading and line.strip():
            entries.setdefault(int(heading[1]), {})[heading[2]] = number, line.strip()
            heading = None
        elif match := _HEADING.search(line):
            heading = match
        elif line.strip():
            facts.ignored["text around the map"] += 1
    for index, entry in sorted(entries.items()):
        _take(facts, index, entry)
    return [facts]


def _take(facts: Facts, index: int, entry: dict[str, tuple[int, str]]) -> None:
    line = min(number for number, _ in entry.values())
    missing = [part for part in _PARTS if part not in entry]
    if missing:
        facts.missing.append(Problem(line, f"entry without its {' and '.join(missing)}: ignored", str(index)))
        return
    (_, start), (_, end), (_, word) = (entry[part] for part in _PARTS)
    if not (_NUMBER.match(start) and _NUMBER.match(end)):
        facts.unread.append(Problem(line, "entry with an address that is no number: ignored", clean(f"{start} {end}")))
        return
    base, last = int(start, 16), int(end, 16)
    put(facts, line, base, last + 1 - base, E820_WORDS.get(squeezed(word), ""), word)
