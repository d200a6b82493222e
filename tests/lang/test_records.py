"""Records: one declaration, many uses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from lang_sample.records import Cpu, Kern, Node, Tally, Word

from kernmalloc.lang import Record, array, element, field, i64, inline, markdown, twin, u8, u16, u32
from kernmalloc.lang.records import DeclarationError, named

if TYPE_CHECKING:
    from conftest import Define


class Flat:
    """Bytes from address `base`."""

    machine = None

    def __init__(self, base: int = 0) -> None:
        self.bytes, self.base = bytearray(256), base

    def load(self, addr: int, width: int) -> int:
        at = addr - self.base
        return int.from_bytes(self.bytes[at : at + width], "little", signed=width == 8)

    def store(self, addr: int, width: int, value: int) -> None:
        at = addr - self.base
        self.bytes[at : at + width] = value.to_bytes(width, "little", signed=width == 8)


def layout(record: Any) -> dict[str, tuple[str, int, int]]:
    return {name: (item.kind.name, item.offset, item.size) for name, item in record.fields.items()}


# Layout --------------------------------------------------------------------------------------------------------------


class Odd(Record):
    """Not in order of width."""

    a: u8 = field("a")
    b: i64 = field("b")
    c: u16 = field("c")


class Short(Record):
    """No wider than two bytes."""

    a: u16 = field("a")
    b: u8 = field("b")


class Nested(Record):
    """Records inside, of less alignment than its own."""

    a: u8 = field("a")
    shorts: Short = array(3, "aligned to 2")
    one: Short = inline("aligned to 2")
    odd: Odd = inline("aligned to 8")
    end: u8 = field("end")


class Line(Record, align=64):
    """A line of a cache."""

    a: u8 = field("a")
    b: u32 = field("b", align=16)
    c: Short = array(2, "c", align=32)


class Room(Record, size=128):
    """Room at its end."""

    line: Line = inline("a record of 64 bytes")


def test_natural_alignment_and_computed_padding() -> None:
    assert layout(Node) == {
        "kind": ("u8", 0, 1),
        "order": ("u8", 1, 1),
        "pins": ("u16", 2, 2),
        "next": ("u32", 4, 4),
        "key": ("i64", 8, 8),
        "words": ("Word", 16, 16),
        "friend": ("Node", 32, 8),
    }
    assert (Kern.offset("inner"), Kern.size, Kern.align, Kern.fields["inner"].kind) == (24, 48, 8, Tally)
    assert (layout(Odd), Odd.size, Odd.align) == ({"a": ("u8", 0, 1), "b": ("i64", 8, 8), "c": ("u16", 16, 2)}, 24, 8)
    assert (layout(Short), Short.size, Short.align) == ({"a": ("u16", 0, 2), "b": ("u8", 2, 1)}, 4, 2)
    assert layout(Nested) == {
        "a": ("u8", 0, 1),
        "shorts": ("Short", 2, 12),
        "one": ("Short", 14, 4),
        "odd": ("Odd", 24, 24),
        "end": ("u8", 48, 1),
    }
    assert (Nested.size, Nested.align) == (56, 8)


def test_more_alignment_and_room_are_asked_for() -> None:
    assert layout(Line) == {"a": ("u8", 0, 1), "b": ("u32", 16, 4), "c": ("Short", 32, 8)}
    assert (Line.size, Line.align, Room.size, Room.align) == (64, 64, 128, 64)


def test_what_does_not_fit_is_refused() -> None:
    class Wrong(Record, size=12):
        """Its size is wrong."""

        a: i64 = field("a")
        b: u32 = field("b")

    class Uneven(Record, size=20):
        """No row of them would be aligned."""

        a: i64 = field("a")

    with pytest.raises(DeclarationError, match="record Wrong: it takes a multiple of 8, declared size=12: correct one"):
        _ = Wrong.size
    with pytest.raises(
        DeclarationError, match="record Uneven: it takes a multiple of 8, declared size=20: correct one"
    ):
        _ = Uneven.align

    class Small(Record, size=8):
        """Too small."""

        a: i64 = field("a")
        b: u32 = field("b")

    assert Small.offset("b") == 8
    with pytest.raises(DeclarationError, match="record Small: it takes 16 bytes, declared size=8: correct one of them"):
        _ = Small.fields


def test_shift_of_a_power_of_two() -> None:
    assert (Line.shift, Short.shift, Word.shift) == (6, 2, 3)
    with pytest.raises(TypeError, match="record Node: 40 bytes are no power of two"):
        _ = Node.shift


def test_the_number_of_a_layout_changes_with_all_that_is_reached(define: Define) -> None:
    def number(inner: str = "n: i64", outer: str = "n: u32", name: str = "n") -> int:
        source = f"class Inner(Record):\n    'Reached.'\n    {inner} = field('n')\n    next: 'Inner' = field('next')\n"
        source += f"class Outer(Record):\n    'Asked.'\n    {outer} = field('n')\n    inner: 'Inner' = field('inner')\n"
        return int(define(source, "Outer").layout)

    others = [number(inner="n: u32"), number(inner="m: i64"), number(outer="n: u16"), number(outer="m: u32")]
    assert number() == number()
    assert len({number(), *others}) == 5
    assert all(0 <= each < 1 << 16 for each in others)


# Names ---------------------------------------------------------------------------------------------------------------


def test_references_to_records_of_later_modules(define: Define) -> None:
    """Layouts are known before the record that a field leads to; the name is looked up when the field is used."""
    early = define(
        """
