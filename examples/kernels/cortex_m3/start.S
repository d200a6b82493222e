/* The vectors of a Cortex-M3, and the way to C. */
	.syntax unified
	.thumb
	.section .vectors, "a"
	.word stack_end, start
	.rept 14
	.word fault
	.endr

	.text
	.thumb_func
	.global start
start:
	ldr r0, =data_from
	ldr r1, =data
	ldr r2, =data_end
1:	cmp r1, r2
	beq 2f
	ldr r3, [r0], #4
	str r3, [r1], #4
	b 1b
2:	bl kernel_main

	.thumb_func
fault:	mov r0, sp
	bl faulted

	.section .note.GNU-stack, "", %progbits
