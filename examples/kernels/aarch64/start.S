/*
 * From QEMU to C, at EL1 with the MMU off. The first processor comes to `start`, those that the kernel starts to
 * `start_other`, with the kernel's number for them. Boot's tables, in root.S, map 39 bits where they are (TTBR0), and the
 * image where it runs (TTBR1, 48 bits).
 */
#include "board.h"

#define TREE 0x40000000 /* QEMU's board has the device tree at the start of RAM */

	.section .start, "ax"
	.global start, start_other
start:
	mov x0, #0
start_other:
	mov x20, x0
	adrp x0, low_root
	msr ttbr0_el1, x0
	adrp x0, high_root
	msr ttbr1_el1, x0
	ldr x0, =0x4404bbff  /* memory: 0 write-back, 1 write-through, 3 not cached; 2 device */
	msr mair_el1, x0
	/* T0SZ 25, T1SZ 16; walks inner shareable and write-back; 4 KiB; 40 bits physical; ASIDs of 8 bits, TTBR0's */
	ldr x0, =0x2b5103519
	msr tcr_el1, x0
	tlbi vmalle1
	dsb nsh
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
	mov x1, #TREE
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

	.bss
	.balign 4096
stacks:	.skip PROCESSORS * STACK

	.section .note.GNU-stack, "", @progbits
