/*
 * From OpenSBI to C. The first hart comes to `start` with its number in a0 and the device tree in a1; those that the
 * kernel starts come to `start_other` with their number in a0, and in a1 the kernel's for them. Boot's tables, in root.S,
 * map the lowest 4 GiB where they are, and memory from PLACE on at IMAGE.
 */
#include "board.h"

	.section .start, "ax"
	.global start, start_other
start:
	call boot_tables
	li a2, 0
	j 1f
start_other:
	mv a2, a1
1:	la t0, root
	srli t0, t0, 12
	li t1, 8 << 60  /* Sv39 */
	or t0, t0, t1
	sfence.vma
	csrw satp, t0
	sfence.vma
	li t1, OFFSET
	la t0, 1f
	add t0, t0, t1
	jr t0
1:	addi t1, a2, 1
	li t2, STACK
	mul t1, t1, t2
	la sp, stacks
	add sp, sp, t1
	bnez a2, 2f
	call kernel_main
2:	mv a0, a2
	call processor_main

	/* What interrupts: registers that a function of C may change are saved. */
	.balign 4
	.global trap
trap:
	addi sp, sp, -128
	.set at, 0
	.irp r, 1, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31
	sd x\r, at(sp)
	.set at, at + 8
	.endr
	call trapped
	.set at, 0
	.irp r, 1, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 28, 29, 30, 31
	ld x\r, at(sp)
	.set at, at + 8
	.endr
	addi sp, sp, 128
	sret

	.bss
	.balign 4096
stacks:	.skip PROCESSORS * STACK

	.section .note.GNU-stack, "", @progbits
