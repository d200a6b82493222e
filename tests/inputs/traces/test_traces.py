"""Traces: every form is read for what it is, what a recording lacks is counted, and what cannot be read has file and line."""

import gzip
import io
import re
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy
import pytest
from backports import zstd
from collection import DATA
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.traces import read_stream, read_trace
from kernmalloc.inputs.traces.trace import LARGEST, ORDERS, Skipped, TracedCache

SMALL = Path(__file__).parents[2] / "data" / "traces"
FORMS = {
    "gcc.tracefs.txt": "tracefs",
    "gcc.tracefs.gz": "tracefs",
    "find.tracefs.zst": "tracefs",
    "ls.perf.txt": "perf script",
    "ls.trace-cmd.txt": "trace-cmd report",
    "freeciv.rep": "malloc-lab",
    "sqlite.bin": "pairs",
}
FOUND = sorted((DATA / "traces").rglob("*.*")) if DATA.exists() else []
REAL = [path for path in FOUND if EFFORT > 1 or path.stat().st_size < 5_000_000]  # the largest: make nightly
BEFORE = "            bash-19815   [001] .....  1219.004371: "
ALLOC = (
    BEFORE
    + "kmalloc: call_site=f+0x1/0x2 ptr={} bytes_req={} bytes_alloc=64 gfp_flags=GFP_KERNEL node=-1 accounted=false\n"
)
FREE = BEFORE + "kfree: call_site=f+0x1/0x2 ptr={}\n"


def read(text, file="t"):
    """The trace in a text or bytes."""
    return read_stream(io.BytesIO(text if isinstance(text, bytes) else text.encode()), file)


def told(trace):
    """Operations as a reader of the trace would tell them: what is allocated, or the number of the allocation that is freed."""
    live, result = {}, []
    for number, (slot, kind, bytes) in enumerate(
        zip(trace.ops["slot"].tolist(), trace.kinds.tolist(), trace.bytes().tolist(), strict=True)
    ):
        if bytes > 0:
            live[slot] = number
            name = bytes if kind < 0 else kind if kind < ORDERS else trace.caches[kind - ORDERS]
            result.append(("pages", name) if 0 <= kind < ORDERS else name)
        else:
            result.append(("free", live.pop(slot)))
    return result


def one(line):
    """The single operation of a trace of one line."""
    (what,) = told(read(line))
    return what


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_told_from_what_is_in_it(name):
    data = (SMALL / name).read_bytes()
    trace = read(data, "anything")
    assert trace.form == FORMS[name] and trace.file == "anything"
    assert len(trace.ops) > 20
    running = trace.bytes().cumsum()
    assert running.min() >= 0
    assert running[-1] == sum(bytes for bytes in live_sizes(trace))


def live_sizes(trace):
    """Bytes of what is live at the end, found the slow way."""
    live = {}
    for slot, bytes in zip(trace.ops["slot"].tolist(), trace.bytes().tolist(), strict=True):
        if bytes > 0:
            assert slot not in live
            live[slot] = bytes
        else:
            assert live.pop(slot) == -bytes
    assert len(live) == trace.live_at_end
    return live.values()


