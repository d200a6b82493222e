"""Whatever a file holds, reading it gives a machine, a trace, … or an InputError of one line: no other exception, no
hang, no bomb."""

import re
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import fuzzing
import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import resolve

MUTANTS = 10_000
"""Of each reader; at night a hundred times as many."""
TARGETS = {target.name: target for target in fuzzing.targets()}


@pytest.fixture(autouse=True)
def no_compilers(monkeypatch):
    """Device-tree sources are given to no compiler: it is not what is tried, and takes milliseconds to start."""
    monkeypatch.setenv("PATH", "")


@pytest.mark.parametrize("name", TARGETS)
def test_each_reader_has_seeds_that_it_reads(name):
    """A file in tests/data/seeds that the reader recognises: whatever comes first in it is what mutants are made of."""
    assert TARGETS[name].seeds
    fuzzing.survives(TARGETS[name].read, b"")
    for data in TARGETS[name].seeds:
        with suppress(InputError):
            TARGETS[name].read(data)


def peak() -> int:
    """The most memory that this process had since this was asked for the last time, in bytes."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_end_in_no_traceback(name):
    target = TARGETS[name]
    peak()
    before = peak()
    for data in fuzzing.mutants(target, MUTANTS * EFFORT, seed=EFFORT):
        try:
            with fuzzing.limited(fuzzing.SECONDS):
                fuzzing.survives(target.read, data)
        except Exception as error:
            raise AssertionError(f"{name} ends in {type(error).__name__} on {data!r}") from error
    assert peak() - before < fuzzing.BYTES


@pytest.mark.parametrize("name", TARGETS)
def test_words_that_stand_hundreds_of_times_take_no_time(name):
    target = TARGETS[name]
    for data in fuzzing.repeats(target, 500 * EFFORT, seed=EFFORT):
        try:
            with fuzzing.limited(fuzzing.SECONDS):
                fuzzing.survives(target.read, data)
        except Exception as error:
            raise AssertionError(f"{name} ends in {type(error).__name__} on {data!r}") from error


@pytest.mark.parametrize("name", [name for name in TARGETS if name in fuzzing.OF_MACHINES])
def test_mutants_are_told_and_read_back(name):
    for data in fuzzing.mutants(TARGETS[name], 300 * EFFORT, seed=-EFFORT):
        try:
            fuzzing.survives(fuzzing.tell, data)
        except Exception as error:
            raise AssertionError(f"{name} ends in {type(error).__name__} on {data!r}") from error


@pytest.mark.nightly
@pytest.mark.skipif(not find_spec("atheris"), reason="atheris is not installed: pip install '.[fuzz]'")
@pytest.mark.parametrize("name", TARGETS)
def test_a_guided_fuzzer_finds_nothing(name, tmp_path):
    script = Path(__file__).parents[1] / "fuzz_guided.py"
    command = [sys.executable, script, name, tmp_path, str(MUTANTS * 100)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert f"Done {MUTANTS * 100} runs" in done.stderr


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.sampled_from(["utf-8", "latin-1", "utf-16"]))
def test_any_text_ends_in_no_traceback(text, encoding):
    fuzzing.survives(lambda data: read_bytes(data, "fuzz"), text.encode(encoding, "replace"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_end_in_no_traceback(data):
    fuzzing.survives(lambda data: read_bytes(data, "fuzz"), data)


def test_long_lines_and_long_maps_take_linear_time():
    hostile = (
        "[mem ",
        "range=[",
        "> ",
        "a",
        "ab cd ",
        "[ 1",
        "0x1 - ",
        "BIOS-e820: [mem 0x",
        "memory ",
        "\t",
        "00:00.0 ",
        "0x0000000000000000 ",
        '{"bars":[',
        "bar [1",
        "[size=1K]\n",
        "#ram_bytes=",
        "0000:00:00.0/resource:",
        "\n",
    )
    heads = (b"BIOS-e820: x\n", b"", b"00:00.0 Memory: x\n", b"x0@pci0:0:0:0:\n", b"0x" + b"0" * 16, b'{"bars":[]}\n')

    def seconds(data):
        start = time.process_time()
        with suppress(InputError):
            resolve(read_bytes(data, "fuzz")[0])
        return time.process_time() - start

    def entries(count):
        lines = (f"BIOS-e820: [mem 0x{i << 13:016x}-0x{(i << 13) + 4095:016x}] usable" for i in range(count))
        return "\n".join(lines).encode()

    assert len(resolve(read_bytes(entries(5_000), "fuzz")[0]).ram) == 5_000
    makers = [
        entries,
        *(
            lambda count, head=head, piece=piece: head + piece.encode() * count
            for head, piece in product(heads, hostile)
        ),
    ]
    for make in makers:  # four times as much takes four times as long, sixteen times if time were quadratic
        assert any(seconds(make(8_000)) < 9 * seconds(make(2_000)) + 0.2 for _ in range(4))
