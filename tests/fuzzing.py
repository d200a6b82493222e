"""Fuzzing: what reads bytes from outside, inputs to begin with, and what may become of a mutated one.

A target is one reader. Its seeds are the files of `tests/data/seeds` that it recognises: whoever adds a reader adds a
file there. Targets are found in the tuples of readers, so that none can be forgotten. The mutator is our own: it is
seeded, takes microseconds, and knows that inputs consist of lines, words and numbers; at night a guided fuzzer starts
from the same seeds (`fuzz_guided.py`).
"""

import io
import random
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from kernmalloc import inputs
from kernmalloc.facade.profile import SHIPPED as PROFILES
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs import traces
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Facts
from kernmalloc.inputs.sizes import Ram
from kernmalloc.inputs.text import decode
from kernmalloc.inputs.traces.malloclab import read_pairs
from kernmalloc.machine.memory_map import PA_LIMIT, Machine, resolve
from kernmalloc.report import machine as report
from kernmalloc.sim.scenario import SHIPPED as SCENARIOS
from kernmalloc.sim.scenario import Scenario

SEEDS = Path(__file__).parent / "data" / "seeds"
SECONDS, BYTES = 2, 500 << 20
"""What reading one input may take, and how much memory more than before."""

OF_MACHINES = {reader.__name__.rpartition(".")[2] for reader in (*inputs.READERS, *inputs.BINARY_READERS)}
"""Names of the readers of machines."""


class Target(NamedTuple):
    """A reader: its name, what reads bytes by it, and what it can read."""

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def targets() -> Iterator[Target]:
    """Every reader of machines, traces, profiles and scenarios."""
    files = {path.name: path.read_bytes() for path in sorted(SEEDS.iterdir())}
    texts = {name: decode(data, name) for name, data in files.items() if b"\0" not in data}
    for reader in inputs.READERS:
        found = (name for name, text in texts.items() if _first(inputs.READERS, text) is reader)
        yield Target(
            _named(reader), lambda data, reader=reader: _text(reader, data), tuple(files[name] for name in found)
        )
    for binary in inputs.BINARY_READERS:
        found = (data for data in files.values() if binary.recognises(data))
        yield Target(_named(binary), lambda data, binary=binary: _machines(binary.read(data, "fuzz")), tuple(found))
    for tracer in traces.READERS:
        found = (name for name, text in texts.items() if _first(traces.READERS, text.splitlines()) is tracer)
        yield Target(_named(tracer), _trace, tuple(files[name] for name in found))
    yield Target("pairs", lambda data: read_pairs(data, "fuzz"), (files["pairs.bin"],))
    yield Target("profile", lambda data: Profile.parse(decode(data, "fuzz"), "fuzz"), _all(PROFILES))
    yield Target("scenario", lambda data: Scenario.parse(decode(data, "fuzz"), "fuzz"), _all(SCENARIOS))


def _first(readers: tuple, head: object) -> object:
    return next((reader for reader in readers if reader.recognises(head)), None)


def _named(reader: object) -> str:
    return reader.__name__.rpartition(".")[2]


def _all(folder: Path) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(folder.glob("*.toml")))


def _text(reader: inputs.Reader, data: bytes) -> None:
    text = decode(data, "fuzz")
    reader.recognises(text)
    _machines(reader.read(text, "fuzz"))


def _machines(found: list[Facts]) -> None:
    """Whatever was read makes machines that hold together, or is refused."""
    for facts in found:
        machine = resolve(facts, None if facts.memory or facts.total else Ram(1 << 30))
        machine.device_ranges(12)
        ranges = sorted((*machine.ram, *machine.firmware), key=lambda r: r.base)
        ends = [0, *(r.end for r in ranges)]
        assert all(r.size > 0 and r.base >= end for r, end in zip(ranges, ends, strict=False))
        assert all(r.end <= PA_LIMIT for r in (*ranges, *machine.carved, *machine.windows))
        assert all(d.end <= PA_LIMIT or d.status == "beyond" for d in machine.devices)


def tell(data: bytes) -> None:
    """Read as the command line does, tell it, and read it back from TOML."""
    for facts in inputs.read_bytes(data, "fuzz"):
        machine = resolve(facts)
        for lines in (report.opening(machine, ""), report.ranges(machine), report.problems(machine)):
            assert all("\n" not in line for line in lines)
        assert "\n" not in report.verdict(machine)
        again = Machine.from_toml(machine.to_toml(), "fuzz")
        assert without_lines(again) == without_lines(machine)


def without_lines(machine: Machine) -> tuple:
    """What of a machine TOML keeps."""
    parts = (machine.ram, machine.firmware, machine.carved, machine.windows)
    ranges = [[(r.base, r.size, r.kind, r.name) for r in part] for part in parts]
    devices = [(d.base, d.size, d.kind, d.name, d.bar, d.bits, d.prefetch, d.status, d.role) for d in machine.devices]
    return machine.name, machine.arch, machine.origin, machine.licence, ranges, devices