def test_compressed_and_plain_and_two_printers_of_one_recording_are_one_trace():
    assert told(read_trace(SMALL / "gcc.tracefs.txt")) == told(read_trace(SMALL / "gcc.tracefs.gz"))
    text = (SMALL / "ls.perf.txt").read_text()
    report = "cpus=2\n" + re.sub(
        r"(\S+) (\d+) (\[\d+\]) +([\d.]+): +kmem:(\w+): ", r"\1-\2   \3  \4: \5:              ", text
    )
    perf, other = read(text), read(report)
    assert told(perf) == told(other) and perf.skipped == msgspec.structs.replace(other.skipped, passed={})
    assert (perf.form, other.form) == ("perf script", "trace-cmd report")


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_damaged_packing_is_told(pack):
    whole = pack(b"".join(ALLOC.format(hex(i << 6), i).encode() for i in range(1, 2001)))
    assert len(read(whole).ops) == 2000
    with pytest.raises(InputError, match=r"^t: damaged (gzip|zstd) file"):
        read(whole[: len(whole) // 2])


# --- what kernels print


NODE = TracedCache("dentry", 192)


@pytest.mark.parametrize(
    "line, expected",
    [
        # 2.6.32 to 5.19: no name, no node, pfn in decimal; kmalloc_node beside kmalloc
        (
            "gnome-terminal-1567  [000]  4415.246506: kmalloc: call_site=c10f01 ptr=ffff88003fc1e000 bytes_req=20 bytes_alloc=32 gfp_flags=GFP_KERNEL",
            20,
        ),
        (
            "sh-1 [000] 1.2: kmalloc_node: call_site=ffffffff81 ptr=ffff880 bytes_req=300 bytes_alloc=512 gfp_flags=GFP_KERNEL node=-1",
            300,
        ),
        (
            "sh-1 [000] 1.2: kmem_cache_alloc_node: call_site=ffffffff81 ptr=ffff880 bytes_req=300 bytes_alloc=512 gfp_flags=GFP_KERNEL node=0",
            TracedCache("", 300),
        ),
        (
            "sh-1 [000] 1.2: kmem_cache_alloc: call_site=alloc+0x2a/0x30 ptr=00000000746b13c6 bytes_req=192 bytes_alloc=192 gfp_flags=GFP_KERNEL",
            TracedCache("", 192),
        ),
        (
            "sh-1 [000] 1.2: mm_page_alloc: page=ffffea0003db9f40 pfn=1155800 order=2 migratetype=0 gfp_flags=GFP_NOFS",
            ("pages", 2),
        ),
        # 6.x: node and accounted; then name, in either place
        (
            "sh-1 [000] 1.2: kmem_cache_alloc: call_site=f ptr=0x10f0 bytes_req=192 bytes_alloc=192 gfp_flags=GFP_KERNEL node=-1 accounted=true",
            TracedCache("", 192),
        ),
        (
            "sh-1 [000] 1.2: kmem_cache_alloc: call_site=f ptr=0x10f0 name=dentry bytes_req=192 bytes_alloc=192 gfp_flags=GFP_KERNEL node=-1",
            NODE,
        ),
        (
            "sh-1 [000] 1.2: kmem_cache_alloc: call_site=f name=dentry ptr=0x10f0 bytes_req=192 bytes_alloc=192 gfp_flags=GFP_KERNEL",
            NODE,
        ),
        (
            "sh-1 [000] 1.2: kmem_cache_alloc: call_site=f ptr=0x10f0 bytes_req=192 bytes_alloc=192 gfp_flags=GFP_KERNEL name=dentry",
            NODE,
        ),
        (
            "sh-1 [000] 1.2: kmem_cache_alloc: call_site=f ptr=0x10f0 name=dentry(52:a b) bytes_req=192",
            TracedCache("dentry(52:a b)", 192),
        ),
        (
            "sh-1 [000] 1.2: mm_page_alloc: page=0000000012345678 pfn=0x143a77 order=0 migratetype=1 gfp_flags=GFP_KERNEL",
            ("pages", 0),
        ),
        ("sh-1 [000] 1.2: mm_page_alloc: pfn=0x143a77 order=9 migratetype=1 gfp_flags=GFP_KERNEL", ("pages", 9)),
        # columns: latency format, thread group, a clock that counts, trace-cmd's plugin and raw fields, perf's period and lack of columns
        ("   <...>-1234    1d..31 1234us : kmalloc: call_site=f ptr=0x10f0 bytes_req=7 bytes_alloc=8", 7),
        ("   <...>-1234    1d..31 1234us+: kmalloc: call_site=f ptr=0x10f0 bytes_req=7 bytes_alloc=8", 7),
        ("   <...>-1234    (-----) [001] d..1. 12.345678: kmalloc: call_site=f ptr=0x10f0 bytes_req=7", 7),
        ("   <...>-1234    [001] d..1. 1234567: kmalloc: call_site=f ptr=0x10f0 bytes_req=7", 7),
        (
            "      ls-12496 [000]  4875.731245: kmalloc:              (perf_event_mmap+0x155) call_site=ffffffff812a ptr=0xffff8881581af000 bytes_req=4096 bytes_alloc=4096",
            4096,
        ),
        (
            "      ls-12496 [000]  4875.731245: kmalloc:              call_site=0xffffffff812a ptr=0xffff8881581af000 bytes_req=0x80 bytes_alloc=128",
            128,
        ),
        (
            "      ls 12496/12496 [000]  4875.731245123:          1 kmem:kmalloc: call_site=f ptr=0xffff8881581af000 bytes_req=9 bytes_alloc=16",
            9,
        ),
        ("kmalloc: call_site=f ptr=0x10f0 bytes_req=7 bytes_alloc=8", 7),
        (
            "    bash   22356   0 52 00000001 00000004 [32b4c7d00] 19.898ms (+0.002ms): kmalloc: call_site=f ptr=0x10f0 bytes_req=7",
            7,
        ),
        ("    bash-22356   [000] .....            4: kmalloc: call_site=f ptr=0x10f0 bytes_req=7", 7),
        (
            "      ls-77 [000] 1.2: mm_page_alloc:         pfn=0x1700af order=0 gfp_flags=0x140dca migratetype=1",
            ("pages", 0),
        ),
        ("      ls kmem:kmalloc: call_site=f ptr=0xffff8881581af000 bytes_req=9 bytes_alloc=16", 9),
        # names of processes
        ("kworker/0:1-mm_-77 [000] d..1. 1.2: kmalloc: call_site=f ptr=0x10f0 bytes_req=7", 7),
        ("(sd-pam)-77 [000] d..1. 1.2: kmalloc: call_site=f ptr=0x10f0 bytes_req=7", 7),
        ("Web Content [1]-77 [000] d..1. 1.2: kmalloc: call_site=f ptr=0x10f0 bytes_req=7", 7),
        ("a: kfree: b-77 [000] d..1. 1.2: kmalloc: call_site=f ptr=0x10f0 bytes_req=7", 7),
        ("      1.2: kfree: 77 [000]  4875.731245: kmem:kmalloc: call_site=f ptr=0x10f0 bytes_req=7", 7),
    ],
)
def test_fields_and_columns_of_kernels_old_and_new(line, expected):
    assert one(line + "\n") == expected


@pytest.mark.parametrize(
    "lines, skipped",
    [
        (FREE.format("00000000746b13c6"), Skipped(before=1)),
        (FREE.format("0000000000000000") + FREE.format("(nil)") + FREE.format("0x10"), Skipped(null=3)),
        (ALLOC.format("(nil)", 12) + ALLOC.format("0000000000000000", 12), Skipped(failed=2)),
        (BEFORE + "mm_page_alloc: page=(null) pfn=0 order=4 migratetype=0 gfp_flags=GFP_KERNEL\n", Skipped(failed=1)),
        (
            BEFORE + "mm_page_alloc: page=0000000000000000 pfn=0xffffffffffffffff order=4 migratetype=0 gfp_flags=X\n",
            Skipped(failed=1),
        ),
        (BEFORE + "mm_page_free: page=00000000d8d826de pfn=0x143a77 order=0\n", Skipped(before=1)),
        (
            FREE.format("0xf0") + "CPU:3 [LOST 120 EVENTS]\nCPU:1 [7 EVENTS DROPPED]\nCPU:1 [EVENTS DROPPED]\n",
            Skipped(before=1, lost=128),
        ),
        (FREE.format("0xf0") + "ls 12496 [000]  4875.7: PERF_RECORD_LOST lost 12\n", Skipped(before=1, lost=12)),
        (
            FREE.format("0xf0") + BEFORE + "sched_switch: prev_comm=bash prev_pid=1 ==> next_comm=x\n",
            Skipped(before=1, other=1),
        ),
        (
            FREE.format("0xf0") + BEFORE + "mm_page_free_batched: page=0 pfn=0x143a77 order=0\n",
            Skipped(before=1, other=1),
        ),
        (
            FREE.format("0xf0") + BEFORE + "do_fork <-sys_clone\n" + BEFORE + "tracing_mark_write: hello\n",
            Skipped(before=1, other=2),
        ),
        ("kfree: call_site=f ptr=0xf0\nrss_stat: mm_id=1 curr=1\n", Skipped(before=1, other=1)),
        (
            "# tracer: nop\n#\n\n##### CPU 1 buffer started ####\ncpus=2\nversion = 7\nCPU 1 is empty\n"
            + FREE.format("0xf0"),
            Skipped(before=1),
        ),
        (FREE.format("0xf0") + BEFORE + "<stack trace>\n => kfree\n => do_exit\n", Skipped(before=1)),
        (
            FREE.format("0xf0")
            + "\tffffffff8128f0a1 kfree+0x1 ([kernel.kallsyms])\n\t            7f01 [unknown] (/usr/bin/ls)\n\n",
            Skipped(before=1),
        ),
        (FREE.format("0xf0") + "\t              40 f (/opt/an app/x)\n\t_start (inlined)\n", Skipped(before=1)),
        (
            "Warning:\nProcessed 47969 events and lost 3 chunks!\n\nCheck IO/CPU overload!\n\n" + FREE.format("0xf0"),
            Skipped(before=1, lost=3),
        ),
        (" 0)   0.541 us    |  kfree();\n" + FREE.format("0xf0"), Skipped(before=1)),
        (FREE.format("0xf0") + ALLOC.format("0xf0", 128).split("8 bytes_alloc")[0], Skipped(before=1, cut=1)),
        (FREE.format("0xf0") + "            ba", Skipped(before=1, cut=1)),
    ],
)
def test_what_a_recording_lacks_is_counted_never_an_error(lines, skipped):
    trace = read(lines)
    assert msgspec.structs.replace(trace.skipped, passed={}) == skipped
    assert len(trace.ops) == 0 and trace.live_at_end == 0


def test_a_free_ends_whatever_its_address_names():
    alloc = BEFORE + "kmem_cache_alloc: call_site=f ptr={} name=maple_node bytes_req=256 bytes_alloc=256\n"
    page = BEFORE + "mm_page_{}: page=0 pfn=0xf0 order={}\n"
    node = TracedCache("maple_node", 256)
    # kfree of an object; an address given out again, whose free nobody saw; a frame of the same number as an address
    trace = read(
        alloc.format("0xf0")
        + FREE.format("0xf0")
        + alloc.format("0xf0")
        + ALLOC.format("0xf0", 9)
        + page.format("alloc", 1)
        + FREE.format("0xf0")
        + page.format("free", 1)
        + page.format("free", 1)
    )
    assert told(trace) == [node, ("free", 0), node, ("free", 2), 9, ("pages", 1), ("free", 4), ("free", 5)]
    assert trace.skipped == Skipped(unseen=1, before=1)
    assert trace.slots == 2  # used again
    assert trace.bytes().tolist() == [256, -256, 256, -256, 9, 8192, -9, -8192]
    assert trace.bytes(page=8192)[5] == 16384
    assert trace.pairs().tolist() == [[0, 256], [0, 0], [0, 256], [0, 0], [0, 9], [0, 0]]
    assert trace.pairs().dtype == numpy.int32


# --- programs


def test_malloc_lab_realloc_takes_the_new_block_first():
    trace = read("20000\n2\n7\n1\na 0 10\nr 0 20\na 1 30\nf 0\nr 1 0\nr 5 8\nf -1\nf 7\n")
    assert told(trace) == [10, 20, ("free", 0), 30, ("free", 1), 1, ("free", 3), 8]
    assert trace.skipped == Skipped(null=1, before=1)
    assert told(read("1\n2\n3\na 0 10\r\na 1 \r\nf 0\r\n\r\n")) == [10, 10, ("free", 0)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 200)), min_size=1))