class Early(Record):
    "In the lowest room."
    later: "LaterRoom" = field("of a higher room")
    n: i64 = field("a number")
SIZE, N = Early.size, Early.offset("n")
""",
        "Early",
    )
    assert (early.size, early.offset("n")) == (16, 8)
    with pytest.raises(
        DeclarationError, match="record Early, field later: LaterRoom is neither u8, u16, u32, i64, usize nor"
    ):
        _ = early.fields["later"].kind
    later = define("class LaterRoom(Record):\n    'Higher.'\n    n: i64 = field('n')\n", "LaterRoom")
    assert early.fields["later"].target is later
    twin.use(Flat())
    first = early(0)
    first.later = later(40)
    first.later.n = 7
    assert (first.later, first.later.n, later(40).n) == (40, 7, 7)


def test_records_of_one_name(define: Define) -> None:
    """A module's own record comes first; of several others none does."""
    for _ in range(2):
        define("class Twice(Record):\n    'One of two.'\n    n: i64 = field('n')\n", "Twice")
    source = "class Asks(Record):\n    'Asks.'\n    twice: 'Twice' = field('which')\n"
    with pytest.raises(DeclarationError, match="there are several records called Twice: import one"):
        _ = define(source, "Asks").size
    assert named("Tally", Kern.__module__) is Tally
    assert named("Tally", "lang_sample.other") is Tally, "another package may have one, too"
    own = define("class Twice(Record):\n    'Its own.'\n    n: i64 = field('n')\n" + source, "Asks")
    assert own.fields["twice"].target.__module__ == own.__module__


def test_fields_of_any_name() -> None:
    class Region(Record):
        """Fields named like what a record says about itself."""

        size: i64 = field("bytes of the region")
        name: u32 = field("index of its name")
        fields: u32 = field("how many")
        align: Short = inline("inside")

    kind: Any = Region
    assert (kind.size, kind.name, list(kind.fields)) == (24, "Region", ["size", "name", "fields", "align"])
    twin.use(Flat())
    r = Region(0)
    r.size, r.name, r.align.b = 77, 5, 6
    assert (r.size, r.name, r.addr, r.align.b) == (77, 5, 0, 6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a: u8 = field('one')\n    a: u8 = field('two')", "record Bad: two fields are called a: rename one"),
        ("a: u8 = field('one')\n    a: i64 = inline('two')", "record Bad: two fields are called a: rename one"),
        ("a: u8", 'record Bad, field a: say what it means, as in `a: u8 = field("...")`'),
        ("a: 'u8' = 'meaning'", "record Bad, field a: say what it means"),
        ("a: u8 = field('')", "record Bad, field a: say what it means"),
        ("a = field('no width')", "record Bad, field a: annotate it with u8, u16, u32, i64, usize or a record"),
        ("addr: u8 = field('taken')", "record Bad, field addr: every record has something else of this name"),
        ("offset: u8 = field('taken')", "record Bad, field offset: every record has something else of this name"),
        ("_a: u8 = field('hidden')", "record Bad, field _a: every record has something else of this name"),
        ("a: Short = array(0, 'nothing')", "an array needs at least one element, not 0: nothing"),
        ("a: Short = array(-1, 'less')", "an array needs at least one element, not -1: less"),
    ],
)
def test_wrong_declarations_are_refused(define: Define, body: str, message: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        define(f"class Short(Record):\n    'Short.'\nclass Bad(Record):\n    'Bad.'\n    {body}\n", "Bad")
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "a: 'u7' = inline('no record')",
            "record Bad, field a: what lies inside is a record, and u7 is none: declare one",
        ),
        (
            "a: i64 = array(2, 'words')",
            "record Bad, field a: what lies inside is a record, and i64 is none: declare one",
        ),
    ],
)
def test_what_lies_inside_is_a_record(define: Define, body: str, message: str) -> None:
    bad = define(f"class Bad(Record):\n    'Bad.'\n    {body}\n", "Bad")
    with pytest.raises(DeclarationError) as refused:
        _ = bad.size
    assert str(refused.value) == message