def _trace(data: bytes) -> None:
    trace = traces.read_stream(io.BytesIO(data), "fuzz")
    assert len(trace.ops) >= 0 and trace.live_at_end >= 0


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeoutError where the block takes longer."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def survives(read: Callable[[bytes], object], data: bytes) -> None:
    """Reading bytes gives something, or an InputError of one line that is not longer than a few."""
    try:
        read(data)
    except InputError as error:
        assert error.reason and len(str(error)) < 2000 and len(str(error).splitlines()) == 1, repr(str(error))


# The mutator.

LINES = 8
_WORD = re.compile(rb"0x[0-9a-fA-F]+|[0-9]+|[A-Za-z_]+|[^\s\w]+|\s+")
_NUMBERS = (
    *(b"0", b"1", b"-1", b"007", b"00", b"0x", b"0x0", b"1e9", b"0b1", b"99999999999999999999999999", b"9" * 5000),
    *(b"7fffffffffffffff", b"8000000000000000", b"ffffffffffffffff", b"10000000000000000", b"0xfffffffffffff000"),
    *(
        b"2147483647",
        b"2147483648",
        b"4294967296",
        b"9223372036854775807",
        b"18446744073709551616",
        b"1 EiB",
        b"16 EiB",
    ),
)
_JUNK = (
    *(b"\n", b"\r", b"\t", b" ", b"\0", b"\x1b[32m", b"\xff", b"\xc2\xa0", b"\xe2\x80\xa8", "²".encode(), "é".encode()),
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b"(",
        b")",
        b"<",
        b">",
        b'"',
        b"'",
        b"=",
        b":",
        b"-",
        b"@",
        b"#",
        b"|",
        b"> ",
        b"\\",
        b"/*",
    ),
    *(b"[mem ", b"usable", b"BIOS-e820: ", b"nan", b"inf", b"true", b"[[a]]\n", b"a.b", b"(null)", b"<unassigned>"),
)


def mutants(target: Target, count: int, seed: int) -> Iterator[bytes]:
    """So many mutated inputs of a target."""
    rng = random.Random(f"{target.name} {seed}")
    lines = [data.splitlines(keepends=True) if b"\0" not in data else [data] for data in target.seeds]
    words = [_WORD.findall(data) for data in target.seeds]
    for _ in range(count):
        if rng.randrange(3):  # a few lines of a seed: most find what is wrong as well, and much sooner
            whole = rng.choice(lines)
            begin = rng.randrange(len(whole))
            made = _WORD.findall(b"".join(whole[begin : begin + rng.randrange(1, LINES)]))
        else:
            made = list(rng.choice(words))
        for _ in range(rng.choice((1, 1, 2, 3, 6))):
            _mutate(made, rng, words)
        yield b"".join(made)


def repeats(target: Target, count: int, seed: int) -> Iterator[bytes]:
    """So many inputs in which some words of a line stand hundreds of times, and then what does not go on so: patterns
    that can be matched in many ways take forever on these."""
    rng = random.Random(f"{target.name} {seed} repeats")
    lines = [line for data in target.seeds for line in data.splitlines() if line.strip()]
    for _ in range(count):
        words = _WORD.findall(rng.choice(lines))
        at = rng.randrange(len(words))
        stretch = words[at : at + rng.randrange(1, 5)]
        rest = rng.choice(([b" b"], [b"!"], words[at:], [rng.choice(_JUNK)]))
        yield b"\n".join((lines[0], b"".join((*words[: at * rng.randrange(2)], *stretch * 300, *rest)), lines[-1], b""))


def _mutate(made: list[bytes], rng: random.Random, words: list[list[bytes]]) -> None:
    """One change at one place, or of one stretch, of a list of words."""
    at, kind = rng.randrange(len(made) + 1), rng.randrange(10)
    stretch = slice(at, at + rng.choice((1, 2, 5, 20)))
    if kind == 0:
        made[at:at] = [rng.choice(_JUNK)]
    elif kind == 1:
        made[at : at + 1] = [rng.choice(_NUMBERS)]
    elif kind == 2:
        del made[stretch]
    elif kind == 3:
        made[at:at] = made[stretch] * rng.choice((1, 1, 1, 30))
    elif kind == 4:
        other = rng.choice(words)
        begin = rng.randrange(len(other))
        made[stretch] = other[begin : begin + rng.choice((1, 3, 10))]
    elif kind == 5 and at < len(made):
        made[at] = rng.choice(rng.choice(words))
    elif kind == 6 and at < len(made):
        cut = bytearray(made[at])
        cut[rng.randrange(len(cut))] ^= 1 << rng.randrange(8)
        made[at] = bytes(cut)
    elif kind == 7 and at < len(made):
        made[at], made[-1] = made[-1], made[at]
    elif kind == 8:
        numbers = [place for place, word in enumerate(made) if word[:1].isdigit()]
        if numbers:
            made[rng.choice(numbers)] = rng.choice(_NUMBERS)
    elif rng.random() < 0.2:
        del made[at:]
    if not made:
        made.append(b"\n")
