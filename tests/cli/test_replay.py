"""`kernmalloc replay`."""

import json
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from kernmalloc.cli import app
from kernmalloc.inputs.traces import read_trace
from kernmalloc.sim.replay import Stage, Wrong

TRACES = Path(__file__).parents[1] / "data" / "traces"
GCC, REP = str(TRACES / "gcc.tracefs.txt"), str(TRACES / "freeciv.rep")


def run(*words, **more):
    return CliRunner().invoke(app, ["replay", *words], **more)


def test_traces_are_told_and_json_agrees():
    told = run(GCC, REP)
    assert told.exit_code == 0, told.output
    for part in (
        "ns per operation",
        "peak live",
        "peak backed",
        "fragmentation",
        "frees of nothing",
        "every frame is back",
    ):
        assert part in told.output
    gcc, rep = map(json.loads, run("--json", GCC, REP).stdout.splitlines())
    assert gcc["held"] and gcc["status"] == "replayed" and gcc["form"] == "tracefs" and gcc["file"] == GCC
    assert rep["held"] and rep["form"] == "malloc-lab" and rep["operations"] == len(read_trace(REP).ops)
    assert f"{gcc['fragmentation']:.1%}" in told.output and gcc["skipped"]["null"] == 1


def test_the_soft_machine_tells_its_tlbs():
    """C2, C12: what the timed replay missed, with the heap page by page on an ARM of 32 bits."""
    told = run(GCC, "--mode", "soft", "--kernel", "armv7")
    assert told.exit_code == 0 and "TLB of ARM Cortex-A7, in the timed replay" in told.output
    line = json.loads(run(GCC, "--mode", "soft", "--kernel", "armv7", "--json").stdout)["tlb_counted"]
    assert line["operations"] > 48 and line["structures"]["heap"]["misses"] > 0
    assert f"cost {line['cycles']:,} cycles" in told.output
    assert json.loads(run(GCC, "--json").stdout)["tlb_counted"] is None


def test_the_table_is_that_of_slabinfo():
    """Readers of /proc/slabinfo take it: a name, five numbers, tunables, slabdata."""
    lines = run(GCC).stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.lstrip().startswith("# name"))
    rows = [line.split() for line in lines[at + 1 : lines.index("", at)]]
    assert len(rows) > 10 and {"dentry", "task_struct", "size-64"} <= {row[0] for row in rows}
    for _, active, objects, size, per_slab, pages, *rest in rows:
        assert 0 <= int(active) <= int(objects) == int(per_slab) * int(rest[7])
        assert rest[:7] == [":", "tunables", "0", "0", "0", ":", "slabdata"] and rest[9] == "0"
        assert int(size) * int(per_slab) <= 4096 * int(pages)


def test_kernel_machine_mode_and_standard_input(tmp_path):
    machine = tmp_path / "small.toml"
    machine.write_text('name = "small"\nmemory = [{ base = 0, size = 0x1000000, kind = "ram" }]\n')
    done = run(
        "-", "--kernel", "eros2", "--mode", "soft", "--machine", str(machine), "--json", input=Path(GCC).read_bytes()
    )
    line = json.loads(done.stdout)
    assert (line["file"], line["kernel"], line["mode"], line["machine"]) == ("-", "eros2", "soft", "small") and line[
        "held"
    ]


def test_a_kernel_that_does_wrong_is_told(monkeypatch):
    monkeypatch.setattr(Stage, "end", lambda self, result: fail())
    told = run(REP)
    assert told.exit_code == 1 and told.stdout.endswith("freeciv.rep: BROKEN: operation 7: an invariant\n")
    assert json.loads(run(REP, "--json").stdout)["failure"] == "operation 7: an invariant"


def test_a_trace_for_perfetto_is_written(tmp_path):
    file = tmp_path / "replay.pftrace"
    told = run(GCC, "--perfetto", str(file))
    assert told.exit_code == 0 and b"a microsecond is an operation" in file.read_bytes(), told.output


def fail():
    raise Wrong("operation 7: an invariant")


def test_what_cannot_be_replayed_is_one_line(tmp_path):
    """With file, line and reason; the traces after it are replayed still."""
    bad = tmp_path / "bad.txt"
    text = Path(GCC).read_text()
    bad.write_text(text.replace("bytes_req=", "bytes_req=x").replace("order=", "order=x").replace("ptr=", "ptr=x"))
    number = next(i for i, line in enumerate(text.splitlines(), 1) if "ptr" in line)
    tiny = tmp_path / "tiny.toml"
    tiny.write_text('name = "tiny"\nmemory = [{ base = 0, size = 0x80000, kind = "ram" }]\n')
    for words, why in (
        ([str(bad)], f"bad.txt:{number}: kmalloc: ptr=x00000000a0c2c3ce is not an address"),
        ([str(tmp_path / "missing.txt")], "missing.txt: No such file or directory"),
        ([str(tiny)], "tiny.toml: tells a machine, and is no trace"),
        ([GCC, REP, "--perfetto", str(tmp_path / "f")], "/f: there are several traces (name one)"),
        ([GCC, "--kernel", "none"], "none: no such"),
        ([GCC, "--machine", str(tmp_path / "nowhere")], "nowhere: No such file or directory"),
        ([GCC, "--machine", str(tiny)], "refused: no range of RAM holds the kernel image"),
    ):
        command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "replay", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and why in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
        assert not done.stdout
    both = run("--json", str(bad), REP)
    lines = [json.loads(line) for line in both.stdout.splitlines()]
    assert both.exit_code == 2 and [line["status"] for line in lines] == ["unreadable", "replayed"]
    assert lines[0]["reason"].startswith(f"line {number}: ")
