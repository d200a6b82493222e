"""Reader of Linux kmem events: as tracefs, `trace-cmd report` and `perf script` print them.

Concepts
  1. An event is on one line: whose it is, the processor, flags, a time, the event's name, and its fields. Only name and
     fields count, and they are told from a process's name, which may hold anything, by the `field=` behind them.

         tracefs      bash-19815   [001] d..1.  1219.004382: kmalloc: call_site=f+0x24/0x1f0 ptr=00000000ba3a5bc7 ...
         trace-cmd    bash-19815   [001]  1219.004382: kmalloc:              call_site=f+0x24 ptr=0xffff8881ba3a5bc7 ...
         perf         bash 19815 [001]  1219.004382:   kmem:kmalloc: call_site=f+0x24 ptr=0xffff8881ba3a5bc7 ...

  2. Fields come in another order from one kernel to the next, and some not at all. Needed are ptr and, to allocate,
     bytes_req; of pages pfn (or else page) and order. A cache without a name is known by its objects' size. Pointers
     may be hashed, which does no harm.
  3. An object may be freed by kfree, too; a free ends whatever its address names. A block of pages is freed as a whole,
     when the first of it is freed. `mm_page_free_batched` tells of pages for which `mm_page_free` follows: not a free.
  4. A kernel's slabs lie in pages that it also reports as allocated: in a trace of both, these are replayed as both.

Other events are counted, stack traces and headings skipped; any line that is none of these is refused.
"""

import re
from collections.abc import Iterator

from .errors import InputError, UnreadableError
from .trace import Recorder, Trace

ALLOCATES = ("kmalloc", "kmalloc_node", "kmem_cache_alloc", "kmem_cache_alloc_node", "mm_page_alloc")
FREES = ("kfree", "kmem_cache_free", "mm_page_free", "mm_page_free_direct", "mm_pagevec_free")
RECORD = "record one: sudo trace-cmd record -e kmem COMMAND, then trace-cmd report"

_KNOWN = "|".join(sorted((*ALLOCATES, *FREES), key=len, reverse=True))
_EVENT = re.compile(
    rf"(?:[:\s]|^)(kmem:)?({_KNOWN}):(\s+)(?:\(\S*\)\s+)?(?=(?:call_site|ptr|name|bytes_req|page|pfn|order)=)"
)
_NUMBER = r"(0x[0-9a-f]{1,16}|\d{1,20})(?=\s|$)"
_PTR = re.compile(r"\bptr=(?:0x)?([0-9a-f]{1,16}|\(nil\)|\(null\))(?=\s|$)", re.I)
_PAGE = re.compile(r"\bpage=(?:0x)?([0-9a-f]{1,16}|\(nil\)|\(null\))(?=\s|$)", re.I)
_PFN = re.compile(rf"\bpfn={_NUMBER}", re.I)
_ORDER = re.compile(rf"\border={_NUMBER}", re.I)
_BYTES = re.compile(rf"\bbytes_req={_NUMBER}", re.I)
_NAME = re.compile(r"\bname=(.*?)\s*(?:$|\s(?:call_site|ptr|bytes_req|bytes_alloc|gfp_flags|node|accounted)=)")
_HIDDEN = re.compile(r"\b(?:ptr|page)=\(_+ptrval_+\)")

_TIMED = re.compile(  # at a time, an event, or what the function tracer prints
    r"(?:\d|[mun]s ?.?|\)):\s+(?:\d+\s+)?(?P<event>[\w.:/,@=*-]*\w)(?::|\s|$)|(?P<untimed>\s\w+:\w+|^\w+): "
)
_PASSED = re.compile(  # headings and warnings, stack traces, the function graph
    r"\s*(?:#.*|(?:cpus|version)\s*=\s*\d+|CPU \d+ is empty|Warning:|Check IO/CPU overload!)?\s*$"
    r"|\s*=> |(?:.*: )?<(?:user )?stack trace ?>\s*$|\t *[0-9a-f]+ |\s+[0-9a-f]{4,16}(?:\s|$)"
    r"|\s+\S.* \(\S*\)$|\s*\d+\)\s"
)
_LOST = re.compile(
    r"(?:CPU:\s*\d+ )?\[(?:LOST )?(\d*) ?EVENTS(?: DROPPED)?\]"
    r"|.*(?:PERF_RECORD_LOST(?:_SAMPLES)?|Processed \d+ events and) lost (\d+)"
)
_HEADS = ("# tracer:", "cpus=")
_SHOWN = 60  # characters of a line that cannot be read


