"""What is timed is what a bare machine runs, and the comparison can tell."""

import shutil
from collections import Counter

import pytest

from kernmalloc.bench import same

needs_objdump = pytest.mark.skipif(not shutil.which("objdump"), reason="objdump is not installed")


@needs_objdump
def test_the_quick_paths_of_the_hosted_object_are_those_of_the_bare_one():
    found = {comparison.entry: comparison for comparison in same.compare()}
    assert {"malloc", "free", "frame_get", "frame_put"} <= set(found)
    for comparison in found.values():
        assert comparison.same, comparison
        assert comparison.instructions > 15


def test_registers_padding_and_order_do_not_count_and_all_else_does():
    code = {
        "km_call_malloc": [
            "cmp    $0x3,%rsi", "jne    10 <kernmalloc.kernel.calls.malloc>", "mov    0x30(%rdi),%rcx",
            "jmp    20 <other>",
        ],
        "other": [
            "push   %rbx", "mov    %rax,%rbx", "data16 cs nopw 0x0(%rax,%rax,1)", "pop    %rbx",
            "jg     24 <other+0x4>", "ret",
        ],
        "kernmalloc.kernel.calls.malloc": ["cli"],
    }  # fmt: skip
    assert same.path(code, "km_call_malloc") == Counter(
        {"cmp    $0x3,%": 1, "jne": 1, "mov    0x30(%),%": 1, "jmp": 1, "jg": 1, "ret": 1}
    )
    (equal,) = same.compared(code, {**code, "other": ["ret", "jg     24 <other+0x4>"]})
    assert equal.same and equal.instructions == 6
    unchecked = code["km_call_malloc"][2:]
    (found,) = same.compared(code, {**code, "km_call_malloc": unchecked})
    assert not found.same and found.hosted == Counter({"cmp    $0x3,%": 1, "jne": 1})
    other_place = [
        code["km_call_malloc"][0],
        code["km_call_malloc"][1],
        "mov    0x38(%rdi),%rcx",
        code["km_call_malloc"][3],
    ]
    (found,) = same.compared(code, {**code, "km_call_malloc": other_place})
    assert found.bare == Counter({"mov    0x38(%),%": 1})
