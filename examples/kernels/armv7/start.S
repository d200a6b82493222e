/*
 * From QEMU to C, with the MMU off. The first processor comes to `start`, those that the kernel starts to `start_other`,
 * with the kernel's number for them. Boot's table maps addresses where they are, in sections of 1 MiB: the first GiB,
 * where devices are, as such, the others as memory; and 16 MiB of memory from PLACE on at IMAGE. TTBR0 has the first GiB
 * of it, TTBR1 the others. Entries have an access flag.
 */
#include "board.h"

#define TREE 0x40000000 /* QEMU's board has the device tree at the start of RAM */
#define MEMORY 0x40e /* section, accessed, the kernel's; write-back */
#define WALKS 0x4a /* through TTBR0 and TTBR1: write-back, write-allocate, shareable */
#define DEVICE 0x412 /* the same; a device, never executed */

	.section .start, "ax"
	.syntax unified
	.arm
	.global start, start_other, root
start:
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
	mov r0, #0
start_other:
	mov r8, r0
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
	ldr pc, =1f
1:	ldr r0, =vectors
	mcr p15, 0, r0, c12, c0, 0
	ldr r0, =stacks
	add r1, r8, #1
	mov r2, #STACK
	mla r0, r1, r2, r0
	cpsid i, #0x17  /* what an abort uses for a stack, after which nothing goes on */
	mov sp, r0
	cps #0x1b
	mov sp, r0
	cps #0x13
	mov sp, r0
	movs r0, r8
	bne 2f
	ldr r1, =TREE
	bl kernel_main
2:	bl processor_main

	.balign 32
vectors:
	.rept 6
	b fault
	.endr
	b interrupt
fault:
	sub r0, lr, #8
	mrc p15, 0, r1, c6, c0, 0
	mrc p15, 0, r2, c5, c0, 0
	bl faulted

interrupt: /* on the stack of what it interrupts: where to go on, and registers that a function of C may change */
	sub lr, lr, #4
	srsdb sp!, #0x13
	cps #0x13
	push {r0-r3, r12, lr}
	and r0, sp, #4
	sub sp, sp, r0
	push {r0, r1}
	bl interrupted
	pop {r0, r1}
	add sp, sp, r0
	pop {r0-r3, r12, lr}
	rfeia sp!

	.data
	.global upper_root
upper_root: /* what TTBR1 gets in the end */
	.long root - OFFSET + WALKS

	.bss
	.balign 16384
root:	.skip 16384
stacks:	.skip PROCESSORS * STACK

	.section .note.GNU-stack, "", %progbits
