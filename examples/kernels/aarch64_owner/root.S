/*
 * Boot's tables: 39 bits of physical addresses where they are, and 16 MiB of memory from PLACE on at IMAGE, where the
 * memory manager's window begins. The first GiB, where devices are, is mapped as such, the others as memory.
 *
 * What forgets a page here reaches all processors (TLBI VAAE1IS): the library's flush is a shootdown, too.
 */
#include "board.h"

	.text
	.global adopt
adopt:  /* where memory is itself: between an entry and another one there is none (ARM DDI 0487, D8.14.1) */
	adr x1, 1f
	ldr x2, =OFFSET
	sub x1, x1, x2
	br x1
1:	adrp x1, high_root
	mov x3, #4096
2:	sub x3, x3, #8
	str xzr, [x1, x3]
	cbnz x3, 2b
	dsb ishst
	tlbi vmalle1is
	dsb ish
	isb
	mov x3, #4096
2:	sub x3, x3, #8
	ldr x2, [x0, x3]
	str x2, [x1, x3]
	cbnz x3, 2b
	dsb ishst
	isb
	ret

	.data
	.balign 4096
	.global low_root, high_root
low_root: /* entries of 1 GiB: block, accessed, inner shareable; the first is a device's, never executed */
	.quad 0x409 | 1 << 54 | 1 << 53
	.set i, 1
	.rept 511
	.quad i << 30 | 0x701
	.set i, i + 1
	.endr
high_root:
	.fill (IMAGE >> 39) & 511, 8, 0
	.quad level1 - OFFSET + 3  /* a table */
	.fill 511 - ((IMAGE >> 39) & 511), 8, 0
level1:
	.fill (IMAGE >> 30) & 511, 8, 0
	.quad level2 - OFFSET + 3
	.fill 511 - ((IMAGE >> 30) & 511), 8, 0
level2:
	.fill (IMAGE >> 21) & 511, 8, 0
	.set i, 0
	.rept 8
	.quad PLACE + (i << 21) + 0x701
	.set i, i + 1
	.endr
	.fill 504 - ((IMAGE >> 21) & 511), 8, 0

	.section .note.GNU-stack, "", @progbits
