"""Events of heap and pages, as a line of a recording tells them, whatever printed it.

An event begins where its name does, wherever that is in the line: anything may stand before it. What tells it from a
process's name or from prose is a known field behind it.

    tracefs      bash-19815   [001] d..1.  1219.004382: kmalloc: call_site=f+0x24/0x1f0 ptr=00000000ba3a5bc7 ...
    trace-cmd    bash-19815   [001]  1219.004382: kmalloc:              call_site=f+0x24 ptr=0xffff8881ba3a5bc7 ...
    perf script  bash 19815 [001]  1219.004382:   kmem:kmalloc: call_site=f+0x24 ptr=0xffff8881ba3a5bc7 ...
    perf trace   0.012 bash/19815 kmem:kmalloc(call_site: -2126, ptr: 0xffff8881ba3a5bc7, bytes_req: 64, ...)
    LTTng        [13:42:34.123] (+0.000001) host kmem_kmalloc: { cpu_id = 0 }, { call_site = 0xFF, ptr = 0xFFFF, ...
    bpftrace     tracepoint:kmem:kmalloc { .call_site = 18446744071, .ptr = 0xffff8881ba3a5bc7, .bytes_req = 64, ...
    memleak -t   (b'bash', 19815, 3, b'...11', 3393.638436, b'alloc exited, size = 64, result = 56140ebca620')
    LTTng-UST    [20:38:11.907] (+0.000002) host lttng_ust_libc:malloc: { cpu_id = 1 }, { size = 4, ptr = 0x151BD40 }

Fields come in another order from one kernel to the next, and some not at all. Needed are ptr and, to allocate,
bytes_req; of pages pfn (or else page) and order. `perf trace` leaves out a field that is zero. A cache without a name
is known by its objects' size. Pointers may be hashed, which does no harm.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.traces.trace import Recorder

OBJECTS = ("kmem_cache_alloc", "kmem_cache_alloc_node")
BLOCKS = ("kmalloc", "kmalloc_node")
FREES = ("kfree", "kmem_cache_free")
PAGE_FREES = ("mm_page_free", "mm_page_free_direct", "mm_pagevec_free")
NAMES = (*OBJECTS, *BLOCKS, *FREES, "mm_page_alloc", *PAGE_FREES)

_LTTNG = "kmem_"  # before some names
_NAMES = sorted(
    (*NAMES, *(_LTTNG + name for name in NAMES if not name.startswith(_LTTNG))), key=lambda name: (-len(name), name)
)
_BEGINS = r"(?<![\w=./-].)"  # after its first letter: there are few of these in a line
_NAMED = "|".join(
    f"{letter}{_BEGINS}(?:{'|'.join(name[1:] for name in _NAMES if name[0] == letter)})" for letter in "km"
)
EVENT = re.compile(
    rf"({_NAMED})(:\s*|\(|\s+(?=\{{))(?:\([^()]*\)\s+)?((?:\{{[^{{}}]*\}},\s*)*)"
    r"(?=(?:\{\s*)?\.?(?:call_site|ptr|name|bytes_req|page|pfn|order)\s*[=:])"
)
"""An event up to its fields. Groups: its name, what ends that, contexts."""

BARE = re.compile(rf"({_NAMED}):(\s*|\s+[a-z_]+\s*)$")
"""An event whose fields are not on its line, but for a part of a name. Groups: its name, the part."""

INSIDE = re.compile(r"\[\d+\]\s[^\[\]]*?\d:\s+[\w:]+:\s")
"""Another event, whose text this one would be."""

PROGRAM = re.compile(
    r"\blttng_ust_libc:(malloc|calloc|realloc|memalign|posix_memalign|free): |"
    r"\balloc exited, size = (\d{1,20}), result = ([0-9a-f]{1,16})\b|\bfree entered, address = ([0-9a-f]{1,16})\b"
)
"""An event of a program's heap, as LTTng-UST's or memleak's."""

