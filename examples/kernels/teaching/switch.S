/* switch_to(struct context *of, struct context *to): what a function of C may not change is kept in `of`, had from `to`. */
	.text
	.global switch_to
switch_to:
	sd ra, 0(a0)
	sd sp, 8(a0)
	ld ra, 0(a1)
	ld sp, 8(a1)
	.set at, 16
	.irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
	sd s\r, at(a0)
	ld s\r, at(a1)
	.set at, at + 8
	.endr
	ret

	.section .note.GNU-stack, "", @progbits
