"""Recordings of kernels: every printer's form, whatever stands before its lines, and what a damaged line costs."""

import io
import re
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from textwrap import wrap

import pytest
from collection import DATA
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.limits import raised
from kernmalloc.inputs.traces import kmem, read_stream
from kernmalloc.inputs.traces.events import NAMES, QUICK, Said, record, said
from kernmalloc.inputs.traces.trace import ORDERS, Recorder, TracedCache

SMALL = Path(__file__).parents[2] / "data" / "traces"
TRACEFS = (SMALL / "gcc.tracefs.txt").read_text()
PERF = (SMALL / "ls.perf.txt").read_text()
SITE = "call_site=f+0x1/0x2"


def read(text):
    return read_stream(io.BytesIO(text.encode()), "t")


def same(left, right):
    """Whether two traces are of the same operations."""
    return left.ops.tolist() == right.ops.tolist() and left.caches == right.caches and left.slots == right.slots


def operations(text):
    """Codes of a text's operations, as pairs of what and how much: kind, and bytes or -bytes."""
    trace = read(text)
    return list(zip(trace.kinds.tolist(), trace.bytes().tolist(), strict=True))


# --- forms

BLOCK, PAGE, OBJECT = -1, 0, ORDERS
FORMS = {"perf trace": "ls.perf-trace.txt", "LTTng": "ls.lttng.txt", "bpftrace": "ls.bpftrace.txt"}
FORMS = {form: (SMALL / name).read_text() for form, name in FORMS.items()}
TOLD = [(BLOCK, 37), (OBJECT, 192), (2, 16384), (PAGE, 4096), (PAGE, -4096), (OBJECT, -192), (BLOCK, -37), (2, -16384)]
"""What each of them tells."""


@pytest.mark.parametrize("form", FORMS)
def test_a_printer_s_form_is_read(form):
    trace = read(FORMS[form])
    assert trace.form == form and operations(FORMS[form]) == TOLD
    assert trace.caches == (TracedCache("dentry", 192),)
    assert (trace.skipped.null, trace.skipped.other, trace.skipped.unread) == (1, 1, 0)


FAILED = {
    "perf trace": "kmem:mm_page_alloc(pfn: -1, order: 9)\nkmem:kmalloc(call_site: -21, bytes_req: 64)\n",
    "LTTng": "kmem_mm_page_alloc: { cpu_id = 0 }, { page = 0x0, pfn = 18446744073709551615, order = 9 }\n"
    "kmem_kmalloc: { cpu_id = 0 }, { call_site = 0xFF, ptr = 0x0, bytes_req = 64 }\n",
    "bpftrace": "tracepoint:kmem:mm_page_alloc { .pfn = 18446744073709551615, .order = 9 }\n"
    "tracepoint:kmem:kmalloc { .ptr = 0x0, .bytes_req = 64 }\n",
}


@pytest.mark.parametrize("form", FAILED)
def test_failed_allocations_are_told_in_every_form(form):
    trace = read(FAILED[form])
    assert trace.form == form and trace.skipped.failed == 2 and not len(trace.ops)


MEMLEAK = (SMALL / "top.memleak.txt").read_text()


def test_memleak_s_single_events():
    """As `memleak -t` prints them (such lines are in iovisor/bcc#4374), and once as the trace pipe has it."""
    trace = read(MEMLEAK)
    assert trace.form == "memleak" and operations(MEMLEAK) == [(BLOCK, 7), (BLOCK, 5), (BLOCK, -7)]
    assert (trace.skipped.before, trace.skipped.failed, trace.skipped.unread) == (1, 1, 0)