_ENDS = r"""(?=[\s)}\]\\"'<&;|]|,(?!\d)|$)"""
_NUMBER = rf"(0x[0-9a-f]{{1,16}}|-?\d{{1,20}}){_ENDS}"
_ADDRESS = rf"(?:0x)?([0-9a-f]{{1,16}}|\d{{17,20}}|\((?:nil|null)\)|NULL){_ENDS}"
_FIELDS = {
    name: re.compile(rf"\b{name}\s*[=:]\s*{value}", re.I)
    for value, names in (
        (_ADDRESS, ("ptr", "page", "in_ptr", "out_ptr")),
        (_NUMBER, ("pfn", "order", "bytes_req", "size", "nmemb", "result")),
    )
    for name in names
}
_NAME = re.compile(
    r'\bname\s*[=:]\s*(?:"([^"]*)"|'
    r"(.*?)\s*(?:$|\s(?:call_site|ptr|bytes_req|bytes_alloc|gfp_flags|node|accounted)=|, \.?\w+ ?[=:]|[)}]\s*$))"
)
_HIDDEN = re.compile(r"\b(?:ptr|page)=\(_+ptrval_+\)")
_SHOWN = 60  # characters of a value that cannot be used
_WHOLE = 16  # digits of an address that nothing can follow
_NO_FRAME = (0, -1, (1 << 32) - 1, (1 << 64) - 1)  # of pages that were not allocated
_NO_BLOCK = (0, 16)  # NULL, and what kmalloc(0) returns
_NO_MEMORY = (0, (1 << 64) - 1)  # what a program gets that gets none: NULL, MAP_FAILED


class Said(NamedTuple):
    """What an event says: the key and, where it allocates, how much of which cache. `whole`: its line cannot have been
    cut within a value."""

    event: str
    key: int
    amount: int
    cache: str
    whole: bool


class Unsaid(NamedTuple):
    """Why an event says nothing, and what to do about it."""

    reason: str
    advice: str = ""


def form_of(event: re.Match[str]) -> str:
    """What printed an event."""
    _, end, contexts = event.groups()
    if end == "(":
        return "perf trace"
    if contexts or event.string[event.end()] == "{":
        return "LTTng" if end[0] == ":" else "bpftrace"
    if event.string.endswith("kmem:", 0, event.start()):
        return "perf script"
    return "trace-cmd report" if len(end) > len(": ") else "tracefs"


def said(event: str, fields: str, zeros: bool) -> Said | Unsaid:
    """What an event's fields say; with `zeros` a field that is not there is zero."""
    event = event if event in NAMES else event.removeprefix(_LTTNG)
    pages = event.startswith("mm_")
    owner = "ptr" if not pages else "page" if "page" in fields and not re.search(r"\bpfn\s*[=:]", fields) else "pfn"
    needed = [owner]
    if event in BLOCKS or event in OBJECTS:
        needed.append("bytes_req")
    elif event == "mm_page_alloc":
        needed.append("order")
    values, whole = [], True
    for name in needed:
        found = _FIELDS[name].search(fields)
        if found:
            values.append(_value(found[1], name))
            whole &= len(found[1]) >= _WHOLE or bool(fields[found.end() :].strip("\r\n"))
        elif zeros and not re.search(rf"\b{name}\s*[=:]", fields):
            values.append(0)
        else:
            return _unsaid(event, fields, name)
    cache = _NAME.search(fields) if event in OBJECTS else None
    return Said(event, values[0], values[-1], (cache[1] or cache[2]) if cache else "", whole)


def _value(text: str, name: str) -> int:
    """A number, as its field writes it."""
    if not name.endswith(("ptr", "page")):
        return int(text, 16 if text[:2] in ("0x", "0X") else 10)
    return 0 if text[0] in "(Nn" else int(text, 16 if len(text) <= _WHOLE else 10)


def _unsaid(event: str, fields: str, name: str) -> Unsaid:
    """Why a field cannot be used."""
    if _HIDDEN.search(fields):
        return Unsaid(f"{event}: the kernel hid its addresses", "trace later after boot")
    found = re.search(rf"\b{name}\s*[=:]\s*(\S*)", fields)
    if not found:
        return Unsaid(f"{event}: no {name}=")
    wanted = "an address" if name == "ptr" else "a frame" if name in ("page", "pfn") else "a number"
    return Unsaid(f"{event}: {name}={repr(found[1][:_SHOWN])[1:-1]} is not {wanted}")


