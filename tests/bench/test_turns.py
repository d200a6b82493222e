"""Processors of one emulated machine that take turns."""

import io

import llvmlite.binding as llvm
import pytest
from small_machines import MIB

from kernmalloc.bench import emulator
from kernmalloc.bench.emulator import CODE_END, ROOM, processor
from kernmalloc.bench.turns import Call, Turns
from kernmalloc.lang import backend
from kernmalloc.machine.arch import TARGETS
from kernmalloc.machine.lives import Fault

AT = CODE_END - (1 << 17)  # where instructions are counted
LOCK, SUM, LINE = ROOM, ROOM + 64, 64

# Adds to a number under a lock; adds to a number of one's own; and reads one.
_CODE = f"""
define i64 @locked(i64 %by) {{
 br label %try
try:
 %was = atomicrmw volatile xchg ptr inttoptr (i64 {LOCK} to ptr), i32 1 acquire
 %free = icmp eq i32 %was, 0
 br i1 %free, label %inside, label %wait
wait:
 %now = load atomic volatile i32, ptr inttoptr (i64 {LOCK} to ptr) monotonic, align 4
 %still = icmp ne i32 %now, 0
 br i1 %still, label %wait, label %try
inside:
 %sum = load volatile i64, ptr inttoptr (i64 {SUM} to ptr)
 %more = add i64 %sum, %by
 store volatile i64 %more, ptr inttoptr (i64 {SUM} to ptr)
 store atomic volatile i32 0, ptr inttoptr (i64 {LOCK} to ptr) release, align 4
 ret i64 %more
}}
define i64 @own(ptr %at) {{
 %sum = load volatile i64, ptr %at
 %more = add i64 %sum, 1
 store volatile i64 %more, ptr %at
 ret i64 %more
}}
"""


@pytest.fixture(scope="module")
def machine():
    target = backend.target_machine(TARGETS["x86_64"])
    code, symbols = emulator.link(io.BytesIO(target.emit_object(llvm.parse_assembly(_CODE))), AT)
    with emulator.boot(96 * MIB) as kernel:
        bare = processor(kernel)
        bare.write(AT, code)
        yield bare, symbols


def repeat(call, count, answers=None):
    for _ in range(count):
        answer = yield call
        if answers is not None:
            answers.append(answer)


def test_one_is_inside_at_a_time_and_the_others_wait(machine):
    bare, symbols = machine
    bare.write(SUM, bytes(8))
    answers = []
    call = Call("add", symbols["locked"], (3,))
    found = Turns(bare, LOCK).run([repeat(call, 20, answers) for _ in range(8)])
    assert sorted(answers) == list(range(3, 3 * 161, 3))
    cost = found.costs["add"]
    assert found.calls == cost.calls == cost.locked == 160
    assert 0 < cost.inside < cost.instructions and found.held > 0.5 and found.waited > 0.5
    assert found.met == 0 and {reason.now.address for reason in found.why} == {LOCK, SUM}


@pytest.mark.parametrize("apart", [8, LINE])
def test_numbers_of_ones_own_meet_if_they_share_a_line(machine, apart):
    bare, symbols = machine
    programs = [repeat(Call("own", symbols["own"], (SUM + LINE + i * apart,)), 50) for i in range(4)]
    turns = Turns(bare, LOCK)
    found = turns.run(programs)
    cost = found.costs["own"]
    assert (cost.locked, cost.inside, found.held, found.waited) == (0, 0, 0, 0)
    assert cost.instructions == 200 * 4  # load, add, store, ret
    if apart == LINE:
        assert (cost.misses, cost.transfers, found.met) == (4, 0, 0)
        again = turns.run([repeat(Call("own", symbols["own"], (SUM + LINE,)), 1)])
        assert (again.costs["own"].misses, again.costs["own"].transfers) == (0, 0)  # it is in the cache still
    else:
        assert cost.misses == 1 and cost.transfers > 50 and found.met >= cost.transfers
        assert all(reason.now.address != reason.before.address for reason in found.why)


def test_an_address_that_nothing_maps_is_a_fault(machine):
    bare, symbols = machine
    with pytest.raises(Fault, match="processor 1"):
        Turns(bare, LOCK).run([repeat(Call("own", symbols["own"], (at,)), 1) for at in (SUM, 8)])
