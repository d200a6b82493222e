"""ELF cores of either width, order and address; damaged ones are one line."""

import dump_files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs.dumps import Dump
from kernmalloc.inputs.errors import InputError

ONE, TWO = b"1" * 4096, b"2" * 100


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_machines_core(tmp_path, bits, order):
    path = dump_files.core(tmp_path / "core", [(0x1000, 7, ONE), (0x9000, 0, TWO)], bits=bits, order=order)
    with Dump.open(path) as dump:
        assert (dump.form, dump.physical, dump.live) == ("ELF core", True, False)
        assert [(segment.address, segment.size) for segment in dump.segments] == [(0x1000, 4096), (0x9000, 100)]
        assert dump.read(0x1FFE, 10) == b"11" and dump.read(0x9000, 200) == TWO and dump.read(0x5000, 1) == b""


def test_a_process_has_addresses_of_its_own(tmp_path):
    with Dump.open(dump_files.core(tmp_path / "core", [(0, 0x7F0000000000, ONE), (0, 0x7F0000001000, TWO)])) as dump:
        assert not dump.physical and dump.read(0x7F0000000FFF, 3) == b"122"  # across two segments


def test_what_the_file_does_not_hold_is_missing(tmp_path):
    path = dump_files.core(tmp_path / "core", [(0x1000, 0, ONE), (0x9000, 0, TWO)])
    path.write_bytes(path.read_bytes()[:-150])
    with Dump.open(path) as dump:
        assert [(segment.address, segment.size) for segment in dump.segments] == [(0x1000, 4096 - 50)]


@settings(max_examples=60)
@given(data=st.data())
def test_damage_is_one_line(tmp_path_factory, data):
    path = dump_files.core(tmp_path_factory.mktemp("core") / "core", [(0x1000, 0, ONE), (0x9000, 0, TWO)])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 240))
        content[at : at + 2] = data.draw(st.binary(min_size=2, max_size=2) | st.just(b"\xff\xff"))
    path.write_bytes(bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]))
    try:
        with Dump.open(path) as dump:
            assert all(segment.size > 0 for segment in dump.segments)
            for segment in dump.data():
                dump.read(segment.address, 10)
    except InputError as error:
        assert "\n" not in str(error)
