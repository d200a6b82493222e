"""Sizes of memory: one parser and one printer."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kernmalloc.facade.profile import Address, Bytes
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.sizes import LIMIT, PREFIXES, Ram, parse_ram, parse_size, size

counts = some.one_of(
    some.integers(0, LIMIT - 1),
    some.builds(lambda count, shift: count << shift, some.integers(0, 1023), some.sampled_from(range(0, 60, 10))),
)


@pytest.mark.parametrize(
    "text, bytes",
    [
        ("4096", 4096),
        ("4096B", 4096),
        ("64K", 64 << 10),
        ("512MiB", 512 << 20),
        ("512 MB", 512 << 20),
        ("8G", 8 << 30),
        ("8GB", 8 << 30),
        ("8 GiB", 8 << 30),
        ("24gb", 24 << 30),
        (" 24 GiB ", 24 << 30),
        ("2T", 2 << 40),
        ("8 PiB", 8 << 50),
        ("0x2000", 8192),
        ("0xFFFF_8000_0000_0000", 0xFFFF_8000_0000_0000),
        ("0x10M", 16 << 20),
        ("0x1B", 27),
        ("1_000", 1000),
        ("08", 8),
    ],
)
def test_sizes(text, bytes):
    assert parse_size(text) == Address.parse(text) == bytes
    assert parse_ram(text) == Ram(bytes)


@given(counts, some.sampled_from(["", "K", "M", "G", "T", "P", "E"]), some.sampled_from(["", "B", "iB"]), some.data())
def test_every_spelling_is_read(count, prefix, rest, data):
    """In any case of letters, with spaces around the unit or none, decimal or hexadecimal, digits in groups."""
    count >>= 10 * ((" " + PREFIXES).index(prefix or " "))
    unit = prefix + (rest if prefix or rest == "B" else "")
    digits = data.draw(some.sampled_from([f"{count}", f"{count:_}", f"{count:#x}", f"{count:#_x}"]))
    gap = " " if digits.startswith("0x") else data.draw(some.sampled_from(["", " ", "  "]))
    for text in (f"{digits}{gap}{unit}", f" {digits.upper()}{gap}{unit.lower()} "):
        assert parse_size(text) == count << 10 * ((" " + PREFIXES).index(prefix or " "))


@given(counts)
def test_what_is_printed_exactly_is_read_again(count):
    text = size(count)
    unit = parse_size(f"1 {text.split()[1]}")
    if count % unit == 0:
        assert parse_size(text) == count
    else:
        shown = float(text.split()[0])
        assert abs(shown - count / unit) <= (0.5 if shown >= 100 else 0.05) * 1.0001


@pytest.mark.parametrize(
    "text",
    ["", "GiB", "-1", "8.5GiB", "8 GiB 4", "8iB", "0x", "²GiB", "1e9", "1__0", "1_", "16 EiB", "9" * 5000, "8\nGiB x"],
)
def test_what_is_no_size(text):
    for parse in (parse_size, parse_ram, Bytes.parse):
        with pytest.raises(InputError, match="8GiB") as refused:
            parse(text)
        assert len(str(refused.value)) < 120 and "\n" not in str(refused.value)


def test_no_ram_is_no_size_of_ram():
    assert parse_size("0") == parse_size("0GiB") == 0
    for text in ("0", "0GiB"):
        with pytest.raises(InputError, match="not a size of RAM"):
            parse_ram(text)


@pytest.mark.parametrize(
    "text, base", [("1GiB@0", 0), ("1GiB@0x40000000", 1 << 30), ("1 GiB@1073741824", 1 << 30), ("1G@1G", 1 << 30)]
)
def test_ram_at_an_address(text, base):
    assert parse_ram(text) == Ram(1 << 30, base)


@pytest.mark.parametrize("text", ["@0", "1GiB@", "1GiB@x", "1GiB@-4096", "1GiB@0@0", "1GiB@1.5"])
def test_what_is_no_address(text):
    with pytest.raises(InputError):
        parse_ram(text)


def test_sizes_of_a_profile_are_numbers_of_the_kernel():
    assert Bytes.parse("4 EiB") == 1 << 62
    with pytest.raises(InputError, match="2\\^63 or more"):
        Bytes.parse("8 EiB")
