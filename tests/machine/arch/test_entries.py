"""Fields, and what is made of them: encoder and decoder agree, whatever an entry holds. Rows E3, E17."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.machine.arch import ARCHES
from kernmalloc.machine.arch.entries import ADDRESS, KINDS, LEAF, Field, layout
from kernmalloc.machine.arch.model import Format

FORMATS = {format.name: format for arch in ARCHES.values() for format in arch.formats if format.has_tables}
EVERY = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
Layout = tuple[str, tuple[Field, ...]]


@EVERY
def test_fields_of_a_kind_are_apart_and_have_names_of_their_own(format: Format) -> None:
    for kind, fields in format.fields.items():
        assert sum(field.mask for field in fields) == format.covered(kind) < 1 << (8 << format.word_shift)
        assert sum(field.width for field in fields) == format.covered(kind).bit_count()
        assert len({field.name for field in fields}) == len(fields)
        assert all(field.name.isidentifier() and field.meaning and field.source for field in fields)
        assert format.has(kind, ADDRESS)


@EVERY
def test_every_kind_has_a_form_and_no_form_hides_another(format: Format) -> None:
    """A kind of its own counts as long as some level has it; what the kernel makes has its kinds always."""
    found = {form.kind for level in format.levels for form in level.forms}
    assert found | set(KINDS) == set(format.fields)
    for level in format.levels:
        for number, form in enumerate(level.forms):
            word = format.word(form.kind, form.tells)
            first = next(f for f in level.forms if word & format.mask(f.kind, f.tells) == format.word(f.kind, f.tells))
            assert first == form, number
            assert form.page == 0 or form.page >= level.shift


@EVERY
@given(data=st.data())
def test_what_is_encoded_is_decoded(format: Format, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(format.levels) - 1))
    form = data.draw(st.sampled_from(format.levels[number].forms))
    fields = {
        field.name: data.draw(st.integers(0, (1 << field.width) - 1), label=field.name)
        for field in format.fields[form.kind]
        if field.name != ADDRESS
    } | form.tells
    address = format.field(form.kind, ADDRESS)
    pa = (address.put(data.draw(st.integers(0, (1 << address.width) - 1))) << format.pa_shift) >> form.page << form.page
    entry = format.encode(form.kind, pa, **fields)
    found = format.decode(entry, number)
    assert found is not None and (found.kind, found.pa, found.reserved) == (form.kind, pa, 0)
    assert (found.page, found.fields) == (form.page, fields)


@EVERY
@given(entry=st.integers(0, (1 << 64) - 1), data=st.data())
def test_whatever_is_decoded_is_encoded_again(format: Format, entry: int, data: st.DataObject) -> None:
    """But for reserved bits."""
    number = data.draw(st.integers(0, len(format.levels) - 1))
    entry &= (1 << (8 << format.word_shift)) - 1
    found = format.decode(entry, number)
    if found is not None:
        assert format.encode(found.kind, found.pa, **found.fields) == entry & ~found.reserved


@EVERY
def test_what_the_kernel_makes_has_nothing_reserved(format: Format) -> None:
    """The kernel's own numbers, decoded at the levels where it writes them."""
    last = len(format.levels) - 1
    for name, number in (("leaf", last), ("page", last), ("large", last - 1), ("user_large", last - 1), ("root", 0)):
        found = format.decode(getattr(format, name), number)
        assert found is not None and not found.reserved and not found.pa
        assert found.page == {"root": 0}.get(name, format.levels[number].shift)
    for number in range(1, last):
        for entry in (format.table, format.user_table):
            found = format.decode(entry, number)
            assert found is not None and found.page == 0 and not found.reserved


@EVERY
def test_what_does_not_fit_is_refused(format: Format) -> None:
    whole = 1 << format.phys_bits
    for pa in (whole, 1, 1 << format.page_shift >> 1):
        with pytest.raises(ValueError, match="no address that a leaf entry can hold"):
            format.encode(LEAF, pa)
    with pytest.raises(KeyError, match="a leaf entry has no field 'colour'"):
        format.encode(LEAF, 0, colour=1)
    with pytest.raises(ValueError, match=f"{format.meaning.present}: 2 does not fit 1 bits"):
        format.encode(LEAF, 0, **{format.meaning.present: 2})


def test_a_layout_gives_each_field_its_source() -> None:
    one, two = layout("3.2", ("P", 0, 1, "present"), ("key", 4, 3, "which key"))
    assert (one.mask, two.mask, two.put(5), two.get(0x5F)) == (1, 0x70, 0x50, 5)
    assert one.source == two.source == "3.2"
