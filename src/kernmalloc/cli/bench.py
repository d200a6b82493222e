"""`kernmalloc bench`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.options import Mode
from kernmalloc.cli.output import complain, say_all, say_json

if TYPE_CHECKING:
    from kernmalloc.bench.rows import Row


class Part(StrEnum):
    """What `bench` measures."""

    frames = "frames"
    heap = "heap"
    boot = "boot"
    map = "map"
    tlb = "tlb"
    scaling = "scaling"
    all = "all"


def bench(
    part: Annotated[Part, typer.Argument(help="What to measure.")] = Part.all,
    runs: Annotated[int, typer.Option(min=1, help="Runs of everything, in turns; the median counts.")] = 7,
    quick: Annotated[
        bool, typer.Option("--quick", help="On a hundredth of the work: to see that everything runs.")
    ] = False,
    recorded: Annotated[
        list[Path] | None,
        typer.Option(
            "--traces", metavar="FILE|FOLDER", help="Further recorded traces for the heap.", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per row (docs/json.md).")] = False,
) -> None:
    """Measure this project and its peers on the same work, in one run, in turns."""
    from kernmalloc.bench import rows as benched
    from kernmalloc.bench import run as benches
    from kernmalloc.bench import traces
    from kernmalloc.cli.progress import load_objects, measured
    from kernmalloc.report import bench as report

    load_objects(Mode.raw)
    parts = list(benches.PARTS) if part is Part.all else [part.value]
    if not json:
        say_all(report.opening(parts, runs))
    found: list[Row] = []
    untold: list[object] = []
    with measured() as progress:
        progress("reading traces", 0)
        more = [trace for path in recorded or [] for trace in traces.recorded(path, untold.append)]
        work = benches.Work(shipped=traces.shipped(), traces=more)
        for row in benches.run(parts, work.quick() if quick else work, runs, progress, untold.append):
            found.append(row)
            if json:
                say_json(report.told(row, quick))
    judged = benched.judge(benches.goals(found), found)
    if json:
        for verdict in judged:
            say_json(report.verdict_told(verdict, quick))
    else:
        how = report.QUICK if quick else ""
        say_all(report.tables(found, how))
        say_all(report.verdicts(judged, how))
    for why in untold:
        complain(f"not measured: {why}")
