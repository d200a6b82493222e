"""Lines that are not used: each by a rule that has a name and an example."""

import pytest

from kernmalloc.inputs.logs import dmesg
from kernmalloc.inputs.logs.ignored_lines import RULES, reason
from kernmalloc.inputs.rules import Rule


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_each_rule_holds_for_its_example(rule: Rule) -> None:
    assert reason(rule.example) == rule.name


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.pattern[0] != "^"], ids=lambda rule: rule.name)
@pytest.mark.parametrize("prefix", ["[    0.000000] ", "<6>[    0.000000]  (0)[0:swapper]", "2024-05-01 10:11 host | "])
def test_a_rule_holds_whatever_stands_before(rule: Rule, prefix: str) -> None:
    assert reason(prefix + rule.example) == rule.name


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_no_example_tells_of_memory(rule: Rule) -> None:
    (facts,) = dmesg.read("Linux version 6.1\n" + rule.example, "log")
    assert not facts.memory and not facts.devices and not facts.unread


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("mystery: [mem 0x00080000-0x0017ffff]", "unclassified"),
        ("[    0.000000] DRAM bank 0: 0x80000000-0xbfffffff", "unclassified"),
        ("usable RAM from 0000000080000000 - 00000000bfffffff", "unclassified"),
        (
            "smpboot: CPU0: Intel(R) Core(TM) i7-3520M CPU @ 2.90GHz (family: 0x6, model: 0x3a)",
            "number without a range",
        ),
        ("Loading 16 MiB to memory at 0x80000000", "number without a range"),
        ("Booting paravirtualized kernel on bare hardware", ""),
    ],
)
def test_what_no_rule_knows(line: str, told: str) -> None:
    assert reason(line) == told


def test_names_are_told_apart() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
