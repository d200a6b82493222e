"""docs/glossary.md has every label and every word that reports print: commands are run, and their text is looked at."""

import importlib
import pkgutil
import re
import tomllib
from pathlib import Path
from typing import Any

import dump_files
import pytest
from typer.testing import CliRunner

import kernmalloc.report
from kernmalloc import Kernel, Machine, Profile
from kernmalloc.cli import app
from kernmalloc.facade.configure import ADDED, UNPLACED
from kernmalloc.inputs import cards
from kernmalloc.lang.records import RECORDS
from kernmalloc.machine.arch import ARCHES
from kernmalloc.machine.arch.processors import PROCESSORS
from kernmalloc.report import machine, replay, text
from kernmalloc.report.plan import STATUSES

ROOT = Path(__file__).parent.parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
PLAIN = ROOT / "tests" / "data" / "plain_words.txt"
LAPTOP = "tests/data/machines/laptop-20m.toml"
BOARD = "src/kernmalloc/machines/m5475-64m.toml"
COMMANDS = (
    f"boot --verbose --step {LAPTOP}",
    f"boot {BOARD} --verbose --add-ram 8MiB",
    f"plan {BOARD} --add-ram 8MiB",
    f"plan {BOARD} --add-ram 8MiB --self-hosted",
    f"plan {BOARD} --with 24GiB",
    f"plan {BOARD} {LAPTOP}",
    "plan --capacity --kernel eros2",
    "run dma --touches 500",
    "run steady --touches 500 --mode soft",
    "replay tests/data/traces/gcc.tracefs.txt",
    f"compare {LAPTOP}",
    "fleet generated:1:12 desktop-16g",
    "fleet generated:1:12 --for hole --with 24GiB",
    "fleet generated:1:12 --for hotadd --to 24GiB",
    f"tlb {BOARD}",
    "check workstation-64g",
    "inspect TWO --diff ONE",
    "arch",
    "cards H20",
)
INPUTS = (ROOT / LAPTOP, *ROOT.glob("src/kernmalloc/machines/*.toml"), *ROOT.glob("src/kernmalloc/scenarios/*.toml"))
TRACE = ROOT / "tests/data/traces/gcc.tracefs.txt"
LABEL = re.compile(r"[A-Za-z][A-Za-z,:'+_-]+(?: [A-Za-z,:'+_-]+){0,5}")
"""What has more words is a sentence, whose words are looked at."""
WORD = re.compile(r"[A-Za-z][A-Za-z-]*[A-Za-z]")
NAMED = re.compile(r"\S*[/_\d]\S*|--\S+|\[[hm.]+\]|\b(\w)\1{2,}\b|(?<=layout )[\da-f]{1,4}\b", re.IGNORECASE)
"""Names of files and constants, numbers, options; bars and maps of letters; the number of a layout, which may have no
digit."""


def words(text: str) -> set[str]:
    """Words of a text, in small letters, but names and what is a single letter."""
    return {word.lower() for word in WORD.findall(NAMED.sub(" ", text))}


def strings(value: Any) -> list[str]:
    """What a TOML table says in words that reports repeat."""
    if isinstance(value, dict):
        return [each for key, part in value.items() if key not in ("source", "licence") for each in strings(part)]
    if isinstance(value, list):
        return [each for part in value for each in strings(part)]
    return [value] if isinstance(value, str) else []


def names() -> set[str]:
    """Words of what the commands are given or name as it is: machines, devices, cards, loads, traces, kernels,
    processors, compilers; records and their fields, which docs/reference.md lists."""
    found = [each for path in INPUTS for each in (path.stem, *strings(tomllib.loads(path.read_text())))]
    found += [each.title for each in PROCESSORS.values()]
    found += [word for card in cards.known() for word in (card.name, card.source)]
    found += [each.prefix for arch in ARCHES.values() for each in arch.compilers]
    ours = [kind for kinds in RECORDS.values() for kind in kinds if kind.__module__.startswith("kernmalloc.")]
    records = {name.lower() for kind in ours for name in (kind.__name__, *kind.fields)}
    return words(" ".join([*found, TRACE.read_text()])) | {*Profile.shipped()} | records


