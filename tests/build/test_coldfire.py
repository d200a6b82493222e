"""What is exported for ColdFire's TLB, executed: the kernel's C on an emulated CFV4E, whose MMU is the manual's model.

Rows C2 and C12 on machine code: it boots, its misses are served by the exported handler, instruction by instruction,
and it comes to the same answers and the same memory as the simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy
import pytest
from coldfire_board import Board, built, needed
from small_machines import MIB, conserved, machine

from kernmalloc import Kernel, Profile
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.kernel.boot.config import BootRange, Config
from kernmalloc.kernel.core.kern import Kern
from kernmalloc.kernel.heap.caches import ObjectType
from kernmalloc.lang import failed
from kernmalloc.lang.c.names import KEYWORDS
from kernmalloc.plan.plan import plan, with_strategy

if TYPE_CHECKING:
    from pathlib import Path

TOWER = machine((0x4000_0000, 32 * MIB))
PROFILE = Profile.load("coyotos-coldfire")
OPERATIONS = [*(300 + 700 * n for n in range(24)), 100_000, *(-n for n in range(1, 12)), 20_000, *[64] * 30]
"""Bytes to allocate, or which of the blocks so far to free, counted from 1 and below 0."""
ANSWERS = 0xF030_0000
BOUND = 80
"""Instructions of a miss at most, from the exception to the return."""

PROGRAM = """
#include "kernmalloc.h"

extern struct km_cpu *km_processor;
void km_coldfire_on(int64_t memory, int64_t root);
int km_coldfire_lock(struct km_cpu *cpu, int most);
void km_coldfire_fault(void);

static const struct km_boot_range ranges[] = {{ {ranges} }};
static const struct km_object_type types[] = {{ {types} }};
static const int32_t operations[] = {{ {operations} }};
static int64_t *const answers = (int64_t *){answers:#x};
static struct km_config config;

_Noreturn void km_coldfire_fault(void)
{{
	__asm__ volatile("trap #0");
	for (;;)
		;
}}

/* Write to all of a block, and see whether it was what is written. */
static int64_t filled(int64_t va, int64_t bytes, uint8_t with, uint8_t was)
{{
	volatile uint8_t *block = (volatile uint8_t *)(uintptr_t)va;
	int64_t wrong = 0;

	for (int64_t i = 0; i < bytes; i += 97) {{
		wrong += with == 0 && block[i] != was;
		block[i] = with;
	}}
	return wrong;
}}

int program(void)
{{
	struct km_cpu *cpu;
	int64_t *next = answers, blocks[100], bytes[100], root, wrong = 0;
	int made = 0;

{config}
	config.ranges = (struct km_boot_range *)ranges;
	config.objects = (struct km_object_type *)types;
	root = km_init(&config, 0);
	if (km_failed(root))
		return (int)root;
	km_coldfire_on(0, root);
	km_processor = cpu = km_start(&config);
	if (!cpu)
		return -1;
	km_coldfire_lock(cpu, 24);
	*next++ = km_call_release(cpu);
	for (unsigned i = 0; i < sizeof operations / sizeof *operations; i++) {{
		int32_t what = operations[i];

		if (what > 0) {{
			bytes[made] = what;
			blocks[made] = *next++ = km_call_malloc(cpu, what);
			if (!km_failed(blocks[made]))
				filled(blocks[made], what, (uint8_t)(made + 1), 0);
			made++;
		}} else {{
			if (!km_failed(blocks[-what - 1]))
				wrong += filled(blocks[-what - 1], bytes[-what - 1], 0, (uint8_t)-what);
			*next++ = km_call_free(cpu, blocks[-what - 1]);
		}}
	}}
	*next++ = wrong;
	*next++ = km_call_check(cpu);
	*next++ = (int64_t)(uintptr_t)cpu->kern;
	return 0;
}}
"""


def program(kernel: Kernel) -> str:
    """The program that boots as this kernel did, and does the operations."""
    info = kernel.handle.loaded.info
    others = ("ranges", "objects", "window")
    told = {
        name: int(info["target" if name == "window" else name])
        for name, each in Config.fields.items()
        if each.offset < Config.offset("info_bytes") and name not in others[:2]
    }
    lines = [
        f"\tconfig.{f'{name}_' if name in KEYWORDS else name} = (int64_t){value % (1 << 64):#x};"
        for name, value in told.items()
        if value
    ]

    def rows(kind: Any, name: str, count: str) -> str:
        records = kernel.view.read(kind, int(info[name]), int(info[count]))
        return ", ".join("{" + ", ".join(str(int(value)) for value in record) + "}" for record in records)

    return PROGRAM.format(
        ranges=rows(BootRange, "ranges", "range_count"),
        types=rows(ObjectType, "objects", "object_count"),
        operations=", ".join(map(str, OPERATIONS)),
        answers=ANSWERS,
        config="\n".join(lines),
    )


def simulated(kernel: Kernel) -> list[int]:
    """What the operations answer there."""
    answers = [kernel.call("release")]
    blocks: list[int] = []
    for what in OPERATIONS:
        if what > 0:
            blocks.append(kernel.call("malloc", what))
            refused = failed(blocks[-1])
            answers.append(blocks[-1] - (0 if refused else kernel.handle.loaded.window - kernel.handle.loaded.target))
        else:
            answers.append(kernel.call("free", blocks[-what - 1]))
    return [*answers, 0, kernel.call("check")]


NIGHTLY = [pytest.param(name, marks=pytest.mark.nightly) for name in ("hybrid", "demand", "release")]


@pytest.mark.parametrize("strategy", ["reserve+release", *NIGHTLY])
def test_C2_C12_the_exported_kernel_boots_and_serves_its_misses(strategy: str, tmp_path: Path) -> None:
    """Each miss takes a bounded number of instructions, and none happens within another. The affine heap, locked, is
    written to without a miss, and what it gives back loses its locks. Answers and counts of frames are those of the
    simulation."""
    needed()
    profile = with_strategy(PROFILE, strategy)
    with Kernel.boot(TOWER, profile, "raw") as kernel:
        board = Board(built(tmp_path, program(kernel)), [(r.base, r.size) for r in TOWER.ram])
        assert board.run("program") == 0 and not board.faults
        answers = simulated(kernel)
        data = bytes(board.uc.mem_read(ANSWERS, 8 * (len(answers) + 1)))
        *told, kern = numpy.frombuffer(data, ">i8").tolist()
        assert told == answers
        released = int(kernel.view.kern["released"]) * PROFILE.page
        assert released or not STRATEGIES[strategy].excess
        assert board.mmu.locked == plan(TOWER, profile).locked - released // MIB
        assert sum(board.instructions.values()) == board.mmu.misses > 50
        assert max(board.instructions) <= BOUND
        print("misses by the instructions that each took:", dict(board.instructions))
        there = numpy.frombuffer(
            bytes(board.uc.mem_read(board.mmu.translate(kern), Kern.size)), Kern.dtype.newbyteorder(">")
        )[0]
        here = kernel.view.kern
        for name in Kern.fields:
            if name.endswith("frames") or name in ("backed", "idle", "top", "fixed", "kept", "peak", "promised"):
                assert int(there[name]) == int(here[name]), name
        conserved(kernel)
