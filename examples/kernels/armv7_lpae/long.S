/*
 * Tables of long descriptors (LPAE). TTBR0 has the lower 2 GiB, where devices and the start of memory are, TTBR1 the upper,
 * where the memory manager's window is: when that has tables, the entry of its GiB becomes theirs.
 */
#include "board.h"

	.text
	.syntax unified
	.arm
	.global boot_tables, paging, adopt
boot_tables:  /* they are there already */
	bx lr

paging:
	mov r1, #0
	ldr r0, =low_root - OFFSET
	mcrr p15, 0, r0, r1, c2  /* TTBR0 */
	ldr r0, =high_root - OFFSET
	mcrr p15, 1, r0, r1, c2  /* TTBR1 */
	/* long descriptors; halves of 2 GiB; walks inner shareable, write-back and write-allocate */
	ldr r0, =0xb5013501
	mcr p15, 0, r0, c2, c0, 2  /* TTBCR */
	ldr r0, =0x4404bbff
	mcr p15, 0, r0, c10, c2, 0  /* MAIR0: memory: 0 write-back, 1 write-through, 3 not cached; 2 device */
	mcr p15, 0, r1, c10, c2, 1
	mcr p15, 0, r1, c8, c7, 0  /* no old translation */
	dsb
	isb
	mrc p15, 0, r1, c1, c0, 0
	orr r1, r1, #0x1000
	orr r1, r1, #5  /* MMU and caches */
	mcr p15, 0, r1, c1, c0, 0
	isb
	bx lr

adopt:  /* where memory is itself: between an entry and another one there is none (ARM DDI 0406C, B3.10.1) */
	adr r1, 1f
	ldr r2, =OFFSET
	sub r1, r1, r2
	bx r1
1:	ldr r1, =high_root - OFFSET + ((IMAGE >> 30) - 2) * 8
	mov r2, #0
	mov r3, #0
	strd r2, r3, [r1]
	dsb
	mcr p15, 0, r2, c8, c7, 0  /* TLBIALL: no other processor has come yet */
	mcr p15, 0, r2, c7, c5, 6  /* BPIALL */
	dsb
	isb
	ldrd r2, r3, [r0, #(IMAGE >> 30) * 8]
	strd r2, r3, [r1]
	dsb
	isb
	bx lr

	.data
	.balign 4096
level:	/* of IMAGE's GiB: 16 MiB of memory in blocks of 2 MiB */
	.fill (IMAGE >> 21) & 511, 8, 0
	.set i, 0
	.rept 8
	.quad PLACE + (i << 21) + 0x701
	.set i, i + 1
	.endr
	.fill 504 - ((IMAGE >> 21) & 511), 8, 0
low_root: /* blocks of 1 GiB, accessed, inner shareable; the first is a device's, never executed */
	.quad 0x409 | 1 << 54, 0x40000701
high_root:
	.fill (IMAGE >> 30) - 2, 8, 0
	.long level - OFFSET + 3, 0  /* a table */
	.fill 3 - (IMAGE >> 30), 8, 0

	.section .note.GNU-stack, "", %progbits
