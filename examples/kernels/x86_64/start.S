/*
 * From the loader to C. QEMU and Xen enter a kernel with a PVH note with 32 bits and paging off, ebx leading to what they
 * tell. Boot's own tables map the first 4 GiB where they are, and the first GiB again at HIGH, for which the kernel is
 * linked. Other processors come from `trampoline`, which lies below 1 MiB by then, and go the same way with ebx 0.
 */
#include "machine.h"

	.section .note.Xen, "a", @note
	.long 4, 8, 18
	.asciz "Xen"
	.quad start - HIGH

	.text
	.code32
	.global start
start:
	movl $(boot_directories - HIGH), %edi
	movl $0x83, %eax  /* present, writable, large */
1:	movl %eax, (%edi)
	addl $8, %edi
	addl $0x200000, %eax
	jnc 1b
	lgdt gdt_pointer - HIGH
paging:
	movl $(boot_root - HIGH), %eax
	movl %eax, %cr3
	movl $0xa0, %eax  /* PAE, global pages */
	movl %eax, %cr4
	movl $0xc0000080, %ecx  /* EFER: long mode, execute-disable */
	movl $0x900, %eax
	xorl %edx, %edx
	wrmsr
	movl $0x80010001, %eax  /* paging, write protection, protected mode */
	movl %eax, %cr0
	ljmp $CODE64, $(long_mode - HIGH)
	.code64
long_mode:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movabs $1f, %rax
	jmp *%rax
1:	movl $1, %eax
	lock xaddl %eax, processors_come
	movl %eax, %edi
	incl %eax
	imull $STACK, %eax
	leaq stacks(%rax), %rsp
	testl %ebx, %ebx
	jz 2f
	movl %ebx, %edi
	call kernel_main
2:	call processor_main

	.global trampoline, trampoline_end
	.code16
trampoline:
	cli
	xorl %ebx, %ebx
	movw %bx, %ds
	lgdtl gdt_pointer - trampoline + TRAMPOLINE
	movl $1, %eax
	movl %eax, %cr0
	ljmpl $CODE32, $(1f - HIGH)
	.balign 4
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt - HIGH
trampoline_end:
	.code32
1:	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %ss
	jmp paging

	.data
	.balign 8
gdt:	.quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff, 0x00cf9a000000ffff
gdt_end:
	.balign 4096
	.global boot_root
boot_root:
	.quad boot_low - HIGH + 0x23
	.fill 510, 8, 0
	.quad boot_high - HIGH + 0x23
boot_low:
	.irp i, 0, 1, 2, 3
	.quad boot_directories - HIGH + \i * 4096 + 0x23
	.endr
	.fill 508, 8, 0
boot_high:
	.fill 510, 8, 0
	.quad boot_directories - HIGH + 0x23, 0

	.bss
	.global processors_come
processors_come:
	.long 0
	.balign 4096
boot_directories:
	.skip 4 * 4096
stacks:	.skip PROCESSORS * STACK

	.section .note.GNU-stack, "", @progbits
