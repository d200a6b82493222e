"""Cards as text and JSON: each is told with what it asks for, and who says so."""

import json

import pytest
from typer.testing import CliRunner

from kernmalloc.cli import app
from kernmalloc.inputs.cards import known
from kernmalloc.inputs.sizes import size
from kernmalloc.report.cards import found, told


def run(*words: str):
    return CliRunner().invoke(app, ("cards", *words))


def test_every_card_is_listed_with_its_windows_and_its_source():
    lines = [" ".join(line.split()) for line in told(known())]
    assert len(lines) == len(known()) + 1
    for card, line in zip(known(), lines[1:], strict=True):
        windows = ", ".join(map(size, card.windows))
        memory = f" {size(card.memory)}" if card.memory else ""
        resizable = {True: " yes", False: " no", None: ""}[card.resizable]
        assert line == f"{card.name} {' '.join(card.ids)}{memory} {windows}{resizable} {card.source}"


@pytest.mark.parametrize(
    "word, names",
    [
        ("RTX 4090", ["GeForce RTX 4090"]),
        ("4090", ["GeForce RTX 4090", "GeForce RTX 4090 Mobile"]),
        ("RTX 4080", ["GeForce RTX 4080 Mobile"]),
        ("10de:2684", ["GeForce RTX 4090"]),
        ("2 x H100", ["NVIDIA H100 SXM"] * 2),
        ("24GiB", ["24GiB"]),
        ("", [card.name for card in known()]),
    ],
)
def test_json_says_what_text_says(word, names):
    """What a word may mean is listed, where --with would refuse it."""
    done = run(*([word] if word else []), "--json")
    cards = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0 and [card["name"] for card in cards] == names
    for card, same in zip(cards, found(word), strict=True):
        assert {**card, "ids": tuple(card["ids"]), "bars": tuple(card["bars"]), "windows": tuple(card["windows"])} == {
            **{name: getattr(same, name) for name in ("name", "ids", "memory", "bars", "resizable", "source")},
            "windows": same.windows,
        }
    text = run(*([word] if word else []))
    assert text.exit_code == 0 and all(name in text.stdout for name in names)
