"""Rules for lines that tell no event: each knows its example, and none hides an event."""

import re
import time

import pytest

from kernmalloc.inputs.traces.events import EVENT
from kernmalloc.inputs.traces.trace_lines import LOST, OTHER, PASSED

RULES = [*OTHER, *PASSED, *LOST]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_knows_its_example(rule):
    assert re.search(rule.pattern, rule.example + "\n")
    assert not EVENT.search(rule.example)


def test_no_rule_stands_for_another():
    """The first rule that knows an example is its own: none is there twice, or never reached."""
    for rules in (OTHER, PASSED, LOST):
        assert [next(each for each in rules if re.search(each.pattern, rule.example + "\n")) for rule in rules] == [
            *rules
        ]


@pytest.mark.parametrize("rule", LOST, ids=lambda rule: rule.name)
def test_a_rule_for_what_was_lost_has_the_count(rule):
    found = re.search(rule.pattern, rule.example)
    assert found and len(found.groups()) == 1 and int(found[1]) > 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("piece", ["a=", "a=a ", "a: ", " ", "(", "1.234", "x (", "| a(", "- ", "=> ", "# "])
def test_no_rule_can_be_matched_in_many_ways(rule, piece):
    start = time.process_time()
    for end in (" b", "a b", "!"):
        re.search(rule.pattern, piece * (4000 // len(piece)) + end)
    assert time.process_time() - start < 2