def recognises(lines: list[str]) -> bool:
    """Whether a file that begins with `lines` may be a trace of a kernel: some line of it is an event, or says so."""
    return any(
        line.startswith(_HEADS) or _EVENT.search(line) or _TIMED.search(line) or _LOST.match(line) for line in lines
    )


def read(lines: Iterator[tuple[int, str]], file: str) -> Trace:
    """The trace in numbered lines. Raises InputError for one that cannot be read, and where no event is in it."""
    made = Recorder(file)
    form, events = "tracefs", 0
    for number, line in lines:
        made.line = number
        event = _EVENT.search(line)
        if event:
            if not line.endswith("\n"):
                made.skipped.cut = 1
                break
            if not events:
                form = "perf script" if event[1] else "trace-cmd report" if len(event[3]) > 1 else form
            events += 1
            _take(made, event[2], line[event.end() :])
        elif lost := _LOST.match(line):
            made.skipped.lost += int(lost[1] or lost[2] or 1)
        elif not _PASSED.match(line):
            if not line.endswith("\n"):
                made.skipped.cut = 1
                break
            _other(made, line)
    if not events:
        found = f"{made.skipped.other} other events" if made.skipped.other else "no event at all"
        raise UnreadableError(file, 0, f"no kmem event in it, {found}", RECORD)
    return made.trace(form)


def _take(made: Recorder, event: str, fields: str) -> None:
    """One kmem event."""
    if event.startswith("mm_"):
        _take_pages(made, event, fields)
        return
    pointer = _PTR.search(fields)
    if not pointer:
        raise _refused(made, event, fields, "ptr", "an address")
    key = _address(pointer[1])
    if event in FREES:
        if key in (0, 16):  # NULL, and what kmalloc(0) returns
            made.skipped.null += 1
        else:
            made.free(key)
        return
    bytes = _BYTES.search(fields)
    if not bytes:
        raise _refused(made, event, fields, "bytes_req", "a number")
    if key == 0:
        made.skipped.failed += 1
    elif event.startswith("kmalloc"):
        made.block(key, int(bytes[1], 0))
    else:
        name = _NAME.search(fields)
        made.object(key, name[1] if name else "", int(bytes[1], 0))


def _take_pages(made: Recorder, event: str, fields: str) -> None:
    """One event of pages; these are named by numbers below zero, which no pointer is."""
    pfn = _PFN.search(fields)
    named = "pfn" if "pfn=" in fields or "page=" not in fields else "page"
    page = _PAGE.search(fields) if named == "page" else None
    if pfn:
        key = int(pfn[1], 0)
    elif page:
        key = _address(page[1])
    else:
        raise _refused(made, event, fields, named, "a frame")
    if event in FREES:
        made.free(~key)
        return
    order = _ORDER.search(fields)
    if not order:
        raise _refused(made, event, fields, "order", "a number")
    if key == 0 or key == (1 << 64) - 1:
        made.skipped.failed += 1
    else:
        made.pages(~key, int(order[1], 0))


def _address(text: str) -> int:
    return 0 if text[0] == "(" else int(text, 16)


def _other(made: Recorder, line: str) -> None:
    """A line without a kmem event that can be read."""
    timed = _TIMED.search(line)
    event = (timed["event"] or timed["untimed"]).strip().removeprefix("kmem:") if timed else ""
    if not timed or event in ALLOCATES or event in FREES:
        reason = f"{event} without fields" if timed else f"no event: {line.strip()[:_SHOWN]!r}"
        raise InputError(made.file, made.line, reason)
    made.skipped.other += 1


def _refused(made: Recorder, event: str, fields: str, field: str, wanted: str) -> InputError:
    """Why a field cannot be used."""
    if _HIDDEN.search(fields):
        return InputError(made.file, made.line, f"{event}: the kernel hid its addresses", "trace later after boot")
    found = re.search(rf"\b{field}=(\S*)", fields)
    reason = f"{field}={found[1][:_SHOWN]} is not {wanted}" if found else f"no {field}="
    return InputError(made.file, made.line, f"{event}: {reason}")