def test_a_program_s_heap_by_lttng():
    begin = "[20:38:11.907388453] (+3.229928201) desktop lttng_ust_libc:{}: {{ cpu_id = 1 }}, {{ {} }}\n"
    text = "".join(
        begin.format(*each)
        for each in (
            ("malloc", "size = 4, ptr = 0x151BD40"),
            ("calloc", "nmemb = 3, size = 100, ptr = 0x151BD80"),
            ("realloc", "in_ptr = 0x151BD40, size = 50, ptr = 0x151BD40"),
            ("realloc", "in_ptr = 0x0, size = 60, ptr = 0x15200"),
            ("realloc", "in_ptr = 0x15200, size = 0, ptr = 0x0"),
            ("posix_memalign", "out_ptr = 0x16000, alignment = 64, size = 70, result = 0"),
            ("posix_memalign", "out_ptr = 0x17000, alignment = 64, size = 70, result = 12"),
            ("memalign", "alignment = 64, size = 80, ptr = 0x18000"),
            ("free", "ptr = 0x0"),
            ("free", "ptr = 0x151BD40"),
        )
    )
    told = [4, 300, 50, -4, 60, -60, 70, 80, -50]
    assert operations(text) == [(BLOCK, each) for each in told]
    assert read(text).form == "LTTng" and (read(text).skipped.failed, read(text).skipped.null) == (1, 1)


# --- what a recording lies in


def page_of(lines):
    """A page as systrace writes it: scripts of its own, the trace as data of a script, other agents' data."""
    data = '  <script class="trace-data" type="application/text">\n'
    return (
        "<!DOCTYPE html>\n<html>\n<head>\n<title>Android System Trace</title>\n<script>\n"
        + "".join(f"var x{i} = {{a: b}};  // line {i}\n" for i in range(300))
        + f"</script>\n<!-- BEGIN TRACE -->\n{data}{lines}  </script>\n"
        + data
        + '{"traceEvents": [\n]}\n  </script>\n<!-- END TRACE -->\n</body>\n</html>\n'
    )


def old_page_of(lines):
    """A page as the first systrace wrote it: the trace is a string of JavaScript, over many lines."""
    return (
        '<!DOCTYPE HTML>\n<html>\n<head>\n<script language="javascript">\n'
        + "".join(f"  x{i} = y;\n" for i in range(1500))
        + '</script>\n</head>\n<body>\n  <script>\n  var linuxPerfData = "\\\n'
        + "".join(line[:-1] + "\\n\\\n" for line in lines.splitlines(True))
        + '           dummy-0000  [000] 0.0: 0: trace_event_clock_sync: parent_ts=0.0\\n";\n'
        + "  var timelineViewEl;\n  function onLoad() {\n    reload();\n  }\n</script>\n</body>\n</html>\n"
    )


def dump_of(lines, stamp=lambda i: f"[  {46 + i / 1000:.6f}] "):
    """A kernel's log in which it dumped ftrace's buffer, as it panicked."""
    rule = "-" * 33
    events = [line for line in lines.splitlines() if not line.startswith("#")]
    log = ["Linux version 6.1.0", "BIOS-provided physical RAM map:", *(f"usb 1-1: device {i}" for i in range(1200))]
    after = ["Kernel Offset: disabled", "Rebooting in 1 seconds..", *(f"late {i}" for i in range(100))]
    return "".join(
        f"{stamp(i)}{line}\n" for i, line in enumerate([*log, "Dumping ftrace buffer:", rule, *events, rule, *after])
    )


@pytest.mark.parametrize(
    "form, text",
    [
        ("systrace", page_of(TRACEFS)),
        ("systrace", old_page_of(TRACEFS)),
        ("ftrace dump", dump_of(TRACEFS)),
        ("ftrace dump", dump_of(TRACEFS, lambda i: "")),
        ("ftrace dump", dump_of(TRACEFS, lambda i: f"<4>[  {46 + i / 1000:.6f}][T1234] ")),
    ],
)
def test_a_recording_is_found_in_what_it_lies_in(form, text):
    trace = read(text)
    assert trace.form == form and same(trace, read(TRACEFS)) and trace.skipped.unread == 0


def test_a_log_without_a_dump_is_a_machine():
    log = "".join(f"[    0.0000{i:02}] BIOS-e820: [mem 0x{i:06x}000-0x{i:06x}fff] usable\n" for i in range(20))
    with pytest.raises(InputError, match=r"^t: tells a machine, and is no trace \(kernmalloc check reads it\)$"):
        read(log)