def entries() -> list[str]:
    """Those of the glossary, each of one line or several."""
    return [" ".join(entry.split()) for entry in re.findall(r"^- (.*(?:\n  .*)*)$", GLOSSARY.read_text(), re.MULTILINE)]


def terms() -> list[str]:
    """What the glossary explains."""
    return [term for entry in entries() for term in re.findall(r"\*\*([^*]+)\*\*", entry)]


def known(word: str, to: set[str]) -> bool:
    """Whether a word, or its singular, is one of those."""
    return word in to or word.removesuffix("s") in to or word.removesuffix("es") in to or f"{word}s" in to


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> tuple[set[str], dict[str, str]]:
    """(the labels of all tables, what each command prints). A label is what stands in a table's first row or column."""
    folder = tmp_path_factory.mktemp("dumps")
    with Kernel.boot(Machine.read(ROOT / LAPTOP), Profile.load("eros2")) as kernel:
        dump_files.raw(kernel, folder / "ONE")
        kernel.malloc(100_000)
        kernel.frame_get("dma")
        dump_files.raw(kernel, folder / "TWO")
    found: set[str] = set()
    told = text.columns

    def noting(rows, notes=False):
        cells = [*rows[0], *(row[0] for row in rows)]
        found.update(cell.strip() for cell in cells if LABEL.fullmatch(cell.strip()))
        return told(rows, notes)

    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(ROOT)
        for module in pkgutil.iter_modules(kernmalloc.report.__path__):
            report = importlib.import_module(f"kernmalloc.report.{module.name}")
            if getattr(report, "columns", None) is told:
                patched.setattr(report, "columns", noting)
        output = {}
        for command in COMMANDS:
            arguments = [str(folder / word) if word in ("ONE", "TWO") else word for word in command.split()]
            done = CliRunner().invoke(app, arguments)
            assert done.exit_code in (0, 1) and done.stdout, f"{command}: {done.output}"
            output[command] = done.stdout
    return found, output


def test_every_label_of_a_table_is_explained(printed):
    """A label may be made of two: "heap: backed", "page frames"."""
    labels, _ = printed
    explained, given = {term.lower() for term in terms()}, {*names(), *PROCESSORS}
    assert len(labels) > 150
    labels = {
        *labels,
        *machine.KINDS.values(),
        *replay.LEFT_OUT.values(),
        replay.NO_EVENT,
        replay.UNREAD,
        *STATUSES,
        UNPLACED,
        ADDED,
    }
    lacking = []
    for label in sorted(labels):
        parts = re.split(r": | (?=frames$|entries$)", label.lower())
        if not (known(label.lower(), explained) or all(known(part, explained) or part in given for part in parts)):
            lacking.append(label)
    assert not lacking, f"docs/glossary.md does not explain the labels {lacking}"


def test_every_word_is_explained_or_plain(printed):
    """What is neither in the glossary nor an everyday word of tests/data/plain_words.txt is new: explain it."""
    _, output = printed
    given = names()
    explained = {part for term in terms() for part in words(term.replace("_", " "))}
    plain = set(PLAIN.read_text().split())
    lacking = {
        word: command
        for command, text in output.items()
        for word in words(text)
        if not (known(word, explained) or word in plain or word in given)
    }
    assert not lacking, f"docs/glossary.md does not explain {lacking}"


def test_each_term_is_explained_once():
    found = [term.lower() for term in terms()]
    twice = sorted({term for term in found if found.count(term) > 1})
    assert not twice
    assert all(len(re.sub(r"\*\*.*?\*\*", "", entry).split()) > 3 for entry in entries())


def test_no_plain_word_is_also_explained():
    assert not {term.lower() for term in terms()} & set(PLAIN.read_text().split())