def test_pairs_are_read_as_their_text_is(pairs):
    """Whatever is freed twice or allocated twice."""
    text = "1\n6\n9\n" + "".join(f"a {id} {bytes}\n" if bytes else f"f {id}\n" for id, bytes in pairs)
    binary, lines = read(numpy.array(pairs, "<i4").tobytes()), read(text)
    assert told(binary) == told(lines) and binary.skipped == lines.skipped
    live_sizes(binary)
    assert told(read(binary.pairs().tobytes()) if len(binary.ops) else binary) == told(binary)


# --- what cannot be read


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "t: empty: there is no event in it (record one: "),
        (b"\n \n", "t: empty"),
        (b"hello\n", "t: not a trace: no kernel event, no malloc-lab operation, no pairs"),
        (b"# tracer: nop\n#\n", "t: no kmem event in it, no event at all"),
        (BEFORE.encode() + b"sched_switch: prev_comm=x\n", "t: no kmem event in it, 1 other events"),
        (
            b"\x17\x08\x44tracing7\0\0",
            "t: trace-cmd's own recording, not text (give the output of trace-cmd report -i FILE)",
        ),
        (b"PERFILE2\0\0", "t: perf's own recording"),
        (FREE.format("zz"), "t:1: kfree: ptr=zz is not an address"),
        (BEFORE + "kfree: call_site=f\n", "t:1: kfree: no ptr=; 1 of 1 lines cannot be read (record one: "),
        (BEFORE + "kfree: \n", "t:1: kfree: no ptr="),
        (
            FREE.format("(____ptrval____)"),
            "t:1: kfree: the kernel hid its addresses; 1 of 1 lines cannot be read (trace later after boot)",
        ),
        (ALLOC.format("0xf0", "4o96"), "t:1: kmalloc: bytes_req=4o96 is not a number"),
        (ALLOC.format("0xf0", LARGEST + 1), "t:1: 2147483648 bytes in one block, more than 2 GiB"),
        (BEFORE + "kmalloc: call_site=f ptr=0xf0 bytes_alloc=64\n", "t:1: kmalloc: no bytes_req="),
        (
            BEFORE + "mm_page_alloc: page=0xf0 order=0\n" + 2 * (BEFORE + "mm_page_alloc: order=0\n"),
            "t:2: mm_page_alloc: no pfn=; 2 of 3 lines cannot be read",
        ),
        (BEFORE + "mm_page_alloc: page=0xf0 pfn=q order=0\n", "t:1: mm_page_alloc: pfn=q is not a frame"),
        (BEFORE + "mm_page_alloc: pfn=7\n", "t:1: mm_page_alloc: no order="),
        (BEFORE + "mm_page_alloc: pfn=7 order=32\n", "t:1: a block of 2^32 pages, more than any kernel has"),
        (FREE.format("0xf0") + 2 * "Segmentation fault\n", "t:2: no event: 'Segmentation fault'; 2 of 3 lines"),
        ("1\n2\n3\na 0 banana\n", "t:4: not an operation: 'a 0 banana'; 1 of 1 lines cannot be read (after three"),
        ("1\n2\n3\na 0\n", "t:4: not an operation: 'a 0'"),
        ("1\n2\n3\na 0 \n", "t:4: no BYTES"),
        ("1\n2\n3\n4\n5\n", "t:5: not an operation: '5'"),
        ("1\n2\na 0 5\n", "t:3: an operation after 2 integers (a .rep begins with three or four)"),
        ("1\n2\n3\na 0 3000000000\n", "t:4: 3000000000 bytes in one block, more than 2 GiB"),
        ("1\n2\n3\n4\n", "t: no operation in it"),
        (b"\0" * 12, "t: 12 bytes are no whole number of pairs of int32"),
        (numpy.array([[0, 8], [1, -8]], "<i4").tobytes(), "t: pair 1 (byte 8): BYTES is -8"),
        (numpy.array([[0, 8], [-1, 8]], "<i4").tobytes(), "t: pair 1 (byte 8): ID is -1"),
    ],
)
def test_what_cannot_be_read_is_told_with_file_and_line(data, message):
    with pytest.raises(InputError, match="^" + re.escape(message)):
        read(data)


