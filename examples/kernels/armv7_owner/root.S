/*
 * When the memory manager has tables for its window they become the kernel's: its root is where it will put new ones. It
 * gets boot's entries for what lies below the window, and TTBR1 leads to it.
 */
#include "board.h"

#define WINDOW (IMAGE >> 20 << 2) /* offset of the window's first entry in a root */

	.text
	.arm
	.global adopt
adopt:  /* where memory is itself: between an entry and another one there is none (ARM DDI 0406C, B3.10.1) */
	adr r1, 1f
	ldr r2, =OFFSET
	sub r1, r1, r2
	bx r1
1:	ldr r1, =root - OFFSET
	mov r3, #0x1000  /* of 1 GiB, where TTBR1's part begins */
	ldr r12, =WINDOW
2:	ldr r2, [r1, r3]
	str r2, [r0, r3]
	add r3, r3, #4
	cmp r3, r12
	bne 2b
	mov r2, #0
3:	str r2, [r1, r3]
	add r3, r3, #4
	cmp r3, #0x4000
	bne 3b
	dsb
	mcr p15, 0, r2, c8, c7, 0  /* TLBIALL: no other processor has come yet */
	mcr p15, 0, r2, c7, c5, 6  /* BPIALL */
	dsb
	isb
	ldr r1, =upper_root - OFFSET
	ldr r2, [r1]
	and r2, r2, #0x7f  /* how walks go through memory */
	orr r0, r0, r2
	str r0, [r1]
	mcr p15, 0, r0, c2, c0, 1
	isb
	bx lr

	.section .note.GNU-stack, "", %progbits
