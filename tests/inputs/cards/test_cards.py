"""What a word after --with asks for (C21): memory, a card of the table, or what a list tells; one or several."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs.cards import MOST, cards_of, known
from kernmalloc.inputs.errors import InputError

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    "word, window",
    [
        ("24GiB", 32 * GIB),
        ("141GiB", 256 * GIB),
        ("32GiB", 32 * GIB),
        ("1MiB", MIB),
        ("8 GB", 8 * GIB),
        ("33G", 64 * GIB),
        ("6GB", 8 * GIB),
        ("0x600000000", 32 * GIB),
        ("25769803776", 32 * GIB),
        ("GeForce RTX 3090", 32 * GIB),
        ("mi300x", 256 * GIB),
        ("H100", 128 * GIB),
        ("B200", 256 * GIB),
        ("rtx 3080", 16 * GIB),
        ("rtx 3080 ti", 16 * GIB),
        ("F1", 128 * GIB),
        (" Radeon RX 7900 XTX ", 32 * GIB),
        ("10DE:2684", 32 * GIB),
    ],
)
def test_windows(word: str, window: int) -> None:
    """C21: registers are powers of two."""
    (card,) = cards_of(word)
    assert max(card.windows) == window


@given(st.integers(MIB, 1 << 50))
def test_a_window_is_the_least_power_of_two_that_holds_the_memory(memory: int) -> None:
    (card,) = cards_of(str(memory))
    (window,) = card.windows
    assert window & window - 1 == 0 and window // 2 < memory <= window


@pytest.mark.parametrize(
    "word, reason",
    [
        ("", "neither a size nor a known card nor a file"),
        ("GTX 9999", "neither a size nor a known card nor a file"),
        ("GeForce RTX 4900", "like it: GeForce RTX "),
        ("10de:0001", "neither a size nor a known card nor a file .kernmalloc cards lists them"),
        ("0GiB", "less memory than any card has"),
        ("Radeon", "several cards .say which: Radeon "),
        ("24", "write it with its unit"),
        ("64K", "less memory than any card has"),
        ("-8GiB", "neither a size"),
        ("0 x H100", "neither a size"),
        ("257 x H100", "more cards than any machine has slots for"),
        ("9999999999 x H100", "more cards than any machine has slots for"),
        ("2 x Radeon", "card 'Radeon': several cards"),
        ("2 x 2 x H100", "neither a size"),
        ("none.txt:01:00.0", "nor a file"),
    ],
)
def test_what_is_no_card(word: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        cards_of(word)


@given(
    st.integers(1, MOST),
    st.sampled_from(["x", " x ", "×", " × ", " X "]),
    st.sampled_from(["24GiB", *(card.name for card in known())]),
)
def test_a_number_before_a_card_asks_for_so_many(count: int, times: str, word: str) -> None:
    (card,) = cards_of(word)
    assert cards_of(f"{count}{times}{word}") == (card,) * count


@given(st.text(max_size=30))
def test_any_text_asks_for_cards_or_is_refused_in_one_line(text: str) -> None:
    try:
        assert all(max(card.windows) for card in cards_of(text))
    except InputError as error:
        assert len(str(error).splitlines()) == 1
