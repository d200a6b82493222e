"""Records: one declaration, many uses."""

import shutil
import subprocess

import pytest
from lang_sample.records import Kern, Node, Tally

from kernmalloc.lang import c_struct, i64, markdown, record, twin, u8, u16, u32


def test_layout_is_natural_and_padded_to_8():
    assert {name: (field.kind.name, field.offset, field.count) for name, field in Node.fields.items()} == {
        "kind": ("u8", 0, 0),
        "order": ("u8", 1, 0),
        "pins": ("u16", 2, 0),
        "next": ("u32", 4, 0),
        "key": ("i64", 8, 0),
        "words": ("i64", 16, 2),
    }
    assert Kern.offset("inner") == 24 and Kern.size == 48 and Kern.fields["inner"].kind is Tally

    @record(size=16)
    class Odd:
        """Not in order of width."""

        a: u8 = "a"
        b: i64 = "b"

    assert Odd.offset("b") == 8

    @record(size=8)
    class Short:
        """Padded."""

        a: u16 * 2 = "a"
        b: u8 = "b"

    assert Short.size == 8 and Short.offset("b") == 4


def test_size_is_asserted_at_import():
    with pytest.raises(TypeError, match="record Wrong: fields take 16 bytes, declared size=12"):

        @record(size=12)
        class Wrong:
            """Its size is wrong."""

            a: i64 = "a"
            b: u32 = "b"


@pytest.mark.parametrize(
    ("name", "kind", "meaning", "message"),
    [
        ("a", int, "an int", "record Bad, field a: width must be u8, u16, u32, i64"),
        ("a", "u8", "postponed", "width must be"),
        ("a", u8, None, "field a: say what it means"),
        ("addr", u8, "taken", "field addr: this name is taken"),
        ("_a", u8, "hidden", "field _a: this name is taken"),
        ("a", u8 * 0, "nothing", "field a: an array needs at least one element, not 0"),
    ],
)
def test_bad_fields_are_refused(name, kind, meaning, message):
    body = {"__annotations__": {name: kind}} | ({name: meaning} if meaning else {})
    with pytest.raises(TypeError, match=message):
        record(size=8)(type("Bad", (), body))


def test_fields_of_any_name():
    @record(size=16)
    class Region:
        """Fields named like what a record says about itself."""

        size: i64 = "bytes of the region"
        name: u32 = "index of its name"
        fields: u32 = "how many"

    assert (Region.size, Region.name, list(Region.fields)) == (16, "Region", ["size", "name", "fields"])
    memory = Flat()
    twin.use(memory)
    r = Region(0)
    r.size, r.name = 77, 5
    assert (r.size, r.name, r.addr) == (77, 5, 0)


class Flat:
    machine = None

    def __init__(self):
        self.bytes = bytearray(256)

    def load(self, addr, width):
        return int.from_bytes(self.bytes[addr : addr + width], "little", signed=width == 8)

    def store(self, addr, width, value):
        self.bytes[addr : addr + width] = value.to_bytes(width, "little", signed=width == 8)


def test_loads_extend_and_stores_truncate():
    memory = Flat()
    twin.use(memory)
    n = Node(32)
    n.kind, n.order, n.pins, n.next, n.key = 0x1FF, -1, -2, -3, -4
    assert (n.kind, n.order, n.pins, n.next, n.key) == (0xFF, 0xFF, 0xFFFE, 0xFFFF_FFFD, -4)
    assert memory.bytes[32:48].hex() == "fffffefffdfffffffcffffffffffffff"
    assert (n.words, n.addr) == (48, 32)
    with pytest.raises(AttributeError):
        n.words = 3
    with pytest.raises(AttributeError):
        n.unknown = 3


def test_dtype_is_the_same_layout():
    import numpy

    assert Kern.dtype.itemsize == 48 and Kern.dtype["inner"] == Tally.dtype
    view = numpy.frombuffer(bytes(range(32)), Node.dtype)
    assert view["pins"][0] == 0x0302 and view["next"][0] == 0x07060504 and view["words"].shape == (1, 2)


def test_c_struct_keeps_the_layout(tmp_path):
    """Explicit padding: i386 aligns int64_t to 4 bytes only."""
    assert (
        c_struct(Kern)
        == """\
/* All state. */
struct km_kern {
    int64_t table; /* address of the first node */
    int64_t nodes; /* how many */
    uint32_t head; /* index of the first node in the list */
    uint32_t lock; /* spin lock */
    struct km_tally inner; /* a nested record */
};
_Static_assert(sizeof(struct km_kern) == 48, "struct km_kern");
_Static_assert(offsetof(struct km_kern, table) == 0, "struct km_kern.table");
_Static_assert(offsetof(struct km_kern, nodes) == 8, "struct km_kern.nodes");
_Static_assert(offsetof(struct km_kern, head) == 16, "struct km_kern.head");
_Static_assert(offsetof(struct km_kern, lock) == 20, "struct km_kern.lock");
_Static_assert(offsetof(struct km_kern, inner) == 24, "struct km_kern.inner");
"""
    )

    @record(size=24)
    class Padded:
        """Holes everywhere."""

        a: u8 = "a"
        b: i64 = "b"
        c: u16 = "c"

    assert "uint8_t _pad1[7];" in c_struct(Padded) and "uint8_t _pad18[6];" in c_struct(Padded)
    if shutil.which("cc"):
        source = tmp_path / "records.c"
        source.write_text(
            "#include <stdint.h>\n#include <stddef.h>\n" + "".join(map(c_struct, (Tally, Node, Kern, Padded)))
        )
        subprocess.run(["cc", "-std=c11", "-fsyntax-only", str(source)], check=True)


def test_markdown_is_the_reference():
    text = markdown(Node)
    assert text.startswith("### Node (32 bytes)\n\nOne node of every width.\n")
    assert "| 16 | i64 × 2 | `words` | two words, inline |" in text
    assert "- `pins == 0 or kind != FREE`" in text