def quoted(text, width=70):
    """Text of a mail in quoted-printable."""
    lines = []
    for line in text.replace("=", "=3D").splitlines():
        while len(line) > width:
            cut = width - (2 if line[width - 2] == "=" else 1 if line[width - 1] == "=" else 0)
            lines.append(line[:cut] + "=")
            line = line[cut:]
        lines.append(line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("text", [TRACEFS, PERF])
def test_a_mail_s_quoted_printable_is_undone(text):
    assert same(read(quoted(text)), read(text)) and read(quoted(text)).skipped.unread == 0


def test_colours_and_the_zeros_of_a_disk_are_none_of_it():
    coloured = re.sub(r"(kmalloc|kfree)", "\x1b[01;31m\x1b[K\\1\x1b[m\x1b[K", TRACEFS)
    assert same(read(coloured), read(TRACEFS))
    lines = TRACEFS.splitlines(True)
    lines[20] = "\0" * 100 + lines[20]
    assert same(read("".join(lines)), read(TRACEFS))


# --- anything before a line

TAGS = [
    *("> ", ">> ", "| ", "\t", "kernel: ", "host kernel: ", "kern  :info  : ", "<6>", "6,123,0,-;", "12:", "ttyS0| "),
    *("[2020-09-13 12:08:54] ", "[07:50:34.978][Moby           ][Info   ] ", "[    0.000000]  (0)[0:swapper]"),
    *("c0      0 ", "2024-05-01T10:11:12,123456+02:00 ", "[May 1 10:11] ", "[    1.000000@0] ", '{"log":"', "(XEN) "),
    *("05-01 10:11:12.123     0     0 I         : ", "Jun 26 03:58:42 host kernel: [    0.000000] ", "=> "),
    *("мая 01 10:11:12 ", "\u00a0", "[T1] [CPU3] ", "I/kernel: "),
]
STAMPS = st.integers(0, 10**9).map(lambda n: f"[{n / 1000:12.6f}] ")
PREFIXES = st.lists(st.sampled_from(TAGS) | STAMPS, min_size=1, max_size=3).map("".join)


@given(st.lists(PREFIXES, min_size=1, max_size=4), st.sampled_from([TRACEFS, PERF, *FORMS.values(), MEMLEAK]))
def test_anything_may_stand_before_a_line(prefixes, text):
    """One prefix, or others from line to line."""
    marked = "".join(map("".join, zip(cycle(prefixes), text.splitlines(True))))
    assert same(read(marked), read(text))


@pytest.mark.skipif(not DATA.exists(), reason="no collection beside the repository")
def test_what_people_s_logs_have_before_a_line():
    prefixes = re.findall(r"^'(.*)'$", (DATA / "field" / "prefixes.txt").read_text(), re.M)
    assert len(prefixes) > 15
    for prefix in prefixes:
        for text in (TRACEFS, PERF, FORMS["LTTng"]):
            assert same(read("".join(prefix + line for line in text.splitlines(True))), read(text)), prefix


@pytest.mark.parametrize(
    "line",
    [
        "kmalloc: ptr is NULL, bytes_req too large",
        "bash-1 [000] ..... 1.234567: tracing_mark_write: kmalloc: call_site=f ptr=0x10f0 bytes_req=7",
        "bash-1 [000] ..... 1.234567: sched_switch: prev_comm=kfree: ptr=1 prev_pid=2",
        "my_kmalloc: ptr=0x10f0 bytes_req=7",
        "do.kfree: ptr=0x10f0",
        "bash-1 [000] ..... 1.234567: kfree <-do_exit",
        "kmalloc_trace: ptr=0x10f0 bytes_req=7",
        " 0)   0.541 us    |  kfree();",
        "dmesg: alloc exited",
    ],
)
def test_what_is_no_event_is_none(line):
    trace = read(f"bash-1 [000] ..... 1.234567: kfree: {SITE} ptr=0xf0 \n{line}\n")
    assert trace.skipped.before == 1 and not len(trace.ops)


# --- numbers, and lines that are damaged


@pytest.mark.parametrize(
    "event, fields, told",
    [
        ("kmalloc", "ptr=0x10f0 bytes_req=007 bytes_alloc=8", (BLOCK, 7)),
        ("kmalloc", "ptr=0x10f0 bytes_req=0x010 bytes_alloc=16", (BLOCK, 16)),
        ("mm_page_alloc", "page=0 pfn=0123 order=010 migratetype=0", (10, 4 << 20)),
        ("mm_page_alloc", "page=0 pfn=0x0123 order=02", (2, 4 << 12)),
        ("kmalloc", "ptr=18446612134405955584 bytes_req=9", (BLOCK, 9)),
    ],
)
def test_numbers_are_read_as_they_are_meant(event, fields, told):
    assert operations(f"a-1 [000] 1.2: {event}: {SITE} {fields}\n\n") == [told]


@pytest.mark.parametrize(
    "pointer", ["  (null)", "(null)", "          (null)", "(nil)", "NULL", "0x0", "0000000000000000"]
)
def test_a_pointer_to_nothing(pointer):
    trace = read(f"a-1 [000] 1.2: kfree: call_site=c10bfa4a ptr={pointer}\n")
    assert trace.skipped.null == 1 and trace.skipped.unread == 0


@pytest.mark.parametrize(
    "value", ["12.5", "1,234", "4\ufffd96", "4\x0096", "0x", "", "9" * 30, "-5k", "zz", "\x1b[31m"]
)
def test_a_value_that_is_no_number_is_unread_never_cut_short(value):
    good = f"a-1 [000] 1.2: kmalloc: {SITE} ptr=0x10f0 bytes_req=7 bytes_alloc=8\n"
    bad = good.replace("bytes_req=7", f"bytes_req={value}").replace("10f0", "20f0")
    trace = read(good + bad)
    assert trace.bytes().tolist() == [7] and trace.skipped.unread == 1
    assert trace.skipped.first[0].startswith("line 2: kmalloc: bytes_req=") and trace.skipped.first[0].isprintable()


@pytest.mark.parametrize("fields", ["ptr=0x10f0 bytes_req=2147483648 b", "ptr=0x10f0 bytes_req=99999999999999999999 b"])
def test_a_block_that_no_kernel_has_is_unread(fields):
    trace = read(f"a-1 [000] 1.2: kmalloc: {SITE} ptr=0x1 bytes_req=7 b\na-1 [000] 1.2: kmalloc: {SITE} {fields}\n")
    assert trace.bytes().tolist() == [7] and trace.skipped.unread == 1 and "2 GiB" in trace.skipped.first[0]
    assert read("kfree: ptr=0xf0 \nmm_page_alloc: page=0 pfn=5 order=30 m\n").skipped.first == [
        "line 2: a block of 2^30 pages, more than any kernel has"
    ]


def test_a_recording_that_is_mostly_unread_is_refused():
    good = f"a-1 [000] 1.2: kfree: {SITE} ptr=0x10f0 x\n"
    assert read(good * 3 + "Segmentation fault\n" * 3).skipped.unread == 3
    with pytest.raises(InputError, match=r"^t:4: no event: 'Segmentation fault'; 4 of 7 lines cannot be read \(record"):
        read(good * 3 + "Segmentation fault\n" * 4)


@pytest.mark.parametrize("text", [TRACEFS, PERF])
@pytest.mark.parametrize("width", [20, 40, 72, 80, 100, 132, 160])
def test_a_terminal_s_wrapping(text, width):
    """Lines that are cut after so many columns, also within a name or a number: nothing is read wrong."""
    events = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    cut = "".join(line[at : at + width] + "\n" for line in events.splitlines() for at in range(0, len(line), width))
    whole = known_operations(events)
    assert known_operations(cut) <= whole
    if width >= 72:
        assert len(known_operations(cut)) >= 0.5 * len(whole)


def known_operations(text):
    """What a text's events say, each of them once; what it says before it is refused, if it is."""
    seen = set()

    def keep(made, event):
        seen.add(event[1:4])
        record(made, event)

    with pytest.MonkeyPatch.context() as patch, suppress(InputError):
        patch.setattr(kmem, "record", keep)
        patch.setattr(kmem, "QUICK", dict.fromkeys(QUICK, (lambda fields, at: None, None)))
        read(text)
    return seen


def test_a_mailer_s_wrapping():
    """Between words, at 72 columns: all is read."""
    events = [line for line in TRACEFS.splitlines() if not line.startswith("#")]
    parts = (part for line in events for part in wrap(line, 72, break_long_words=False, break_on_hyphens=False))
    trace = read("\n".join(parts) + "\n")
    assert same(trace, read(TRACEFS)) and trace.skipped.unread == 0


def test_what_a_lost_line_costs():
    """Each line once cut, or replaced: the rest is read, and the line is named."""
    lines = TRACEFS.splitlines(True)
    events = [at for at, line in enumerate(lines) if not line.startswith("#")]
    for at in events:
        for instead in ("?\n", lines[at][: len(lines[at]) // 2] + "\n", "\n"):
            trace = read("".join([*lines[:at], instead, *lines[at + 1 :]]))
            assert trace.skipped.unread <= 1 and (instead == "\n" or trace.skipped.unread or len(trace.ops))
            if instead == "?\n":
                assert trace.skipped.first == [f"line {at + 1}: no event: '?'"]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("lines", "junk\n" * 11, "t: not a trace: "),
        ("lines", "sched: a=1\n" * 11, "t: no kmem event in its first 10 lines (--limit lines=N takes more)"),
        (
            "lines",
            f"kfree: {SITE} ptr=0xf0 x\n" * 20 + "junk\n" * 11,
            "t:31: more than 10 lines cannot be read (--limit",
        ),
        (
            "operations",
            f"kmalloc: {SITE} ptr=0xf0 bytes_req=7 x\n" * 11,
            "t:6: more than 10 operations in a trace (--limit",
        ),
        ("trace", f"kfree: {SITE} ptr=0xf0 x\n", "t: more than 10 B in a trace (--limit trace=N takes more)"),
    ],
)
def test_a_recording_beyond_a_limit_is_refused_in_one_line(name, text, message):
    with raised(**{name: 10}), pytest.raises(InputError, match="^" + re.escape(message)):
        read(text)


# --- the quick way and the other one


VALUES = st.sampled_from(
    [
        "0",
        "0x0",
        "0x10",
        "(null)",
        "10f0",
        "0x10f0",
        "ffff9a3f42d5c000",
        "0000000000000010",
        "7",
        "007",
        "12",
        "-1",
        "x",
    ]
)


@given(
    st.sampled_from(NAMES),
    st.fixed_dictionaries(dict.fromkeys(("ptr", "bytes_req", "pfn", "order"), VALUES)),
    st.sampled_from(["", "name=dentry ", "name=a b "]),
    st.sampled_from(["bytes_alloc=8\n", "gfp_flags=GFP_KERNEL\n", "\n"]),
)
def test_the_quick_way_says_what_the_other_says(event, values, name, rest):
    """Whatever the fields: what is taken at once is what a closer look would take."""
    fields = f"call_site=f ptr={values['ptr']} {name}bytes_req={values['bytes_req']} {rest}"
    if event.startswith("mm_"):
        fields = f"page=0 pfn={values['pfn']} order={values['order']} migratetype=0\n"
    match, take = QUICK[event]
    if found := match(fields, 0):
        quick, slow = Recorder("t"), Recorder("t")
        take(quick, found)
        what = said(event, fields, False)
        assert isinstance(what, Said) and what.whole
        record(slow, what)
        assert same(quick.trace("t"), slow.trace("t")) and quick.skipped == slow.skipped
