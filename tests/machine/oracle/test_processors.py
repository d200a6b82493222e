"""The emulated processors themselves, on a few entries by hand: what they reach, what they refuse, and how they say
so."""

import pytest
from emulated import ABSENT, CODE, PAGE, PERMISSION, PROCESSORS, Outcome, by_hand


@pytest.mark.parametrize("format", PROCESSORS)
def test_a_processor_walks_entries_written_by_hand(format: str) -> None:
    """A load and a store arrive in physical memory; what is absent and what is read only is refused, and told."""
    cpu, memory = by_hand(format)
    hand = cpu.processor.hand
    page, word = 1 << hand.shifts[-1], cpu.family.word
    code = hand.va + page
    memory[CODE + 64 : CODE + 64 + word] = bytes(range(1, word + 1))
    assert cpu.load(code + 64) == Outcome(CODE + 64, int.from_bytes(bytes(range(1, word + 1)), "little"))
    assert cpu.load(code + page + 64) == cpu.load(code + 64)
    assert cpu.store(code + 72, 0x1234) == Outcome(CODE + 72, 0x1234)
    assert memory[CODE + 72 : CODE + 72 + word] == (0x1234).to_bytes(word, "little")
    told = (PAGE, PAGE) if cpu.family.known is None else (ABSENT, PERMISSION)
    for va, outcome in (
        (hand.va + 8, cpu.load(hand.va + 8)),
        (hand.va + 16, cpu.store(hand.va + 16, 1)),
        (code + 2 * page, cpu.load(code + 2 * page)),
    ):
        assert outcome == Outcome(fault=told[0], va=va)
    assert cpu.store(code + page, 1) == Outcome(fault=told[1], va=code + page)
    for n in (5, 2047):
        memory[CODE + 128 : CODE + 136] = cpu.constant(n).ljust(8, b"\0")
        assert cpu.execute(code + 128).value == n
    assert cpu.execute(hand.va + 32).fault == (told[0] if cpu.tells(execution=True) else PAGE)