def test_no_record_is_derived_from_another() -> None:
    with pytest.raises(DeclarationError, match="record More: a record is derived from Record alone: declare an inline"):

        class More(Tally):
            """It would overlay the fields."""

            more: i64 = field("more")


# References ----------------------------------------------------------------------------------------------------------


def test_loads_extend_and_stores_truncate() -> None:
    memory = Flat()
    twin.use(memory)
    n = Node(40)
    n.kind, n.order, n.pins, n.next, n.key = 0x1FF, -1, -2, -3, -4
    assert (n.kind, n.order, n.pins, n.next, n.key) == (0xFF, 0xFF, 0xFFFE, 0xFFFF_FFFD, -4)
    assert memory.bytes[40:56].hex() == "fffffefffdfffffffcffffffffffffff"
    with pytest.raises(AttributeError):
        n.words = Word(3)
    with pytest.raises(AttributeError):
        n.unknown = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("base", [0, -256, 1 << 40, -(1 << 63)])
def test_references_are_followed(base: int) -> None:
    twin.use(Flat(base))
    cpu, kern, nodes = Cpu(base + 8), Kern(base + 16), Node(base + 80)
    cpu.kern, kern.table = kern, nodes
    element(nodes, 2).friend = element(nodes, 1)
    nodes.friend = element(nodes, 2)
    assert cpu.kern.table.friend.friend == element(nodes, 1) == base + 120
    cpu.kern.table.friend.friend.key = -5
    assert element(cpu.kern.table, 1).key == -5
    cpu.kern.inner.free = 9
    assert Tally(base + 16 + 24).free == 9
    element(nodes.words, 1).value = 11
    assert (nodes.words.value, Word(base + 80 + 24).value) == (0, 11)
    assert element(element(nodes, 2), -2) == nodes


def test_references_are_equal_by_address() -> None:
    assert Node(8) == Node(8) == 8 and Node(8) != Node(16) and Node(0) == 0
    assert len({Node(8), Node(8), Node(16)}) == 2
    assert repr(Node(16)) == "Node(0x10)" and repr(Node(-16)) == "Node(0xfffffffffffffff0)", "as people write it"
    with pytest.raises(TypeError, match=r"Node\(0x8\) has no truth value: compare it with 0"):
        bool(Node(8))
    with pytest.raises(TypeError):
        _ = Node(8) + 8  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = Node(8) < Node(16)  # type: ignore[operator]


# What is made of a declaration ---------------------------------------------------------------------------------------


def test_dtype_is_the_same_layout() -> None:
    assert Kern.dtype.itemsize == 48 and Kern.dtype["inner"] == Tally.dtype
    view = numpy.frombuffer(bytes(range(40)), Node.dtype)
    assert view["pins"][0] == 0x0302 and view["next"][0] == 0x07060504
    assert view["words"].shape == (1, 2) and view["words"].dtype == numpy.int64, "a record of one number is a number"
    assert view["friend"].dtype == numpy.int64
    for record in (Node, Kern, Nested, Line, Room):
        fields: Any = record.dtype.fields
        assert {name: offset for name, (_, offset, *_) in fields.items()} == {
            name: item.offset for name, item in record.fields.items()
        }
    assert Nested.dtype["shorts"].shape == (3,) and Nested.dtype["shorts"].base == Short.dtype


def test_markdown_is_the_reference() -> None:
    text = markdown(Node)
    assert text.startswith("### Node (40 bytes)\n\nOne node of every width.\n")
    assert "| 0 | u8 | `kind` | FREE or USED |" in text
    assert "| 16 | Word × 2 | `words` | two words that lie here |" in text
    assert "| 32 | → Node | `friend` | another node, or none |" in text
    assert "| 24 | Tally | `inner` | a record that lies here |" in markdown(Kern)
    assert "- `pins == 0 or kind != FREE`" in text


def test_records_load_no_numpy_until_a_dtype_is_asked_for() -> None:
    import subprocess

    code = "import sys, kernmalloc.lang; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
