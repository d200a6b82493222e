"""Objects: what is in them, for which processor, and what is not."""

import io
import re

import pytest
from conftest import sample_functions
from elftools.elf.elffile import ELFFile

from kernmalloc.lang import backend, frontend
from kernmalloc.lang.functions import REGISTRY, group, symbol


def symbols(data):
    """(undefined, global) symbol names of an object."""
    table = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
    every = [symbol for symbol in table.iter_symbols() if symbol.name]
    undefined = {symbol.name for symbol in every if symbol["st_shndx"] == "SHN_UNDEF"}
    return undefined, {symbol.name for symbol in every if symbol["st_info"]["bind"] == "STB_GLOBAL"} - undefined


def entries(machine):
    """Symbols of the sample's entries in an object with that machine."""
    functions = [function for function in sample_functions() if REGISTRY[function]]
    return {symbol(function) for function in functions if group(function) in ("kernel", machine)}


ATOMICS = """
@entry
def every_atomic(a, b):
    n = cas32(a, b, 1) + cas64(a, b, 1) + add32(a, b) + add64(a, b) + load_acquire32(a) + load_acquire64(a)
    store_release32(a, b)
    store_release64(a, b)
    return pause() + n
"""


@pytest.mark.parametrize("architecture", backend.TARGETS)
def test_bare_objects_are_freestanding(groups, architecture):
    """Arithmetic, bit patterns, atomics and lists become code that calls nothing, on every target."""
    data = backend.link(groups, "bare", backend.TARGETS[architecture])
    undefined, exported = symbols(data)
    assert not undefined
    assert exported == entries("bare")


@pytest.mark.parametrize("architecture", backend.TARGETS)
def test_bare_atomics_are_instructions(define, architecture):
    function = define(ATOMICS, "every_atomic")
    data = backend.link(frontend.compile([function]), "bare", backend.TARGETS[architecture])
    assert not symbols(data)[0]


@pytest.mark.parametrize(
    ("architecture", "machine", "bits"),
    [
        ("i386", "EM_386", 32),
        ("x86_64", "EM_X86_64", 64),
        ("riscv64", "EM_RISCV", 64),
        ("armv7", "EM_ARM", 32),
        ("aarch64", "EM_AARCH64", 64),
    ],
)
def test_bare_objects_are_for_their_target(groups, architecture, machine, bits):
    elf = ELFFile(io.BytesIO(backend.link(groups, "bare", backend.TARGETS[architecture])))
    assert (elf["e_machine"], elf.elfclass, elf["e_type"], elf.little_endian) == (machine, bits, "ET_REL", True)


@pytest.mark.parametrize("architecture", ["i386", "x86_64"])
def test_bare_code_uses_general_registers_only(groups, architecture):
    """A kernel does not save the others on entry."""
    text = assembly(groups, backend.TARGETS[architecture])
    assert "push" in text
    assert not re.search(r"%(xmm|ymm|mm\d|st)", text)


def test_hosted_objects_need_libc_only(objects):
    assert symbols(objects["raw"])[0] == {"memset"}
    assert symbols(objects["soft"])[0] == set()


def test_only_entries_are_exported(objects):
    common = {"km_machine", "km_machine_record", "km_entries"}
    assert symbols(objects["raw"])[1] == common | entries("hosted")
    assert symbols(objects["soft"])[1] == common | entries("soft")


def assembly(groups, target=None, life="bare"):
    machine = backend.target_machine(target)
    return machine.emit_assembly(backend.linked(groups, life, machine))


def test_functions_are_marked(groups):
    """No unwinding, and no library calls made up by the optimiser."""
    machine = backend.target_machine(None)
    module = backend.linked(groups, "raw", machine)
    for function in module.functions:
        if not function.is_declaration:
            attributes = " ".join(str(attribute) for attribute in function.attributes)
            assert "nounwind" in attributes and "no-builtins" in attributes, function.name


def test_optimiser_makes_no_library_calls(define):
    """Loops that zero and copy stay loops: memset and memcpy are not there on bare machines."""
    function = define(
        """
@record(size=8)
class Byte:
    "One."
    value: u8 = "it"
@entry
def zero_and_copy(a, n):
    for i in range(n):
        Byte(a + i).value = 0
    for i in range(n):
        Byte(a + i).value = Byte(a + 4096 + i).value
    return n
""",
        "zero_and_copy",
    )
    for target in backend.TARGETS.values():
        assert not symbols(backend.link(frontend.compile([function]), "bare", target))[0]


def test_accesses_are_plain_and_aligned(define):
    """One instruction of the field's width, in raw: no byte-wise assembly, no calls."""
    function = define(
        """
@record(size=16)
class Wide:
    "Every width."
    a: u8 = "a"
    b: u16 = "b"
    c: u32 = "c"
    d: i64 = "d"
@entry
def touch(p):
    w = Wide(p)
    w.a = w.b
    w.c = w.d
    return w.a + w.c
""",
        "touch",
    )
    text = str(backend.linked(frontend.compile([function]), "raw", backend.target_machine(None)))
    body = text[text.index("@km_touch") : text.index("\n}", text.index("@km_touch"))]
    for bits in (16, 64):
        assert re.search(rf"load i{bits}, ptr %\S+, align {bits // 8}", body)
    for bits in (8, 32):
        assert re.search(rf"store i{bits} %\S+, ptr %\S+, align {bits // 8}", body)
    assert "call" not in body and "volatile" not in body


def test_soft_inlines_hits(groups):
    """A TLB hit calls nothing; the miss is out of line and marked cold."""
    text = str(backend.linked(groups, "soft", backend.target_machine(None)))
    body = text[text.index("@km_pop") :]
    body = body[: body.index("\n}")]
    assert "km_translate" not in body
    assert body.count("lang_sample.soft.miss") > 3
    assert re.search(r"define internal [^\n]*lang_sample\.soft\.miss[^\n]* #(\d+)", text)


def test_undefined_symbols_are_refused(define):
    """The message names them; loading such an object would abort the process."""
    function = define("""
nowhere = primitive("km_nowhere", 1)
@entry
def f(a):
    store_release32(a, 1)
    return nowhere(a)
""")
    groups = frontend.compile([function])
    for life, target in (("raw", None), ("bare", backend.TARGETS["i386"])):
        with pytest.raises(backend.LinkError, match=f"{life} object: nothing defines km_nowhere"):
            backend.link(groups, life, target)
    with pytest.raises(backend.LinkError, match="soft object: nothing defines km_nowhere, km_translate"):
        backend.link(groups, "soft")
    extra = "define i64 @km_nowhere(i64 %a) { ret i64 %a }"
    assert backend.link(groups, "bare", backend.TARGETS["i386"], extra)
