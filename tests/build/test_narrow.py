"""Entries of targets of 32 bits are called as C calls them: references are pointers there, and numbers have 64 bits."""

import re

import pytest
from arch_sample import FUNCTIONS, groups

from kernmalloc.build import narrow
from kernmalloc.lang import backend
from kernmalloc.lang.functions import REGISTRY, group, signature
from kernmalloc.lang.target import Target
from kernmalloc.machine.arch import TARGETS

NARROW = [name for name, target in TARGETS.items() if target.pointer < 64]


@pytest.mark.parametrize("architecture", NARROW)
def test_references_are_pointers(architecture: str) -> None:
    """Every entry of the sample, with the types that its header would have; and nothing else is offered."""
    entries = [each for each in FUNCTIONS if REGISTRY[each] and group(each) == "kernel"]
    renamed, ways_in = narrow.entered(groups(), entries, TARGETS[architecture].pointer)
    text = str(backend.linked(renamed, "bare", TARGETS[architecture], ways_in))
    found = {}
    for line in re.findall(r"^define protected (.*?@km_call_\w+\(.*?\))", text, re.MULTILINE):
        result, name, arguments = re.fullmatch(r"(?:.* )?(i\d+) @km_call_(\w+)\((.*)\)", line).groups()
        found[name] = ([each.split()[0] for each in arguments.split(", ") if each], result)
    expected = {}
    for function in FUNCTIONS:
        if REGISTRY[function] and group(function) == "kernel":
            kinds, result = signature(function)
            expected[function.__name__] = (["i32" if kind else "i64" for kind in kinds], "i32" if result else "i64")
    assert any("i32" in arguments for arguments, _ in expected.values())
    assert found == expected


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_each_target_says_how_wide_its_pointers_are(target: Target) -> None:
    assert ("-p:32:32-" in str(backend.target_machine(target).target_data)) == (target.pointer == 32)
