"""The walk of a processor: what it makes of the tables in memory, level by level, as its manual says.

Concepts
  1. `machine/mmu` is the kernel's own idea of its tables. This is the processor's: it reads the words that are there,
     tells each by its form, and knows rights, reserved bits and all sizes of pages. So the one checks the other.
  2. A `Hardware` record holds how a format is walked, in numbers; `hardware` makes it of what `machine/arch` says.
     Nothing here knows a format.
  3. A walk ends at a page, or in a fault. Every level may take rights away. A walk that ends well marks what it used,
     as the processor does, or faults if software must.

        the form of an entry = the first at its level with entry & mask == value
        rights = those that every entry on the way gives
        pa = (entry & address) << pa_shift, and the offset in the page

Host-level code: its accesses are to the host's memory.

Limits: keys of protection are not looked at. On x86 IA32_EFER.NXE, CR0.WP and CR4.PSE are 1, and CR4.SMEP and SMAP 0;
on RISC-V sstatus.SUM and MXR are 0; on ARM all domains but 0 are closed.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from kernmalloc.lang import Record, array, element, field, i64, kernel, ram_at, u8, u32

if TYPE_CHECKING:
    from kernmalloc.machine.arch.entries import Form as Described
    from kernmalloc.machine.arch.model import Format

# how memory is accessed
READ = 0
WRITE = 1
EXECUTE = 2
USER = 4  # beside one of these: not by the supervisor

# why a walk found no page
NOT_PRESENT = 1
NO_RIGHT = 2
RESERVED = 3  # a bit that must be 0 is not, or an entry has no form
NOT_USED = 4  # the access flag, or the one of writes, is software's to set
TOO_HIGH = 5  # a physical address that the processor does not have
NO_ADDRESS = 6  # a virtual address that the tables do not reach
NO_MEMORY = 7  # a table, or a page, where there is no memory

FAULT_NAMES = ("", "not present", "no right", "reserved", "not used", "too high", "no address", "no memory")

# rights, as a walk finds them: the supervisor's; users' are USERS_SHIFT bits above
MAY_READ = 1
MAY_WRITE = 2
MAY_EXECUTE = 4
USERS_SHIFT = 3

# what entries give
_READ = 1
_WRITE = 2
_EXECUTE = 4
_USER = 8
_USER_EXECUTE = 16
_ALL = 31

NARROW = 2

# which addresses there are
SIGN = 1  # the highest bit, extended
HALVES = 2  # zeros or ones above

# habits
SETS_USED = 1  # marks what it uses
USED_FIRST = 2  # finds that it was not used before a right that is lacking
GUARDS_PAGES = 4  # the supervisor may not access what users may
GUARDS_CODE = 8  # nor execute it
GUARDS_DATA = 16  # nor execute what users may write
EXECUTE_ALONE = 32  # users may execute what they may not access

LEVELS = 5
FORMS = 20


class Word(Record):
    """An entry of eight bytes."""

    bits: i64 = field("what is in memory")


class NarrowWord(Record):
    """An entry of four bytes."""

    bits: u32 = field("what is in memory")


class Form(Record):
    """One way to tell what an entry does, and what it says then."""

    mask: i64 = field("the bits that tell it")
    value: i64 = field("their value")
    address: i64 = field("where its physical address is")
    reserved: i64 = field("bits that must be 0; 0: the processor does not look")
    beyond: i64 = field("bits of the address that the processor does not have")
    read_mask: i64 = field("bits that give the right to read")
    read: i64 = field("their value then")
    write_mask: i64 = field("bits that give the right to write")
    write: i64 = field("their value then")
    execute_mask: i64 = field("bits that let the supervisor execute")
    execute: i64 = field("their value then")
    user_mask: i64 = field("bits that let users access")
    user: i64 = field("their value then")
    user_execute_mask: i64 = field("bits that let users execute")
    user_execute: i64 = field("their value then")
    used: i64 = field("the bits that use sets")
    dirty: i64 = field("the bits that a write sets")
    page: i64 = field("log2 of the bytes of the page that it maps; 0: it leads to a table")


class Level(Record):
    """One level of tables."""

    shift: u8 = field("of the index in a virtual address")
    bits: u8 = field("of the index")
    step: u8 = field("log2 of the bytes from one entry to the next")
    first: u8 = field("number of its first form")
    last: u8 = field("number behind its last form")


class Hardware(Record):
    """How a processor walks the tables of a format."""

    word_shift: u8 = field("log2 of the bytes of an entry")
    pa_shift: u8 = field("an address of memory stands in an entry shifted right by so much")
    levels: u8 = field("how many")
    va_bits: u8 = field("of a virtual address")
    high: u8 = field("what the bits above are: 0 not there, SIGN, HALVES")
    formless: u8 = field("the fault of a present entry that has no form")
    beyond: u8 = field("the fault of an address beyond what the processor can reach in memory")
    habits: u8 = field("SETS_USED and its like, together")
    present: i64 = field("the bits of which an entry that leads somewhere has one")
    level: Level = array(LEVELS, "from the root down")
    form: Form = array(FORMS, "of all levels")


class Walked(Record):
    """Where a walk led."""

    pa: i64 = field("physical address")
    page: i64 = field("log2 of the bytes of the page")
    rights: i64 = field("MAY_READ and its like; for users above USERS_SHIFT")
    entry: i64 = field("the last entry read, as it was")
    at: i64 = field("where it lies: physical address")
    number: i64 = field("its level, counted from the root")
    used: i64 = field("of an entry that maps: the bits that use sets")
    dirty: i64 = field("and those that a write sets")
    steps: Word = array(LEVELS, "where in memory the entries on the way lie")


@cache
def hardware(format: Format, *, phys_bits: int = 0, sets_used: bool | None = None) -> Any:
    """The `Hardware` of a processor that walks a format, as a NumPy record that nobody can change. `phys_bits` is what
    it has of physical addresses, if less than an entry holds; `sets_used` says whether it marks what it uses, if that
    is its choice."""
    import numpy

    walking = format.walking
    records = numpy.zeros(1, Hardware.dtype)
    made = records[0]
    made["word_shift"], made["pa_shift"], made["levels"] = format.word_shift, format.pa_shift, len(format.levels)
    made["va_bits"], made["high"] = format.va_bits, ("none", "sign", "both").index(walking.halves)
    made["formless"], made["beyond"] = FAULT_NAMES.index(walking.formless), FAULT_NAMES.index(walking.beyond)
    made["present"] = format.present
    habits = (
        (walking.sets_used if sets_used is None else sets_used, SETS_USED),
        (walking.used_first, USED_FIRST),
        (walking.keeps_from_users_pages, GUARDS_PAGES),
        (walking.keeps_from_users_code, GUARDS_CODE),
        (walking.keeps_from_users_data, GUARDS_DATA),
        (walking.execute_alone, EXECUTE_ALONE),
    )
    made["habits"] = sum(bit for has, bit in habits if has)
    forms = [_form(format, form, phys_bits or format.phys_bits) for level in format.levels for form in level.forms]
    made["form"][: len(forms)] = forms
    step = format.word_shift if format.group > 1 else format.entry_shift  # entries may lie apart, to fill a frame
    first = 0
    for number, level in enumerate(format.levels):
        last = first + len(level.forms)
        made["level"][number] = (level.shift, level.bits, step, first, last)
        first = last
    records.flags.writeable = False
    return records[0]


def _form(format: Format, form: Described, phys_bits: int) -> tuple[int, ...]:
    """A `Form`, as a NumPy record has it."""
    walking = format.walking

    def right(recipe: dict[str, int]) -> tuple[int, int]:
        here = {name: value for name, value in recipe.items() if format.has(form.kind, name)}
        return format.mask(form.kind, here), format.word(form.kind, here)

    def bits(name: str) -> int:
        return format.mask(form.kind, [name]) if format.has(form.kind, name) else 0

    address = bits("address")
    words = (
        format.mask(form.kind, form.tells),
        format.word(form.kind, form.tells),
        address,
        format.reserved(form) if walking.strict else 0,
        address & ~((1 << phys_bits >> format.pa_shift) - 1),
        *right(walking.read),
        *right(walking.write),
        *right(walking.execute),
        *right(walking.user),
        *right(walking.user_execute),
        bits(format.meaning.used),
        bits(walking.dirty),
    )
    return (*(word - (1 << 64) if word >> 63 else word for word in words), form.page)


@kernel
def _load(h: Hardware, at: int) -> int:
    return NarrowWord(at).bits if h.word_shift == NARROW else Word(at).bits


@kernel
def _mark(h: Hardware, at: int, bits: int) -> int:
    """Set bits of the entry at an address."""
    entry = _load(h, at)
    if entry & bits == bits:
        return entry
    if h.word_shift == NARROW:
        NarrowWord(at).bits = entry | bits
    else:
        Word(at).bits = entry | bits
    return entry


@kernel
def _reached(h: Hardware, va: int) -> int:
    """1 if there is such a virtual address."""
    if h.high == SIGN:
        top = va >> (h.va_bits - 1)
        return 1 if top == 0 or top == -1 else 0
    if h.high == HALVES:
        top = va >> h.va_bits
        return 1 if top == 0 or top == -1 else 0
    return 1


@kernel
def _form_of(h: Hardware, level: Level, entry: int) -> Form:
    """The form of an entry; null: it has none."""
    for number in range(level.first, level.last):
        form = element(h.form, number)
        if entry & form.mask == form.value:
            return form
    return Form(0)


@kernel
def _given(form: Form, entry: int) -> int:
    """What an entry gives of the rights."""
    given = 0
    if entry & form.read_mask == form.read:
        given = given | _READ
    if entry & form.write_mask == form.write:
        given = given | _WRITE
    if entry & form.execute_mask == form.execute:
        given = given | _EXECUTE
    if entry & form.user_mask == form.user:
        given = given | _USER
    if entry & form.user_execute_mask == form.user_execute:
        given = given | _USER_EXECUTE
    return given


@kernel
def _rights(h: Hardware, given: int) -> int:
    """What the supervisor and users may do, as all entries on the way give it."""
    user = given & _USER
    data = given & (MAY_READ | MAY_WRITE)
    rights = data
    if user != 0 and h.habits & GUARDS_PAGES != 0:
        rights = 0
    kept = 0
    if user != 0 and (h.habits & GUARDS_CODE != 0 or (h.habits & GUARDS_DATA != 0 and given & _WRITE != 0)):
        kept = 1
    if given & _EXECUTE != 0 and kept == 0:
        rights = rights | MAY_EXECUTE
    if user != 0:
        rights = rights | data << USERS_SHIFT
    if given & _USER_EXECUTE != 0 and (user != 0 or h.habits & EXECUTE_ALONE != 0):
        rights = rights | MAY_EXECUTE << USERS_SHIFT
    return rights


@kernel
def _allowed(rights: int, access: int) -> int:
    """1 if the rights allow the access."""
    who = rights >> USERS_SHIFT if access & USER != 0 else rights
    kind = access & (WRITE | EXECUTE)
    right = MAY_READ
    if kind == WRITE:
        right = MAY_WRITE
    if kind == EXECUTE:
        right = MAY_EXECUTE
    return 1 if who & right != 0 else 0


@kernel
def _used(h: Hardware, phys: int, w: Walked, form: Form, access: int) -> int:
    """Mark what the walk used: 0, or NOT_USED if that is software's to do."""
    wanted = form.used | (form.dirty if access & WRITE != 0 else 0)
    if h.habits & SETS_USED == 0:
        return 0 if w.entry & wanted == wanted else NOT_USED
    for number in range(w.number):
        at = element(w.steps, number).bits
        upper = _form_of(h, element(h.level, number), _load(h, ram_at(phys, at)))
        if upper != 0:
            _mark(h, ram_at(phys, at), upper.used)
    _mark(h, ram_at(phys, w.at), wanted)
    return 0


