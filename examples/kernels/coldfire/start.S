/* From QEMU to C, and how a ColdFire asks the debugger to end QEMU (semihosting): d0 is the function, d1 its argument. */
	.text
	.global start
start:
	lea stack_end, %sp
	jsr kernel_main

	.balign 4
	.global ask_debugger
ask_debugger:
	move.l 4(%sp), %d0
	move.l 8(%sp), %d1
	.balign 4
	nop
	halt
	.long 0x4e7bf000
	rts

	.section .note.GNU-stack, "", @progbits
