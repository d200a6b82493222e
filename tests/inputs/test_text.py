"""Where records begin: behind whatever stands before them, and in what mail, terminals and containers make of a log."""

import html
import json
import quopri
from ast import literal_eval
from collections.abc import Callable

import pytest
from collection import DATA
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.logs import dmesg

MIB = 1 << 20
FORMS = {
    "BIOS-e820: [mem 0x0000000000100000-0x00000000001fffff] usable": "BIOS",
    " BIOS-e820: 0000000000100000 - 0000000000200000 (usable)": "BIOS",
    " BIOS-88: 0000000000100000 - 0000000000200000 (usable)": "BIOS",
    "Xen: [mem 0x0000000000100000-0x00000000001fffff] usable": "Xen",
    " Xen: 0000000000100000 - 0000000000200000 (usable)": "Xen",
    "user: [mem 0x0000000000100000-0x00000000001fffff] usable": "user",
    "modified: [mem 0x0000000000100000-0x00000000001fffff] usable": "modified",
    "reserve setup_data: [mem 0x0000000000100000-0x00000000001fffff] usable": "reserve setup_data",
    "extended: [mem 0x0000000000100000-0x00000000001fffff] usable": "extended",
    "efi: mem00: type=7, attr=0xf, range=[0x0000000000100000-0x0000000000200000) (1MB)": "efi",
    "efi: mem00: [Conventional|   |  |WB|WT|WC|UC] range=[0x0000000000100000-0x00000000001fffff] (1MB)": "efi",
    "efi:   0x000000100000-0x0000001fffff [Loader Data |   |  |WB|  |  |  ]": "efi",
    "  node   0: [mem 0x0000000000100000-0x00000000001fffff]": "node",
    " memory: 0000000000100000 @ 0000000000100000 (usable)": "memory",
    "Kernel command line: console=ttyS0 mem=1M@1M quiet": "command line",
}
"""A line of each form of a map, each of which tells 1 MiB of RAM at 1 MiB; and the source that it is of."""


def lines_told(text: str) -> list[tuple[str, int, int, int]]:
    """What a log tells of memory: source, base, end and line."""
    (facts,) = read_bytes(text.encode(), "log")
    return [(facts.origin, r.base, r.end, r.line) for r in facts.memory]


def log_prefixes() -> list[str]:
    lines = (DATA / "field" / "prefixes.txt").read_text().splitlines()
    return [literal_eval(line) for line in lines if line.startswith("'")]


STAMP = "[    0.000000] "


@pytest.mark.parametrize("prefix", log_prefixes())
def test_prefixes_of_logs(prefix: str) -> None:
    for form, source in FORMS.items():
        for before in (prefix, prefix + STAMP):
            assert lines_told(before + form) == [(source, MIB, 2 * MIB, 1)], before


WORD = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=9)
DIGITS = st.integers(0, 99).map("{:02d}".format)
TIME = st.tuples(
    DIGITS, DIGITS, DIGITS, st.sampled_from(["", ".123", ",123456", ".123456789Z", "+0200", "+02:00"])
).map(lambda t: f"{t[0]}:{t[1]}:{t[2]}{t[3]}")
DATE = st.one_of(
    st.tuples(DIGITS, DIGITS).map(lambda d: f"20{d[0]}-{d[1]}-01T"),
    st.tuples(DIGITS, DIGITS).map(lambda d: f"{d[0]}.{d[1]}.2024 "),
    st.tuples(WORD, DIGITS).map(lambda d: f"{d[0][:3]} {d[1]} "),
    st.tuples(WORD, DIGITS, DIGITS).map(lambda d: f"{d[0][:3]} {d[1]} {d[2]} 20{d[1]} "),
)
ENCLOSED = st.tuples(st.sampled_from(["[]", "()", "<>", "{}", "||"]), WORD, st.integers(0, 12)).map(
    lambda t: f"{t[0][0]}{t[1]}{' ' * t[2]}{t[0][1]}"
)
PIECE = st.one_of(
    st.tuples(DATE, TIME).map(lambda t: t[0] + t[1] + " "),
    TIME.map("[{}]".format),
    TIME.map("{} ".format),
    st.integers(0, 10**7).map(lambda n: f"[{n // 10**6:5d}.{n % 10**6:06d}]"),
    st.integers(0, 10**7).map(lambda n: f"[{n // 10**6:5d}.{n % 10**6:06d}@{n % 8}] "),
    st.integers(0, 99999).map("{}: ".format),
    st.integers(0, 191).map("<{}>".format),
    st.tuples(st.integers(0, 7), st.integers(0, 99), st.integers(0, 9**9)).map(lambda t: "{},{},{},-;".format(*t)),
    st.tuples(WORD, st.integers(0, 9999)).map(lambda t: f"{t[0]}[{t[1]}]: "),
    st.tuples(WORD, WORD).map(lambda t: f"{t[0]}-{t[1]}  | "),
    WORD.map("{}: ".format),
    WORD.map("{}> ".format),
    WORD.map("({}) ".format),
    WORD.map("level={} msg=".format),
    ENCLOSED,
    st.sampled_from(["> ", ">> > ", "| ", "\t", " ", "\u00a0", "\x1b[32m", "\x1b[0;1m", "# ", "* ", "-(0)[0:swapper]"]),
)
PREFIX = st.lists(PIECE, min_size=0, max_size=4).map("".join).filter(lambda prefix: not prefix.startswith("-"))


