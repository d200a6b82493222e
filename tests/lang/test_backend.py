"""Objects: what is in them, for which processor, and what is not."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from conftest import sample_functions
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kernmalloc.lang import backend, frontend
from kernmalloc.lang.functions import REGISTRY, group, symbol
from kernmalloc.machine.arch import TARGETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import Define


def symbols(data: bytes) -> tuple[set[str], set[str]]:
    """(undefined, global) symbol names of an object."""
    table = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    every = [symbol for symbol in table.iter_symbols() if symbol.name]
    undefined = {symbol.name for symbol in every if symbol["st_shndx"] == "SHN_UNDEF"}
    return undefined, {symbol.name for symbol in every if symbol["st_info"]["bind"] == "STB_GLOBAL"} - undefined


def entries(machine: str) -> set[str]:
    """Symbols of the sample's entries in an object with that machine."""
    functions = [function for function in sample_functions() if REGISTRY[function]]
    return {symbol(function) for function in functions if group(function) in ("kernel", machine)}


ATOMICS = """
@entry
def every_atomic(a: int, b: int) -> int:
    n = cas32(a, b, 1)
    n += cas64(a, b, 1)
    n += load_acquire32(a)
    n += load_acquire64(a)
    store_release32(a, b)
    return pause() + n
"""


@pytest.mark.parametrize("architecture", TARGETS)
def test_bare_atomics_are_instructions(define: Define, architecture: str) -> None:
    function = define(ATOMICS, "every_atomic")
    data = backend.link(frontend.compile([function]), "bare", TARGETS[architecture])
    assert not symbols(data)[0]


def test_hosted_objects_need_libc_only(objects: dict[str, bytes]) -> None:
    assert symbols(objects["raw"])[0] == {"memset"}
    assert symbols(objects["soft"])[0] == set()


def test_only_entries_are_exported(objects: dict[str, bytes]) -> None:
    common = {"km_machine", "km_machine_record", "km_entries"}
    assert symbols(objects["raw"])[1] == common | entries("hosted")
    assert symbols(objects["soft"])[1] == common | entries("soft")


def test_functions_are_marked(groups: Mapping[str, str]) -> None:
    """No unwinding, and no library calls made up by the optimiser."""
    module = backend.linked(groups, "raw", backend.host())
    for function in module.functions:
        if not function.is_declaration:
            attributes = " ".join(str(attribute) for attribute in function.attributes)
            assert "nounwind" in attributes and "no-builtins" in attributes, function.name


def test_optimiser_makes_no_library_calls(define: Define) -> None:
    """Loops that zero and copy stay loops: memset and memcpy are not there on bare machines."""
    function = define(
        """
class Byte(Record):
    "One."
    value: u8 = field("it")
@entry
def zero_and_copy(a: Byte, n: int) -> int:
    for i in range(n):
        element(a, i).value = 0
    for i in range(n):
        element(a, i).value = element(a, 4096 + i).value
    return n
""",
        "zero_and_copy",
    )
    for target in TARGETS.values():
        assert not symbols(backend.link(frontend.compile([function]), "bare", target))[0]


def test_accesses_are_plain_and_aligned(define: Define) -> None:
    """One instruction of the field's width, in raw: no byte-wise assembly, no calls."""
    function = define(
        """
class Wide(Record):
    "Every width."
    a: u8 = field("a")
    b: u16 = field("b")
    c: u32 = field("c")
    d: i64 = field("d")
@entry
def touch(w: Wide) -> int:
    w.a = w.b
    w.c = w.d
    return w.a + w.c
""",
        "touch",
    )
    text = str(backend.linked(frontend.compile([function]), "raw", backend.host()))
    body = text[text.index("@km_call_touch") : text.index("\n}", text.index("@km_call_touch"))]
    for bits in (16, 64):
        assert re.search(rf"load i{bits}, ptr %\S+, align {bits // 8}", body)
    for bits in (8, 32):
        assert re.search(rf"store i{bits} %\S+, ptr %\S+, align {bits // 8}", body)
    assert " call " not in body and "volatile" not in body


def test_soft_inlines_hits(groups: Mapping[str, str]) -> None:
    """A TLB hit calls nothing; the miss is out of line and marked cold."""
    text = str(backend.linked(groups, "soft", backend.host()))
    body = text[text.index("@km_call_pop") :]
    body = body[: body.index("\n}")]
    assert "km_port_translate" not in body
    assert body.count("lang_sample.soft.miss") > 3
    assert re.search(r"define internal [^\n]*lang_sample\.soft\.miss[^\n]* #(\d+)", text)


def test_undefined_symbols_are_refused(define: Define) -> None:
    """The message names them; loading such an object would abort the process."""
    function = define("""
nowhere = primitive("km_nowhere", 1)
@entry
def f(a: int) -> int:
    store_release32(a, 1)
    return nowhere(a)
""")
    groups = frontend.compile([function])
    for life, target in (("raw", None), ("bare", TARGETS["i386"])):
        with pytest.raises(backend.LinkError, match=f"{life} object: nothing defines km_nowhere"):
            backend.link(groups, life, target)
    with pytest.raises(
        backend.LinkError, match="soft object: nothing defines km_nowhere, km_port_operation, km_port_translate"
    ):
        backend.link(groups, "soft")
    extra = "define i64 @km_nowhere(i64 %a) { ret i64 %a }"
    assert backend.link(groups, "bare", TARGETS["i386"], extra)


@pytest.mark.parametrize("architecture", TARGETS)
def test_bare_functions_lie_apart(groups: Mapping[str, str], architecture: str) -> None:
    """Each function is a section of its own, primitives give way to others, and there is no data."""
    elf = ELFFile(io.BytesIO(backend.link(groups, "bare", TARGETS[architecture])))
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    functions = [each for each in table.iter_symbols() if each["st_info"]["type"] == "STT_FUNC"]
    assert functions and len({each["st_shndx"] for each in functions}) == len(functions)
    assert {each["st_value"] for each in functions} <= {0}
    bindings = {each.name: each["st_info"]["bind"] for each in functions}
    assert bindings["km_port_fill"] == "STB_WEAK" and bindings["km_call_pop"] == "STB_GLOBAL"
    assert not [each.name for each in elf.iter_sections() if each["sh_flags"] & 1 and each["sh_size"]]
