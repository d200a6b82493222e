/*
 * From a multiboot loader to C. Boot's own tables map the first 4 GiB where they are, but for the first 16 MiB of the
 * memory manager's window: there lies the image, for which the kernel is linked.
 */
#include "machine.h"

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 2, -(0x1badb002 + 2)  /* it wants the memory map */

	.text
	.global start
start:
	movl $(boot_directories - OFFSET), %edi
	movl $0x83, %eax  /* present, writable, large */
1:	movl %eax, (%edi)
	addl $ENTRY, %edi
	addl $(1 << LARGE), %eax
	jnc 1b
	movl $(boot_directories - OFFSET + (IMAGE >> LARGE) * ENTRY), %edi
	movl $(PLACE + 0x83), %eax
	movl $8, %ecx
1:	movl %eax, (%edi)
	addl $ENTRY, %edi
	addl $(1 << LARGE), %eax
	loop 1b
	movl $(boot_root - OFFSET), %eax
	movl %eax, %cr3
	movl $PAGING, %eax
	movl %eax, %cr4
	movl $0x80010001, %eax  /* paging, write protection, protected mode */
	movl %eax, %cr0
	movl $1f, %eax
	jmp *%eax
1:	lgdt gdt_pointer
	ljmp $CODE, $1f
1:	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $stack_end, %esp
	pushl %ebx
	call kernel_main

	.global boot_root
#ifdef TWO_LEVELS
boot_root = boot_directories
#else
	.data
	.balign 32
boot_root:
	.irp i, 0, 1, 2, 3
	.long boot_directories - OFFSET + \i * 4096 + 1, 0
	.endr
#endif
	.data
gdt:	.quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt

	.bss
	.balign 4096
boot_directories:
	.skip 4 * 4096
	.skip 16384
stack_end:

	.section .note.GNU-stack, "", @progbits