@kernel
def _page(h: Hardware, phys: int, w: Walked, form: Form, va: int, access: int) -> int:
    """The end of a walk at an entry that maps: 0, or the fault."""
    offset = (1 << form.page) - 1
    w.page = form.page
    w.used = form.used
    w.dirty = form.dirty
    w.pa = (((w.entry & form.address) << h.pa_shift) & ~offset) | (va & offset)
    if h.habits & (SETS_USED | USED_FIRST) == USED_FIRST and w.entry & form.used != form.used:
        return NOT_USED
    if _allowed(w.rights, access) == 0:
        return NO_RIGHT
    return _used(h, phys, w, form, access)


@kernel
def walk_hardware(h: Hardware, phys: int, bytes: int, root: int, va: int, access: int, w: Walked) -> int:
    """What a processor finds for an access to va in the tables at physical address `root`: 0, and the rest in w; or the
    fault, with the last entry that was read.

    `phys` is where RAM begins (`ram_at`), and `bytes` how far it goes.
    """
    w.pa = 0
    w.page = 0
    w.rights = 0
    w.entry = 0
    w.at = 0
    w.number = 0
    if _reached(h, va) == 0:
        return NO_ADDRESS
    given = _ALL
    table = root
    for number in range(h.levels):
        level = element(h.level, number)
        at = table + (((va >> level.shift) & ((1 << level.bits) - 1)) << level.step)
        w.number = number
        w.at = at
        if at < 0 or at + (1 << h.word_shift) > bytes:
            return NO_MEMORY
        element(w.steps, number).bits = at
        entry = _load(h, ram_at(phys, at))
        w.entry = entry
        form = _form_of(h, level, entry)
        if form == 0:
            return NOT_PRESENT if entry & h.present == 0 else h.formless
        if entry & form.reserved != 0:
            return RESERVED
        if entry & form.beyond != 0:
            return h.beyond
        given = given & _given(form, entry)
        if form.page != 0:
            w.rights = _rights(h, given)
            return _page(h, phys, w, form, va, access)
        table = (entry & form.address) << h.pa_shift
    return NOT_PRESENT


@kernel
def alike(h: Hardware, phys: int, w: Walked, va: int, frame: int) -> int:
    """How many entries of its table, from the one on that a walk for va ended at, differ by the address only, and map
    what lies one behind the other. Tables lie in frames of so many bytes."""
    level = element(h.level, w.number)
    index = (va >> level.shift) & ((1 << level.bits) - 1)
    most = min((1 << level.bits) - index, (frame - (w.at & (frame - 1))) >> level.step)
    at = ram_at(phys, w.at)
    count = 1
    while count < most and _load(h, at + (count << level.step)) == w.entry + ((count << w.page) >> h.pa_shift):
        count += 1
    return count
