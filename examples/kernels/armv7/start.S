/*
 * From QEMU to C, with the MMU off. The kernel's own table maps physical addresses where they are, in sections of 1 MiB:
 * the first GiB, where devices are, as such, the others as memory.
 */
	.section .start, "ax"
	.syntax unified
	.arm
	.global start
start:
	ldr r0, =root_table
	ldr r1, =0x00000c16  /* section, device, kernel's: strongly ordered and shareable, never executed */
	mov r2, #0
	ldr r3, =0x00011c0e  /* section, memory, write-back, shareable */
1:	cmp r2, #1024
	moveq r1, r3
	orr r4, r1, r2, lsl #20
	str r4, [r0, r2, lsl #2]
	add r2, r2, #1
	cmp r2, #4096
	bne 1b
	mcr p15, 0, r0, c2, c0, 0  /* TTBR0 */
	mov r1, #0
	mcr p15, 0, r1, c2, c0, 2  /* TTBCR */
	mov r1, #1
	mcr p15, 0, r1, c3, c0, 0  /* DACR: rights count */
	mcr p15, 0, r1, c8, c7, 0  /* no old translation */
	dsb
	isb
	mrc p15, 0, r1, c1, c0, 0
	orr r1, r1, #5
	orr r1, r1, #0x1000  /* MMU and caches */
	mcr p15, 0, r1, c1, c0, 0
	isb
	ldr r0, =vectors
	mcr p15, 0, r0, c12, c0, 0
	ldr sp, =stack_end
	cps #0x17  /* what an abort uses for a stack */
	ldr sp, =stack_end
	cps #0x1b
	ldr sp, =stack_end
	cps #0x13
	bl kernel_main

	.balign 32
vectors:
	.rept 8
	b fault
	.endr
fault:
	sub r0, lr, #8
	mrc p15, 0, r1, c6, c0, 0
	bl faulted

	.bss
	.balign 16384
root_table:
	.skip 16384
	.skip 16384
stack_end:

	.section .note.GNU-stack, "", %progbits