def test_a_file_that_is_not_there():
    with pytest.raises(InputError, match="No such file"):
        read_trace(SMALL / "nowhere.txt")
    with pytest.raises(InputError, match="directory"):
        read_trace(SMALL)


LINES = [
    line for name in FORMS if name.endswith(("txt", "rep")) for line in (SMALL / name).read_bytes().splitlines(True)
]
EDITS = st.tuples(st.integers(0, len(LINES) - 1), st.integers(0, 250), st.binary(max_size=4), st.integers(0, 40))


@given(st.lists(EDITS, min_size=1, max_size=3), st.sampled_from(sorted(FORMS)))
def test_damaged_lines_give_a_trace_or_an_error_in_one_line(edits, name):
    """Bytes of real lines replaced, cut or put in, in a file of any form."""
    lines = read_plain(name).splitlines(True)
    for number, at, new, gone in edits:
        line = LINES[number]
        lines[number % len(lines)] = line[:at] + new + line[at + gone :]
    try:
        trace = read(b"".join(lines), "damaged")
    except InputError as error:
        assert str(error).startswith("damaged") and "\n" not in str(error)
    else:
        live_sizes(trace)


def read_plain(name):
    data = (SMALL / name).read_bytes()
    return gzip.decompress(data) if name.endswith("gz") else zstd.decompress(data) if name.endswith("zst") else data