@settings(max_examples=400 * EFFORT, deadline=None)
@given(st.lists(PREFIX, min_size=1, max_size=3), st.sampled_from(sorted(FORMS)), st.booleans())
def test_whatever_stands_before_a_record(prefixes: list[str], form: str, stamped: bool) -> None:
    text = "\n".join(prefix + stamped * STAMP + form for prefix in prefixes)
    assert lines_told(text) == [(FORMS[form], MIB, 2 * MIB, line) for line in range(1, len(prefixes) + 1)]


@settings(max_examples=100 * EFFORT, deadline=None)
@given(PREFIX, st.sampled_from(sorted(FORMS)))
def test_a_form_that_begins_in_a_word_is_none(prefix: str, form: str) -> None:
    assert not dmesg.read(f"{prefix}x{form.lstrip()}", "log")[0].memory


CONTAINERS: dict[str, Callable[[str], str]] = {
    "docker": lambda line: json.dumps({"log": line + "\n", "stream": "stdout", "time": "2024-05-01T10:11:12Z"}),
    "journald": lambda line: json.dumps({"PRIORITY": "6", "MESSAGE": line, "_HOSTNAME": "host"}),
    "go": lambda line: json.dumps({"msg": line}).replace("<", "\\u003c").replace(">", "\\u003e"),
    "list of bytes in a string": lambda line: "b'" + line + "\\r\\n'",
    "page": lambda line: "<li>" + html.escape(line) + "<br>",
    "logfmt": lambda line: f'time="10:11" level=info msg="{line}" id=3',
    "terminal": lambda line: f"\x1b]0;host\x07\x1b[?25l\x1b[1;32m{line}\x1b[0m\r",
    "terminal, its escapes lost": lambda line: f"[1;32m{line}[0m",
    "terminal, its escapes written": lambda line: f"^[[1;32m{line}^[[0m",
    "sentence": lambda line: f"It says: {line}",
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("stamp", ["", STAMP, "<6>" + STAMP])
def test_what_stands_around_a_record(container: str, stamp: str) -> None:
    for form, source in FORMS.items():
        text = CONTAINERS[container](stamp + form)
        assert lines_told(text) == [(source, MIB, 2 * MIB, 1)]


def test_several_records_in_one_line() -> None:
    """A web form has taken the ends of the lines, or a container has written them as escapes."""
    lines = [f"BIOS-e820: [mem 0x{n:016x}-0x{n + 0xFFF:016x}] usable" for n in range(0, 0x5000, 0x1000)]
    told = [("BIOS", n, n + 0x1000, 1) for n in range(0, 0x5000, 0x1000)]
    for stamp in ("", STAMP):
        for end in (" ", "\\n", "\\r\\n", "<br>"):
            assert lines_told(end.join(stamp + line for line in lines)) == told
    old = [f" BIOS-e820: {n:016x} - {n + 0x1000:016x} (usable)" for n in range(0, 0x5000, 0x1000)]
    assert lines_told(" ".join(old)) == told


@settings(max_examples=60 * EFFORT, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.sampled_from(["", "> ", ">>> "]), st.booleans())
def test_quoted_printable_mail(form: str, quoting: str, stamped: bool) -> None:
    raw = quoting + stamped * "[\u00a0\u00a0\u00a0\u00a00.000000] " + form + "\nroot=UUID, that is all\n"
    text = quopri.encodestring(raw.encode()).decode()
    assert "=" in text
    assert lines_told(text) == [(FORMS[form], MIB, 2 * MIB, 1)]


def test_a_log_that_looks_a_little_like_quoted_printable_is_none() -> None:
    """ "=24" is a dollar sign in quoted-printable."""
    assert lines_told("Kernel command line: console=ttyS0 mem=24M@16M root=/dev/sda=3D\n") == [
        ("command line", 16 * MIB, 40 * MIB, 1)
    ]


@settings(max_examples=100 * EFFORT, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.data())
def test_lines_that_a_terminal_has_cut(form: str, data: st.DataObject) -> None:
    """A number goes on in the next line."""
    start = form.rindex("0x") + 4 if "0x" in form else 0
    end = form.find("]", start)
    if not start or end < start or "efi:   " in form:
        return
    at = data.draw(st.integers(start, end - 1))
    assert lines_told(STAMP + form[:at] + "\n" + form[at:]) == [(FORMS[form], MIB, 2 * MIB, 1)]


@pytest.mark.parametrize("quoting", ["", "> ", ">>> "])
@pytest.mark.parametrize("form", FORMS)
def test_records_that_mail_has_wrapped(form: str, quoting: str) -> None:
    """At any space; a word may be left behind in the line before."""
    record = form.lstrip()
    for at in (at for at, character in enumerate(record) if character == " " and record[at - 1] != " "):
        if record[:at] in ("Kernel", "Kernel command", "node"):
            continue  # the beginning of the form is itself in two lines
        text = f"{STAMP}{record[:at]}\n{record[at:].lstrip()}\n[    0.000001] that is all"
        told = lines_told("\n".join(quoting + line for line in text.split("\n")))
        assert told == [(FORMS[form], MIB, 2 * MIB, 1 + (record[:at] == "reserve"))]


@pytest.mark.parametrize(
    "text",
    [
        "I wonder why the kernel says BIOS-e820: [mem 0x0000000000100000-0x00000000001fffff] usable there",
        "- BIOS-e820: [mem 0x0000000000100000-0x00000000001fffff] usable",
        "+[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x00000000001fffff] usable",
        "> // user: [mem 0x0000000000100000-0x00000000001fffff] usable",
        "superuser: [mem 0x0000000000100000-0x00000000001fffff] usable",
        "my-efi:   0x000000100000-0x0000001fffff [Loader Data |   |  |WB|  |  |  ]",
        "word  0x000000100000-0x0000001fffff [Loader Data |   |  |WB|  |  |  ]",
        "  x0x000000100000-0x0000001fffff [Loader Data |   |  |WB|  |  |  ]",
        "the user: [memory] usable",
    ],
)
def test_what_is_no_record(text: str) -> None:
    boots = dmesg.read("Linux version 6.1\n" + text, "log")
    assert not boots[0].memory and not boots[0].refusal


MAP = "".join(f"{form}\n" for form, source in FORMS.items() if source == "BIOS") * 5


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_encodings(encoding: str) -> None:
    (facts,) = read_bytes(MAP.encode(encoding), "log")
    assert len(facts.memory) == MAP.count("BIOS")


def test_null_bytes_of_a_serial_line() -> None:
    (facts,) = read_bytes(b"\0\0\0" + MAP.encode() + b"\0", "log")
    assert len(facts.memory) == MAP.count("BIOS")
    with pytest.raises(UnreadableError, match=r"log:1: binary data, not text"):
        read_bytes(b"\0" * len(MAP) + MAP.encode(), "log")
    with pytest.raises(UnreadableError, match="binary data, not text"):
        read_bytes(b"\0\1" + MAP.encode(), "log")


def test_names_hold_no_control_characters() -> None:
    """A name may forge a line of what is printed, or a terminal's title."""
    name = "A\x08 \x9bboard\u202e \x7f\x02"
    (facts,) = read_bytes(f"Machine model: {name}\nBIOS-e820: [mem 0x0-0xfff] type\x07 20\n".encode(), "log")
    assert facts.name == "A board" and [r.name for r in facts.memory] == ["type"]
    assert not [told for told in (*facts.problems, *facts.unread) if not told.text.isprintable()]
