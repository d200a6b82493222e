/*
 * Boot's table, of short descriptors with an access flag: sections of 1 MiB. TTBR0 has the first GiB of it, TTBR1 the
 * others.
 */
#include "board.h"

#define MEMORY 0x40e /* section, accessed, the kernel's; write-back */
#define DEVICE 0x412 /* the same; a device, never executed */
#define WALKS 0x4a /* through TTBR0 and TTBR1: write-back, write-allocate, shareable */

	.text
	.syntax unified
	.arm
	.global boot_tables, paging, root, upper_root
boot_tables:
	ldr r0, =root - OFFSET
	ldr r1, =DEVICE
	mov r2, #0
	ldr r3, =MEMORY
1:	cmp r2, #1024
	moveq r1, r3
	orr r4, r1, r2, lsl #20
	str r4, [r0, r2, lsl #2]
	add r2, r2, #1
	cmp r2, #4096
	bne 1b
	ldr r0, =root - OFFSET + (IMAGE >> 20 << 2)
	ldr r1, =(PLACE >> 20 << 20) + MEMORY
	mov r2, #16
1:	str r1, [r0], #4
	add r1, r1, #1 << 20
	subs r2, r2, #1
	bne 1b
	bx lr

paging:
	ldr r0, =root - OFFSET + WALKS
	mcr p15, 0, r0, c2, c0, 0  /* TTBR0 */
	mcr p15, 0, r0, c2, c0, 1  /* TTBR1 */
	mov r1, #2
	mcr p15, 0, r1, c2, c0, 2  /* TTBCR: TTBR0 is for the lowest 2 ** (32 - 2) */
	mov r1, #1
	mcr p15, 0, r1, c3, c0, 0  /* DACR: rights count */
	ldr r1, =0xff0f00a9  /* PRRR and NMRR: of C and B, 0 device, 1 not cached, 2 write-through, 3 write-back */
	mcr p15, 0, r1, c10, c2, 0
	ldr r1, =0x00600060
	mcr p15, 0, r1, c10, c2, 1
	mcr p15, 0, r1, c8, c7, 0  /* no old translation */
	dsb
	isb
	mrc p15, 0, r1, c1, c0, 0
	orr r1, r1, #0x30000000  /* access flags; PRRR counts */
	orr r1, r1, #0x1000
	orr r1, r1, #5  /* MMU and caches */
	mcr p15, 0, r1, c1, c0, 0
	isb
	ldr r0, =upper_root - OFFSET
	ldr r0, [r0]
	mcr p15, 0, r0, c2, c0, 1
	isb
	bx lr

	.data
upper_root: /* what TTBR1 gets in the end */
	.long root - OFFSET + WALKS

	.bss
	.balign 16384
root:	.skip 16384

	.section .note.GNU-stack, "", %progbits
