"""Amounts of memory."""

import pytest

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.sizes import Ram, parse_ram, parse_size


@pytest.mark.parametrize(
    "text, size",
    [
        ("4096", 4096),
        ("4096B", 4096),
        ("64K", 64 << 10),
        ("512MiB", 512 << 20),
        ("512 MB", 512 << 20),
        ("8GiB", 8 << 30),
        ("24gb", 24 << 30),
        (" 24 GiB ", 24 << 30),
        ("2T", 2 << 40),
        ("0x1000", 4096),
        ("0x10M", 16 << 20),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size
    assert parse_ram(text) == Ram(size)


@pytest.mark.parametrize(
    "text", ["", "0", "0GiB", "-1", "GiB", "8.5GiB", "8 GiB 4", "8 PiB", "8iB", "0x", "²GiB", "1e9", "1_0"]
)
def test_what_is_no_size(text):
    for parse in (parse_size, parse_ram):
        with pytest.raises(InputError, match="8GiB"):
            parse(text)


@pytest.mark.parametrize("text, base", [("1GiB@0", 0), ("1GiB@0x40000000", 1 << 30), ("1 GiB@1073741824", 1 << 30)])
def test_ram_at_an_address(text, base):
    assert parse_ram(text) == Ram(1 << 30, base)


@pytest.mark.parametrize("text", ["@0", "1GiB@", "1GiB@x", "1GiB@-4096", "1GiB@0@0", "1GiB@1.5"])
def test_what_is_no_address(text):
    with pytest.raises(InputError):
        parse_ram(text)
