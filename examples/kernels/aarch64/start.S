/*
 * From QEMU to C, at EL1 with the MMU off. The kernel's own tables map physical addresses at DIRECT (TTBR1), and where
 * they are (TTBR0): the first GiB, where devices are, as such, the others as memory.
 */
#include "machine.h"

	.section .start, "ax"
	.global start
start:
	mov x20, x0  /* of a processor that the kernel started: its number */
	adrp x0, root_table
	msr ttbr0_el1, x0
	msr ttbr1_el1, x0
	ldr x0, =0x00ff  /* attribute 0: memory, write-back; 1: device */
	msr mair_el1, x0
	ldr x0, =0x5b5193519  /* both halves 39 bits, 4 KiB, inner shareable, write-back; 40 bits physical */
	movk x0, #2, lsl #32
	msr tcr_el1, x0
	isb
	mrs x0, sctlr_el1
	mov x1, #0x1005  /* MMU and caches */
	orr x0, x0, x1
	msr sctlr_el1, x0
	isb
	ldr x0, =1f
	br x0
1:	ldr x1, =stacks + STACK
	mov x2, #STACK
	madd x1, x20, x2, x1
	mov sp, x1
	ldr x0, =vectors
	msr vbar_el1, x0
	mov x0, x20
	cbnz x0, 2f
	bl kernel_main
2:	bl processor_main

	.balign 2048
vectors:
	.rept 5
	b fault
	.balign 128
	.endr
	b interrupt
	.balign 128
	.rept 10
	b fault
	.balign 128
	.endr

interrupt: /* registers that a function of C may change are saved */
	.irp r, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18
	stp x\r, x30, [sp, -16]!
	.endr
	.irp r, 1, 3, 5, 7, 9, 11, 13, 15, 17
	stp x\r, x30, [sp, -16]!
	.endr
	bl interrupted
	.irp r, 17, 15, 13, 11, 9, 7, 5, 3, 1
	ldp x\r, x30, [sp], 16
	.endr
	.irp r, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0
	ldp x\r, x30, [sp], 16
	.endr
	eret

fault:
	mrs x0, esr_el1
	mrs x1, elr_el1
	mrs x2, far_el1
	b faulted

	.data
	.balign 4096
root_table: /* entries of 1 GiB: block, accessed, inner shareable; the first is a device's */
	.quad 0x0000000000000405 | 1 << 54 | 1 << 53
	.set i, 1
	.rept 511
	.quad i << 30 | 0x701
	.set i, i + 1
	.endr

	.bss
	.balign 4096
stacks:	.skip PROCESSORS * STACK

	.section .note.GNU-stack, "", @progbits
