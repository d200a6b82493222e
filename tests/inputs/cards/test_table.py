"""The table of real cards: what is in it, and that a name means one card or is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs.cards.card import Card
from kernmalloc.inputs.cards.table import card_named, known, matching
from kernmalloc.inputs.errors import InputError

CARDS = st.sampled_from(known())
PRODUCTS = {"mobile", "ti", "super", "xt", "xtx", "lx", "pro"}


def words(text: str) -> list[str]:
    return re.findall(r"[\w+.-]+", text.lower())


def test_the_table_is_of_real_cards() -> None:
    cards = known()
    assert len(cards) >= 120
    names, ids = [card.name.lower() for card in cards], [id for card in cards for id in card.ids]
    assert len({*names}) == len(names) and len({*ids}) == len(ids) and names == sorted(names)
    for card in cards:
        assert card.ids and all(re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", id) for id in card.ids)
        assert len(card.source) > 10 and card.bars
        assert all(size & size - 1 == 0 for size in (*card.bars, *card.windows))
        assert all(listed <= window for listed, window in zip(card.bars, card.windows, strict=True))


def test_what_can_be_resized_reaches_the_whole_memory() -> None:
    """A window is as listed unless it can be made larger; the larger one is the least that will do."""
    resizable = [card for card in known() if card.resizable]
    assert len(resizable) > 25 and all(card.memory <= max(card.windows) < 4 * card.memory for card in resizable)
    assert all(card.windows == card.bars for card in known() if not card.resizable)
    small = Card("made", ("10de:0000",), 24 << 30, (16 << 20, 256 << 20, 32 << 20), True)
    assert small.windows == (16 << 20, 32 << 30, 32 << 20)


def test_cards_of_every_sort_are_in_it() -> None:
    vendors = {id[:4] for card in known() for id in card.ids}
    assert {"10de", "1002", "8086", "15b3", "1d0f", "10ee"} <= vendors
    names = " ".join(card.name for card in known())
    assert all(each in names for each in ("Mobile", "Quadro", "Tesla", "H100", "A100", "MI210", "Arc", "ConnectX"))


@given(CARDS, st.sampled_from(["{}", " {} ", "NVIDIA {}", "AMD {}", "Intel {}", "Mellanox {}"]), st.booleans())
def test_every_exact_name_means_its_card(card: Card, form: str, small: bool) -> None:
    """Also with the maker before it, if it is the maker."""
    makers = {"10de": ("NVIDIA",), "1002": ("AMD",), "8086": ("Intel",), "15b3": ("Mellanox", "NVIDIA")}
    text = form.format(card.name.lower() if small else card.name)
    if form.strip() != "{}" and form.split()[0] not in makers.get(card.ids[0][:4], ()):
        assert card not in matching(text)
    else:
        assert card_named(text) is card


@pytest.mark.parametrize("card", known(), ids=lambda card: card.name)
def test_every_id_and_every_name_without_its_series_means_its_card(card: Card) -> None:
    assert all(card_named(id) is card_named(id.upper()) is card for id in card.ids)
    series = re.sub(r"^(?:GeForce|Radeon|Tesla|Quadro|NVIDIA|Instinct) ", "", card.name)
    try:
        assert card_named(series) is card
    except InputError as error:
        assert error.reason == "several cards" and card.name in error.advice


@given(CARDS, st.data())
def test_words_mean_the_one_card_that_has_them_or_are_refused_with_all_that_have(
    card: Card, data: st.DataObject
) -> None:
    """No card is guessed: neither among several, nor another product than the one that was named."""
    some = data.draw(st.lists(st.sampled_from(words(card.name)), min_size=1, unique=True))
    text = " ".join(some)
    having = [each for each in known() if {*some} <= {*words(each.name)}]
    try:
        found = card_named(text)
    except InputError as error:
        listed = error.advice.partition(": ")[2].split(", ")
        assert {*listed} <= {each.name for each in having} | {each.name for each in matching(text)}
        if error.reason == "several cards":
            assert len(listed) > 1 and {*listed} == {each.name for each in matching(text)}
        else:
            assert error.reason == "no known card" and len(listed) == 1
    else:
        assert found and matching(text) == (found,)
        assert not PRODUCTS & {*words(found.name)} - {*some}


def test_a_desktop_card_is_not_the_mobile_one() -> None:
    assert getattr(card_named("RTX 4090"), "name", "") == "GeForce RTX 4090"
    assert getattr(card_named("RTX 4090 Mobile"), "name", "") == "GeForce RTX 4090 Mobile"
    with pytest.raises(InputError, match=r"several cards .say which: GeForce RTX 4090, GeForce RTX 4090 Mobile"):
        card_named("4090")
    with pytest.raises(InputError, match=r"no known card .another product: GeForce RTX 4080 Mobile"):
        card_named("RTX 4080")
    with pytest.raises(InputError, match=r"several cards .say which: GeForce RTX 4060 Mobile, GeForce RTX 4060 Ti"):
        card_named("RTX 4060")


def test_another_makers_word_is_no_name_of_a_card() -> None:
    assert card_named("Radeon RTX 4090") is None and card_named("GeForce MI300X") is None
