"""Lines of a recording that tell no event of the heap: each is known by a rule that has a name and an example.

A pattern is looked for anywhere in a line. What no rule knows is unread; the reader counts it and names it.
"""

from kernmalloc.inputs.rules import Rule

OTHER = (
    Rule(
        "an event after its time; what the function tracer prints",
        r"(?:\d\.\d{3,9}|\d[mun]s ?[^\w\s]?|[mun]s ?[^\w\s]?\)|\]\s+\S+\s+\d+):\s+"
        r"(?:\d+:?\s+)?[\w.:/,@=*-]*\w(?:[:\s(]|$)",
        "bash-19815 [001] d..1. 1219.004382: sched_switch: prev_comm=bash prev_pid=1 ==> next_comm=x",
    ),
    Rule("an event without a time", r"^\W*(?:\w+:)?\w+: \w+=", "rss_stat: mm_id=1 curr=1"),
    Rule("perf script's event", r"\s\w+:\w+: ", "ls 12496 sched:sched_stat: comm"),
    Rule(
        "perf trace's event",
        r"^\W*\d+\.\d{3} \S.*/\d+ [\w:]+\(",
        "     0.012 ls/1234 sched:sched_switch(prev_comm: ls)",
    ),
    Rule("bpftrace's event", r"^\W*tracepoint:\w+:\w+\b", "tracepoint:sched:sched_switch { .prev_comm = bash }"),
    Rule(
        "babeltrace's event",
        r"[\w)]: \{ [^{}]* \}(?:,|\s*$)",
        '[20:38:11.907] (+0.000002) host sched_switch: { cpu_id = 1 }, { prev_comm = "bash" }',
    ),
)
"""Events of other kinds."""

PASSED = (
    Rule("a heading", r"(?:^|[\s>|])#(?:[\s#\\]|$)", "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION"),
    Rule("trace-cmd's heading", r"^\W*(?:cpus|version)\s*=\s*\d|^\W*CPU \d+ is empty", "cpus=2"),
    Rule("perf's warning", r"^\W*(?:Warning:\s*$|Check IO/CPU overload!)", "Check IO/CPU overload!"),
    Rule("ftrace's stack", r"(?:^|\s)=> \S|<(?:user )?stack trace ?>\s*$", " => do_exit"),
    Rule(
        "perf's stack",
        r"^[>|\s]*\s[0-9a-f]{4,16}(?:\s|$)|^\s.*\S \(\S*\)$|^[>|\s]*\t\s*[0-9a-f]+ ",
        "\tffffffff8128f0a1 kfree+0x1 ([kernel.kallsyms])",
    ),
    Rule("the function graph", r"\|\s+(?:[\w.]+\(.*\)(?: \{|;)|\})|(?:^|\s)\d+\)\s", " 24) @ 184015.2 us |  }"),
    Rule("a rule", r"(?:^|\s)[-=]{5,}\s*$", " ------------------------------------------"),
    Rule("the beginning of a wrapped event", r"\d\.\d{3,9}:\s*$", "<idle>-0 [003] ..s. 312444.111637:"),
    Rule("the rest of a wrapped event", r"^\W*\w+=\S+(?:\s+\w+=\S+)*\s*$", "bytes_alloc=256 gfp_flags=GFP_ATOMIC"),
    Rule("what a tool says at its start", r"^Attaching (?:to|\d+ probes?)\b", "Attaching to pid 5193, Ctrl+C to quit."),
    Rule(
        "an allocation that memleak sees begin", r"\balloc entered, size = ", "(b'top', 8, b'alloc entered, size = 7')"
    ),
    Rule("a kernel's log", r"^\W*(?:<\d+>)?\[\s*\d+\.\d{3,6}\]", "[    1.234567] usb 1-1: new high-speed USB device"),
)
"""What stands between events."""

LOST = (
    Rule("tracefs, trace-cmd", r"\[(?:LOST )?(\d*) ?EVENTS(?: DROPPED)?\]", "CPU:3 [LOST 120 EVENTS]"),
    Rule("perf script", r"PERF_RECORD_LOST(?:_SAMPLES)? lost (\d+)", "ls 12496 [000] 4875.7: PERF_RECORD_LOST lost 12"),
    Rule("perf", r"Processed \d+ events and lost (\d+)", "Processed 47969 events and lost 3 chunks!"),
    Rule("perf trace, bpftrace", r"^\W*[Ll](?:ost|OST) (\d+) (?:events|samples)", "LOST 12 events!"),
    Rule(
        "babeltrace",
        r"Tracer discarded (\d+) (?:event|packet)",
        "WARNING: Tracer discarded 2349 events between [20:26:35]",
    ),
)
"""What the recorder says that it lost: how many, if it says so, is the group."""
