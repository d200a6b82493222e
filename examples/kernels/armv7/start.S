/*
 * From QEMU to C, with the MMU off. The first processor comes to `start`, those that the kernel starts to `start_other`,
 * with the kernel's number for them. Boot's tables map addresses where they are: the first GiB, where devices are, as such,
 * the others as memory; and 16 MiB of memory from PLACE on at IMAGE.
 */
#include "board.h"

#define TREE 0x40000000 /* QEMU's board has the device tree at the start of RAM */

	.section .start, "ax"
	.syntax unified
	.arm
	.global start, start_other
start:
	bl boot_tables
	mov r0, #0
start_other:
	mov r8, r0
	bl paging
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

	.bss
	.balign 8
stacks:	.skip PROCESSORS * STACK

	.section .note.GNU-stack, "", %progbits
