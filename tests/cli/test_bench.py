"""`kernmalloc bench`."""

import json
import os
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "traces"


def run(*words, **environment):
    command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "bench", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def test_everything_is_measured_and_told():
    done = run("all", "--quick", "--runs", "1", "--traces", str(DATA / "freeciv.rep"))
    assert done.returncode == 0, done.stderr
    for part in (
        "Medians of 1 runs", "code, of the quick path",
        "frames, order 0, 1 thread (ns)", "frames, order 9, 2 threads (ns)",
        "heap, warm (ns)", "malloc-lab", "kernel-network",
        "heap, object caches, per call (ns)", "heap, instructions of free",
        "boot, core tables (GB/s)", "map, mode raw (ns)", "scaling, transfers, a call", "Figures to reach",
    ):  # fmt: skip
        assert part in done.stdout, part


def test_json_has_a_line_for_each_row_and_each_goal():
    done = run("frames", "--quick", "--runs", "2", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    rows, verdicts = [x for x in lines if "values" in x], [x for x in lines if "reached" in x]
    assert len(rows) + len(verdicts) == len(lines) and {x["group"] for x in rows} >= {"frames"}
    assert all(len(x["values"]) == 2 and x["low"] <= x["median"] <= x["high"] for x in rows if x["unit"] == "ns")
    assert all(x["quick"] for x in lines)
    works = {x["work"] for x in rows}
    assert len(verdicts) >= 15 and all(x["work"] in works for x in verdicts)


def test_what_cannot_be_measured_is_one_line(tmp_path):
    none = tmp_path / "none.txt"
    none.write_text("nothing\n")
    for words, environment, why in (
        (["frames"], {"CC": "no-such-compiler"}, "there is no such compiler: install gcc or clang"),
        (["heap", "--traces", str(none)], {}, "none.txt: not a trace"),
        (["heap", "--traces", str(tmp_path / "nowhere")], {}, "nowhere: No such file or directory"),
        (["disk"], {}, "'disk' is not one of 'frames', 'heap', 'boot', 'map', 'tlb', 'scaling', 'all'"),
        (["frames", "--runs", "0"], {}, "Input should be greater than or equal to 1"),
    ):
        done = run(*words, **environment)
        last = done.stderr.splitlines()[-1]
        assert done.returncode == 2 and why in last and "Traceback" not in done.stderr, done.stderr
