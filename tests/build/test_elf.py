"""What is read of an object is what pyelftools reads."""

import io

import pytest
from arch_sample import object_of
from elftools.elf.elffile import ELFFile

from kernmalloc.build import elf
from kernmalloc.machine.arch import TARGETS

BINDINGS = {0: "STB_LOCAL", 1: "STB_GLOBAL", 2: "STB_WEAK"}


@pytest.mark.parametrize("architecture", TARGETS)
def test_sections_and_symbols(architecture: str) -> None:
    data = object_of(architecture)
    read = ELFFile(io.BytesIO(data))
    assert [
        (each.name, each["sh_flags"], each["sh_offset"], each["sh_size"], each["sh_link"])
        for each in read.iter_sections()
    ] == [(each.name, each.flags, each.start, each.size, each.link) for each in elf.sections(data)]
    table = read.get_section_by_name(".symtab")
    assert [(each.name, each["st_info"]["bind"], each["st_size"]) for each in table.iter_symbols()] == [
        (each.name, BINDINGS[each.binding], each.size) for each in elf.symbols(data)
    ]


@pytest.mark.parametrize("architecture", TARGETS)
def test_flags_are_added_and_nothing_else_changes(architecture: str) -> None:
    data = object_of(architecture)
    before, after = ELFFile(io.BytesIO(data)), ELFFile(io.BytesIO(elf.flagged(data, 0x4)))
    assert after["e_flags"] == before["e_flags"] | 0x4
    assert elf.flagged(data, 0) == data


def test_arm_goes_with_both_conventions() -> None:
    """Whatever else an object of ARM says stays as it was."""

    def said(data: bytes) -> dict[str, object]:
        (aeabi,) = ELFFile(io.BytesIO(data)).get_section_by_name(".ARM.attributes").iter_subsections()
        (file,) = aeabi.iter_subsubsections()
        return {each.tag: each.value for each in file.iter_attributes()}

    data = object_of("armv7")
    before, after = said(data), said(elf.either(data))
    assert before.pop("TAG_ABI_FP_EXCEPTIONS") == 0  # what it is without the tag
    assert after.pop("TAG_ABI_VFP_ARGS") == 3
    assert after == before
    assert elf.either(object_of("aarch64")) == object_of("aarch64")
