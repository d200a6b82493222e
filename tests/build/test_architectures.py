"""docs/architectures.md says what `machine/arch` says."""

from pathlib import Path

from kernmalloc.build import architectures
from kernmalloc.machine.arch import ARCHES

FILE = Path(__file__).parent.parent.parent / "docs" / "architectures.md"


def test_the_file_is_what_the_sources_say() -> None:
    same = FILE.read_text() == architectures.text()  # not in the assertion: pytest would show both
    assert same, "docs/architectures.md is not what the sources say: run `make reference`"


def test_every_field_of_every_format_is_told_with_its_source() -> None:
    lines = set(architectures.text().splitlines())
    for arch in ARCHES.values():
        for format in arch.formats:
            for fields in format.fields.values():
                for name, low, width, meaning, source in fields:
                    bits = str(low) if width == 1 else f"{low + width - 1}:{low}"
                    assert f"| {bits} | `{name}` | {meaning} | {source} |" in lines
