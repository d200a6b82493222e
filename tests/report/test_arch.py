"""Architectures as text and JSON: nothing that is registered is left out, every figure has its source."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from kernmalloc.cli import app
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.arch import ARCHES
from kernmalloc.machine.arch.processors import PROCESSORS
from kernmalloc.report.arch import ArchLine, FormatLine, ProcessorLine, arch_line, found, known, overview, told

FORMATS = {format.name: format for arch in ARCHES.values() for format in arch.formats if format.has_tables}
NAMES = [*ARCHES, *FORMATS, *PROCESSORS]


def run(*words: str):
    return CliRunner().invoke(app, ("arch", *words))


def test_every_architecture_format_and_processor_is_listed():
    text = "\n".join(overview(known()))
    for name in NAMES:
        assert f"  {name}" in text, name
    assert run().exit_code == 0


@pytest.mark.parametrize("name", NAMES)
def test_each_is_told_with_its_sources(name):
    """E3: sizes, widths and TLBs, and who says so."""
    what = found(name)
    text = " ".join(" ".join(told(what)).split())
    formats = {FormatLine: [what], ArchLine: getattr(what, "formats", ()), ProcessorLine: ()}[type(what)]
    for line in formats:
        if not line.levels:
            continue
        format = FORMATS[line.name]
        assert (line.page, line.large_page) == (1 << format.page_shift, format.large_page)
        assert f"VA {format.va_bits} bits, PA {format.phys_bits} bits" in text and format.manual in text
        for fields in format.fields.values():
            for field in fields:
                assert field.meaning in text and field.source in text
        covered = sum(level.entries.bit_length() - 1 for level in line.levels) + format.page_shift
        assert covered == format.va_bits
        if line.processor and line.name not in PROCESSORS[line.processor].formats:
            assert f"{line.processor} stands in" in text
    for processor in [what] if isinstance(what, ProcessorLine) else getattr(what, "processors", ()):
        assert processor.source in text and processor.cost_source in text
        for tlb in processor.tlbs:
            assert tlb.sets * tlb.ways == tlb.entries and tlb.source in text


@pytest.mark.parametrize("name", ["", *NAMES])
def test_json_says_what_text_says(name):
    done = run(*([name] if name else []), "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["name"] for line in lines] == ([name] if name else [*ARCHES])


def test_what_is_like_an_unknown_name_is_said():
    likes = {"riscv": "riscv64", "arm64": "aarch64", "cortex-a35": "cortex-a53", "sv39": "riscv64-sv39", "zen": "zen4"}
    for name, like in likes.items():
        with pytest.raises(InputError, match=r"no such .*like it: ") as error:
            found(name)
        assert like in str(error.value)
    with pytest.raises(InputError, match="kernmalloc arch lists them"):
        found("?")


@given(st.text(max_size=20).filter(lambda name: name not in NAMES))
def test_any_other_name_is_refused_in_one_line(name):
    with pytest.raises(InputError) as error:
        found(name)
    assert "no such architecture" in str(error.value)


def test_an_architecture_without_page_tables_is_told():
    assert "no page tables" in " ".join(told(found("none")))
    assert arch_line(ARCHES["armv7m"]).formats == ()
