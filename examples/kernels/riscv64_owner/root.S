/*
 * Boot's tables: the lower half where it is, and 1 GiB of memory from PLACE on at IMAGE, where the memory manager's window
 * begins. When it has tables for its window, the upper half of the root becomes theirs.
 */
#include "board.h"

	.text
	.global boot_tables, adopt
boot_tables:  /* before paging, where memory is: the root leads to `level` */
	la t0, level
	srli t0, t0, 2
	ori t0, t0, 1
	la t1, root + ((IMAGE >> 30) & 511) * 8
	sd t0, (t1)
	ret

adopt:  /* a processor may use the old entry or the new one until the fence; they map the image alike */
	la t0, root
	li t1, 2048
	add t0, t0, t1
	add a0, a0, t1
	add t1, t0, t1
1:	ld t2, (a0)
	sd t2, (t0)
	addi a0, a0, 8
	addi t0, t0, 8
	bltu t0, t1, 1b
	sfence.vma
	ret

	.data
	.balign 4096
	.global root
root:	/* entries of 1 GiB: valid, all rights, accessed, dirty */
	.set i, 0
	.rept 256
	.quad i << 28 | 0xcf
	.set i, i + 1
	.endr
	.fill 256, 8, 0
level:	/* entries of 2 MiB: the same, and global */
	.set i, 0
	.rept 512
	.quad ((PLACE >> 12) + (i << 9)) << 10 | 0xef
	.set i, i + 1
	.endr

	.section .note.GNU-stack, "", @progbits
