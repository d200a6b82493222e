"""docs/reference.md says what the sources say."""

from collections import Counter
from pathlib import Path

import pytest

import kernmalloc
from kernmalloc.build import reference
from kernmalloc.lang import status
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.lang.records import RECORDS

FILE = Path(__file__).parent.parent.parent / "docs" / "reference.md"
SOURCES = Path(kernmalloc.__file__).parent


@pytest.fixture(scope="module")
def text() -> str:
    return reference.text()


def test_the_file_is_what_the_sources_say(text):
    same = FILE.read_text() == text  # not in the assertion: pytest would show both
    assert same, "docs/reference.md is not what the sources say: run `make reference`"


def test_every_room_is_known():
    rooms = [path.stem for path in (SOURCES / "kernel").iterdir() if not path.name.startswith("__")]
    assert sorted(reference.ROOMS) == sorted(rooms)


def test_every_status_call_and_record_is_told_once(text):
    lines = Counter(line.partition("(")[0] if line.startswith("| `") else line for line in text.splitlines())
    for code, name in status.NAMES.items():
        assert lines[f"| {code} | `{name}` | {status.MEANINGS[code]} |"] == 1
    calls = [each.__name__ for each, is_entry in REGISTRY.items() if is_entry and ".kernel." in each.__module__]
    assert {"malloc", "boot", "init", "check"} <= {*calls}
    assert not [name for name in calls if lines[f"| `{name}"] != 1]
    records = [each for found in RECORDS.values() for each in found]
    mine = [each for each in records if each.__module__.startswith(("kernmalloc.kernel.", "kernmalloc.machine."))]
    assert Counter(line for line in text.splitlines() if line.startswith("#### ")) == Counter(
        f"#### {each.name} ({each.size} bytes)" for each in mine
    )


def test_a_call_stands_in_the_room_of_what_it_does(text):
    chapter = text.partition("### `heap/malloc.py`")[2].partition("###")[0]
    assert "| `free(cpu: Cpu, va)` |" in chapter


def test_the_primitives_are_told(text):
    assert "| `shootdown(va, pages)` |" in text
