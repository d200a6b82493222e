"""`kernmalloc fleet`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.kernels import Wanted, asked_kernel
from kernmalloc.cli.options import Mode, made_by, parsed
from kernmalloc.cli.output import BROKEN, FAILED, HELD, complain, say_all, say_json, write_whole
from kernmalloc.cli.page import Html, write

if TYPE_CHECKING:
    from kernmalloc.fleet.answer import Answers
    from kernmalloc.fleet.pieces import Piece
    from kernmalloc.fleet.question import Question
    from kernmalloc.fleet.work import Job


class For(StrEnum):
    """What is asked for."""

    reserve = "reserve"
    heap = "heap"
    hole = "hole"
    hotadd = "hotadd"


IN_WORDS = {
    For.reserve: "Entries reserved for devices",
    For.heap: "The virtual window of the kernel's heap",
    For.hole: "The aperture that a hypervisor leaves for devices",
    For.hotadd: "The memory that guests boot with, so that they can grow",
}
TOLD = 12  # machines that cannot be read which are told without --verbose


@made_by(wanted=asked_kernel)
def fleet(
    wanted: Wanted,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE...",
            help="Machines: logs, dumps, JSON Lines, Parquet, folders, tar archives, patterns; generated:SEED:COUNT.",
            show_default=False,
        ),
    ] = None,
    purpose: Annotated[For, typer.Option("--for", help="What is asked for.")] = For.reserve,
    cover: Annotated[str, typer.Option(metavar="SHARE", help="Machines that one value must cover.")] = "99%",
    cards: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="CARD|SIZE", help="A card that every machine gets.", show_default=False),
    ] = None,
    to: Annotated[
        str, typer.Option(metavar="SIZE", help="RAM to which guests grow: of --for hotadd.", show_default=False)
    ] = "",
    used: Annotated[
        str,
        typer.Option(metavar="SIZE", help="What processes hold of it before: of --for hotadd.", show_default=False),
    ] = "",
    movable: Annotated[
        bool, typer.Option("--movable", help="It comes online as movable (Linux): of --for hotadd.")
    ] = False,
    memmap_on_memory: Annotated[
        bool, typer.Option("--memmap-on-memory", help="Blocks hold their own structures (Linux): of --for hotadd.")
    ] = False,
    processes: Annotated[int, typer.Option(min=1, max=1024, help="Processes that work side by side.")] = os.cpu_count()
    or 1,
    cluster: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Work on the Dask cluster of this scheduler.", show_default=False)
    ] = "",
    parquet: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="Keep the work here, with rows of machines and devices as Parquet (docs/fleet.md).",
            show_default=False,
        ),
    ] = "",
    csv: Annotated[str, typer.Option(metavar="FILE", help="Write the rows of machines.", show_default=False)] = "",
    sql: Annotated[
        str,
        typer.Option(metavar="QUERY", help="Ask the tables machines and devices by DuckDB.", show_default=False),
    ] = "",
    html: Html = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per kernel, or row.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Name all machines left over.")] = False,
) -> None:
    """Tell the one setting that covers a share of many machines, proved by trying it on each of them."""
    from kernmalloc.fleet import tables
    from kernmalloc.fleet.hotadd import Policy
    from kernmalloc.fleet.question import Question
    from kernmalloc.fleet.work import Job
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_size
    from kernmalloc.report import fleet as report
    from kernmalloc.web.fleet import fleet_part

    if (purpose is For.hotadd) != bool(to):
        raise InputError("--for hotadd", 0, "goes with --to, and --to with it", "--to says to how much RAM: --to 12GiB")
    if not files and not (parquet and sql):
        raise InputError("fleet", 0, "no machines are named", "name files or folders, or generated:SEED:COUNT")
    with _folder(parquet) as folder:
        status = HELD
        if files:
            question = Question(
                purpose=purpose.value,
                named=wanted.kernel.profile if wanted.kernel else None,
                word=wanted.kernel.options["kernel"] if wanted.kernel else "",
                strategy=wanted.strategy,
                settings=wanted.settings,
                cards=tuple(cards or []),
                target=parsed("to", to, parse_size) if to else 0,
                policy=Policy(parsed("used", used, parse_size) if used else 0, movable, memmap_on_memory),
            )
            cut = _pieces(files)
            found = _answers(Job(question, folder, bool(parquet or csv or sql)), cut, cover, processes, cluster)
            status = _status(found, verbose)
            if html:
                write(html, IN_WORDS[purpose], [], [fleet_part(answer) for answer in found.answers], None)
            if json and not sql:
                for answer in found.answers:
                    say_json(answer)
            elif not sql:
                say_all(report.whole(found, IN_WORDS[purpose], verbose))
                say_all(_of_one(question, cut, found))
        if csv:
            write_whole(csv, "csv", "".join(tables.csv(folder)))
        if sql:
            names, rows = tables.ask(folder, sql)
            for row in rows if json else ():
                say_json(dict(zip(names, row, strict=True)))
            if not json:
                say_all(report.rows(names, rows))
    raise typer.Exit(status)


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """The folder of the work: the one of this name, or a new one that goes when the work is done."""
    if name:
        yield Path(name)
    else:
        with TemporaryDirectory(prefix="kernmalloc.") as folder:
            yield Path(folder)


def _pieces(files: list[str]) -> "list[Piece]":
    """The fleet that words name, cut into pieces of work."""
    from collections import Counter

    from kernmalloc.cli.sources import source, words_once
    from kernmalloc.fleet.pieces import pieces

    skipped: Counter[str] = Counter()
    cut = list(pieces(words_once(files), source=source, skipped=skipped))
    for reason, count in skipped.items():
        complain(f"left out: {count:,} {reason}")
    return cut


def _answers(job: "Job", cut: "list[Piece]", cover: str, processes: int, cluster: str) -> "Answers":
    """Ask a fleet.  Raises InputError."""
    from kernmalloc.cli.progress import load_objects, planned
    from kernmalloc.fleet.answer import answers, share
    from kernmalloc.plan import workers

    wanted = parsed("cover", cover, share)
    load_objects(Mode.soft)
    with (
        workers.cluster(cluster) if cluster else workers.Processes(processes) as each,
        planned(2 * len(cut)) as progress,
    ):
        return answers(job, cut, wanted, each, progress)


def _of_one(question: "Question", cut: "list[Piece]", found: "Answers") -> Iterator[str]:
    """All about the only machine of a fleet of one: what is placed in its hole, or in which steps it grows."""
    from kernmalloc.fleet import hole, hotadd
    from kernmalloc.fleet.hole_options import options, room_behind_bridges
    from kernmalloc.machine.memory_map import Machine
    from kernmalloc.report import hole as holes
    from kernmalloc.report import hotadd as growths

    if sum(answer.machines for answer in found.answers) != 1 or (value := found.answers[0].value) is None:
        return
    told = next(each for piece in cut for each in piece.machines() if isinstance(each, Machine))
    machine, profile = question.equipped(told), question.kernel(told).profile
    if question.purpose == For.hole.value:
        placement = hole.proof(machine, value)
        if isinstance(placement, hole.Placement):
            room = room_behind_bridges([placement])
            yield from holes.whole(placement, options(value, placement.aperture.end, *room))
    if question.purpose == For.hotadd.value:
        asked = machine, profile, question.target, question.policy
        yield from growths.whole(hotadd.growth(*asked), hotadd.need(*asked), hotadd.need(*asked, at_once=True))


def _status(found: "Answers", verbose: bool) -> int:
    """Say what could not be read.  Returns the exit status: FAILED if nothing could be read, BROKEN if a machine is not
    what its need says, or no value covers the share."""
    told = found.unreadable if verbose else found.unreadable[:TOLD]
    for reason in told:
        complain(reason)
    if len(told) < len(found.unreadable):
        complain(f"and {len(found.unreadable) - len(told):,} more that cannot be read (--verbose tells all)")
    if not found.answers:
        return FAILED
    return BROKEN if any(each.wrong or each.value is None for each in found.answers) else HELD