@given(st.binary(max_size=300))
def test_any_bytes_give_a_trace_or_an_error(data):
    try:
        live_sizes(read(data))
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "line", [" " * 200_000, "kfree: " * 30_000, "1: a " * 40_000, "( " * 100_000, "name=" * 40_000, "a " * 100_000]
)
def test_long_lines_take_no_longer_than_their_length(line):
    """Patterns are looked for in the first few thousand characters only: this takes minutes where they are not."""
    for text in (
        line,
        FREE.format("0xf0") + BEFORE + line,
        BEFORE + "kmem_cache_alloc: ptr=0x1 bytes_req=3 name=" + line,
    ):
        for end in ("", "\n"):
            with suppress(InputError):
                read(text + end)


# --- the collection


@pytest.mark.skipif(not REAL, reason="no collection of real traces beside the repository")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_traces_are_read(path):
    if path.name == "slabinfo-linuxppc-dev.txt" or path.name == "ls.trace-cmd.zst":
        with pytest.raises(InputError, match=path.name + ": (not a trace|empty)"):
            read_trace(path)
        return
    trace = read_trace(path)
    running = trace.bytes().cumsum()
    assert running.min() >= 0 and len(trace.ops) >= 12
    assert trace.skipped.before < 0.01 * len(trace.ops) + 10 and not trace.skipped.failed and not trace.skipped.other
