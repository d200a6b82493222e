/*
 * The kernel's own tables: 39 bits of physical addresses where they are, and the same at the end of the address space. The
 * first GiB, where devices are, is mapped as such, the others as memory.
 */
	.text
	.global adopt
adopt:
	ret

	.data
	.balign 4096
	.global low_root, high_root
low_root: /* entries of 1 GiB: block, accessed, inner shareable; the first is a device's, never executed */
	.quad 0x409 | 1 << 54 | 1 << 53
	.set i, 1
	.rept 511
	.quad i << 30 | 0x701
	.set i, i + 1
	.endr
high_root:
	.fill 511, 8, 0
	.quad low_root - (IMAGE - PLACE) + 3  /* a table */

	.section .note.GNU-stack, "", @progbits
