/*
 * The TLB of a ColdFire V4e (MCF547x, MCF548x), for kernmalloc: what a miss loads, what stays loaded, what is forgotten.
 *
 * The processor walks no tables. Where its TLB lacks a translation it raises an access error, and
 * km_coldfire_error looks into the kernel's tables, by km_call_coldfire_miss. See the MCF547x
 * Reference Manual, 3.8 (exceptions) and chapter 5 (MMU).
 *
 * Nothing here may miss itself: code, stack, km_coldfire_refill and all page tables must lie where
 * the access control registers ACR0 to ACR3 let a supervisor reach physical memory as it is. They
 * are asked before the TLB. Interrupts are off while the MMU's registers are in use.
 *
 *     boot       ACR0 and ACR2 over RAM; MMUBAR = KM_MMUBAR | 1; vector 2 is km_coldfire_error
 *                km_init; km_coldfire_on; km_start; km_coldfire_lock
 *     processes  km_coldfire_run when another one is to run
 *     faults     km_coldfire_fault, which is yours: entered as an access error that is no miss, or
 *                of a page that the tables do not map
 */
#include "kernmalloc.h"

#ifndef KM_MMUBAR
#define KM_MMUBAR 0xfe000000
#endif

#define REGISTER(offset) (*(volatile uint32_t *)(uintptr_t)(KM_MMUBAR + (offset)))
#define MMUCR REGISTER(0x00)
#define MMUOR REGISTER(0x04)
#define MMUSR REGISTER(0x08)
#define MMUAR REGISTER(0x10)
#define MMUTR REGISTER(0x14)
#define MMUDR REGISTER(0x18)

enum {
	EN = 1,       /* MMUCR */
	UAA = 0x1,    /* MMUOR: choose an entry to replace, */
	ACC = 0x2,    /* write it, */
	ITLB = 0x10,  /* of instructions */
	CAS = 0x20,   /* clear what is not locked, of the address space that runs */
	CA = 0x80,    /* clear all */
	STLB = 0x100, /* search for MMUAR */
	HIT = 2,      /* MMUSR */
	PROCESS = 1   /* the address space of whatever process runs; 0 is the kernel's */
};

struct km_refill km_coldfire_refill;

static void load(int64_t words, uint32_t operation)
{
	MMUTR = (uint32_t)((uint64_t)words >> 32);
	MMUDR = (uint32_t)words;
	MMUOR = operation;
}

/* Turn the MMU on: `root` is what km_init answered, and `memory` where physical address 0 can be loaded from. */
void km_coldfire_on(int64_t memory, int64_t root)
{
	km_call_coldfire_aim(&km_coldfire_refill, memory, root);
	MMUOR = CA;
	__asm__ volatile("movec %0, %%asid" : : "d"(PROCESS));
	MMUCR = EN;
}

/*
 * Lock the translations of an affine heap, `most` of them at most: how many. Some of the TLB's 32
 * must be left. Once, when km_start has returned.
 */
int km_coldfire_lock(struct km_cpu *cpu, int most)
{
	int64_t flags = km_port_interrupts_save(), words;
	int number = 0;

	while (number < most && (words = km_call_coldfire_locked(cpu, number)) != 0) {
		load(words, ACC | UAA);
		number++;
	}
	km_port_interrupts_restore(flags);
	return number;
}

/* Let a process run whose root table is at physical address `root`: what the TLB knows of the one before goes. */
void km_coldfire_run(int64_t root)
{
	int64_t flags = km_port_interrupts_save();

	MMUOR = CAS;
	km_call_coldfire_process(&km_coldfire_refill, root, PROCESS);
	km_port_interrupts_restore(flags);
}

static void forget(uint32_t va, uint32_t tlb)
{
	MMUAR = va;
	MMUOR = STLB | tlb;
	if (MMUSR & HIT)
		load(0, ACC | tlb);
}

/* A page may be one of many in an entry, and the entry be locked: each is searched for. */
int64_t km_port_flush(int64_t va, int64_t pages)
{
	int64_t flags = km_port_interrupts_save();

	for (; pages > 0; pages--, va += 8192) {
		forget((uint32_t)va, 0);
		forget((uint32_t)va, ITLB);
	}
	km_port_interrupts_restore(flags);
	return 0;
}

/* There is one processor. */
int64_t km_port_shootdown(int64_t va, int64_t pages)
{
	return km_port_flush(va, pages);
}

/* Of address spaces that do not run nothing is in the TLB. */
int64_t km_port_forget(int64_t root, int64_t va)
{
	if (km_coldfire_refill.memory + root == km_coldfire_refill.process)
		km_port_flush(va, 1);
	return 0;
}

/*
 * Access errors. The stack has format, fault status and status register in four bytes, then the
 * address of the instruction. Fault status 1x10 is a miss of data, whose address is in MMUAR; 0101
 * one of an instruction, 0110 of the rest of one, which is on the next page, 4 bytes further.
 */
#define TEXT(of) TEXT_(of)
#define TEXT_(of) #of

__asm__(
	"	.text\n"
	"	.balign 4\n"
	"	.global km_coldfire_error\n"
	"km_coldfire_error:\n"
	"	move.w	#0x2700, %sr\n" /* before the first instruction no interrupt comes */
	"	lea	-16(%sp), %sp\n"
	"	movem.l	%d0-%d1/%a0-%a1, (%sp)\n"
	"	move.l	16(%sp), %d0\n"
	"	move.l	%d0, %d1\n"
	"	andi.l	#0x08030000, %d1\n"
	"	cmpi.l	#0x08020000, %d1\n"
	"	bne.s	2f\n"
	"	mov3q.l	#3, -(%sp)\n" /* ACC | UAA */
	"	move.l	" TEXT(KM_MMUBAR) "+0x10, -(%sp)\n"
	"1:	clr.l	-(%sp)\n"
	"	pea	km_coldfire_refill\n"
	"	jsr	km_call_coldfire_miss\n"
	"	lea	12(%sp), %sp\n"
	"	tst.l	%d0\n"
	"	beq.s	4f\n"
	"	move.l	%d0, " TEXT(KM_MMUBAR) "+0x14\n"
	"	move.l	%d1, " TEXT(KM_MMUBAR) "+0x18\n"
	"	move.l	(%sp)+, " TEXT(KM_MMUBAR) "+0x04\n"
	"	movem.l	(%sp), %d0-%d1/%a0-%a1\n"
	"	lea	16(%sp), %sp\n"
	"	rte\n"
	"2:	andi.l	#0x0c030000, %d0\n"
	"	move.l	20(%sp), %d1\n"
	"	cmpi.l	#0x04010000, %d0\n"
	"	beq.s	3f\n"
	"	addq.l	#4, %d1\n"
	"	cmpi.l	#0x04020000, %d0\n"
	"	bne.s	5f\n"
	"3:	moveq	#0x13, %d0\n" /* ITLB | ACC | UAA */
	"	move.l	%d0, -(%sp)\n"
	"	move.l	%d1, -(%sp)\n"
	"	bra.s	1b\n"
	"4:	addq.l	#4, %sp\n"
	"5:	movem.l	(%sp), %d0-%d1/%a0-%a1\n"
	"	lea	16(%sp), %sp\n"
	"	jmp	km_coldfire_fault\n"
	"	.size	km_coldfire_error, . - km_coldfire_error\n"
);