def record(made: Recorder, event: Said) -> None:
    """Take what an event says. Pages are named by numbers below zero, which no pointer is. Raises InputError."""
    name, key, amount, cache, _ = event
    if name in PAGE_FREES:
        made.free(~key)
    elif name == "mm_page_alloc":
        if key in _NO_FRAME:
            made.skipped.failed += 1
        else:
            made.pages(~key, amount)
    elif name in FREES:
        if key in _NO_BLOCK:
            made.skipped.null += 1
        else:
            made.free(key)
    elif key == 0:
        made.skipped.failed += 1
    elif name in BLOCKS:
        made.block(key, amount)
    else:
        made.object(key, cache, amount)


def record_program(made: Recorder, event: re.Match[str]) -> None:
    """Take an event of a program's heap. Raises InputError."""
    call, size, result, freed = event.groups()
    if freed:
        made.free(int(freed, 16))
    elif size:
        _block_of_program(made, int(result, 16), int(size))
    else:
        _record_call(made, call, event.string[event.end() :])


def _record_call(made: Recorder, call: str, fields: str) -> None:
    """Take a call of the C library's allocator."""
    values = {
        name: _value(found[1], name) for name, each in _FIELDS.items() if (found := each.search(fields)) is not None
    }
    needed = _CALLS[call]
    if lacking := [name for name in needed if name not in values]:
        raise InputError(made.file, made.line, f"{call}: no {lacking[0]}=")
    size = values.get("size", 0) * values.get("nmemb", 1)
    key = values[needed[-1]]
    if call == "free":
        if key:
            made.free(key)
        else:
            made.skipped.null += 1
    elif call == "posix_memalign" and values["result"]:
        made.skipped.failed += 1
    elif call == "realloc" and made.is_live(values["in_ptr"]):
        if key:
            made.moved(values["in_ptr"], key, size)
        elif size:
            made.skipped.failed += 1
        else:
            made.free(values["in_ptr"])
    else:
        _block_of_program(made, key, size)


_CALLS = {
    "malloc": ("size", "ptr"),
    "calloc": ("nmemb", "size", "ptr"),
    "realloc": ("in_ptr", "size", "ptr"),
    "memalign": ("size", "ptr"),
    "posix_memalign": ("size", "result", "out_ptr"),
    "free": ("ptr",),
}
"""Fields of a call; the last is the block."""


def _block_of_program(made: Recorder, key: int, bytes: int) -> None:
    if key in _NO_MEMORY:
        made.skipped.failed += 1
    else:
        made.block(key, bytes)


# --- what nearly every line is


def _block(made: Recorder, found: re.Match[str]) -> None:
    made.block(int(found[1], 16), int(found[3]))


def _object(made: Recorder, found: re.Match[str]) -> None:
    made.object(int(found[1], 16), found[2] or "", int(found[3]))


def _free(made: Recorder, found: re.Match[str]) -> None:
    made.free(int(found[1], 16))


def _pages(made: Recorder, found: re.Match[str]) -> None:
    made.pages(~int(found[1], 0), int(found[2]))


def _free_pages(made: Recorder, found: re.Match[str]) -> None:
    made.free(~int(found[1], 0))


_SITE = r"(?:call_site=\S* )?ptr=(?:0x)?"
_FRAME = r"(?:page=\S+ )?pfn=(0x[1-9a-f][0-9a-f]{0,14}|[1-9]\d{0,8}) order="
_ALLOCATES = re.compile(_SITE + r"(?!0+ )([0-9a-f]{1,16}) (?:name=(\S+) )?bytes_req=(\d{1,9}) ")
_FREES = re.compile(_SITE + r"(?!0{14})([0-9a-f]{16})\s")
_ALLOCATES_PAGES = re.compile(_FRAME + r"(\d) ")
_FREES_PAGES = re.compile(_FRAME)

_TAKEN = {
    **dict.fromkeys(BLOCKS, (_ALLOCATES.match, _block)),
    **dict.fromkeys(OBJECTS, (_ALLOCATES.match, _object)),
    **dict.fromkeys(FREES, (_FREES.match, _free)),
    **dict.fromkeys(PAGE_FREES, (_FREES_PAGES.match, _free_pages)),
    "mm_page_alloc": (_ALLOCATES_PAGES.match, _pages),
}
QUICK: dict[str, tuple[Callable[[str, int], re.Match[str] | None], Callable[[Recorder, re.Match[str]], None]]] = {
    name: _TAKEN[name if name in NAMES else name.removeprefix(_LTTNG)] for name in _NAMES
}
"""By event: a pattern of fields that say at once what `said` would, and what takes them."""
