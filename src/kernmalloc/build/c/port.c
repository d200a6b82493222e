/*
 * The port: what only a machine can do, for kernmalloc. kernmalloc.h says what each function must do.
 *
 * What stands here is for one processor, and for a kernel with interrupts and page tables as its
 * architecture has them; compiled for a hosted environment, it is for a process. All of it is weak:
 * a function of that name elsewhere takes its place. What is not here, yours must have; the linker
 * names it.
 *
 * With several processors yours are
 *     km_port_processor   from gs, tpidr_el1, tp: each one's own record, which km_cpu_online gave
 *     km_port_shootdown   flush here, interrupt all others, wait until each has flushed
 *     km_port_forget      as km_port_shootdown; of the address space whose root is told, if it matters.
 *                         Under PAE paging CR3 is loaded again where it has that root
 *     km_port_reach       how many processors that reaches
 *     km_port_barrier     interrupt all others, wait until each has answered: 1
 * A processor that waits for the kernel's lock takes interrupts, and must answer these.
 *
 * Of a ColdFire with an MMU, flush, shootdown and forget are in coldfire.c.
 */
#include "kernmalloc.h"

#define DEFAULT __attribute__((weak))

/* Of the one processor that there is: what km_start gave. */
struct km_cpu *km_processor;

DEFAULT struct km_cpu *km_port_processor(void)
{
	return km_processor;
}

/* Interrupts, and what a processor remembers of one page. */

#if __STDC_HOSTED__

static int64_t interrupts_off(void) { return 0; }
static void interrupts_as(int64_t flags) { (void)flags; }
#define INVALIDATE(va) ((void)(va)) /* a process has a direct map, or a flush of its own */

#elif defined(__x86_64__) || defined(__i386__)

static int64_t interrupts_off(void)
{
	uintptr_t flags;

	__asm__ volatile("pushf; pop %0; cli" : "=r"(flags) : : "memory");
	return (int64_t)flags;
}

static void interrupts_as(int64_t flags)
{
	__asm__ volatile("push %0; popf" : : "r"((uintptr_t)flags) : "memory", "cc");
}

#define INVALIDATE(va) __asm__ volatile("invlpg (%0)" : : "r"((uintptr_t)(va)) : "memory")

#elif defined(__riscv)

/* as words, for assemblers that take these only where the extension for them is asked for */
static int64_t interrupts_off(void)
{
	register uintptr_t status __asm__("a0");

	__asm__ volatile(".4byte 0x10017573" /* csrrci a0, sstatus, 2 */ : "=r"(status) : : "memory");
	return (int64_t)(status & 2);
}

static void interrupts_as(int64_t flags)
{
	register uintptr_t status __asm__("a0") = (uintptr_t)flags;

	__asm__ volatile(".4byte 0x10052073" /* csrs sstatus, a0 */ : : "r"(status) : "memory");
}

/* with an address it would leave what leads to tables, and tables are dropped, too */
#define INVALIDATE(va) __asm__ volatile("sfence.vma zero, zero" : : "r"((uintptr_t)(va)) : "memory")

#elif defined(__aarch64__)

static int64_t interrupts_off(void)
{
	uint64_t flags;

	__asm__ volatile("mrs %0, daif; msr daifset, #2" : "=r"(flags) : : "memory");
	return (int64_t)flags;
}

static void interrupts_as(int64_t flags)
{
	__asm__ volatile("msr daif, %0" : : "r"((uint64_t)flags) : "memory");
}

#define INVALIDATE(va) \
	__asm__ volatile("dsb ishst; tlbi vaae1is, %0; dsb ish; isb" : : "r"((uint64_t)(va) >> 12) : "memory")

#elif defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'

static int64_t interrupts_off(void)
{
	uint32_t mask;

	__asm__ volatile("mrs %0, primask; cpsid i" : "=r"(mask) : : "memory");
	return mask;
}

static void interrupts_as(int64_t flags)
{
	__asm__ volatile("msr primask, %0" : : "r"((uint32_t)flags) : "memory");
}

#elif defined(__arm__)

static int64_t interrupts_off(void)
{
	uint32_t status;

	__asm__ volatile("mrs %0, cpsr; cpsid i" : "=r"(status) : : "memory");
	return status & 0x80;
}

static void interrupts_as(int64_t flags)
{
	if (flags == 0)
		__asm__ volatile("cpsie i" : : : "memory");
}

#define INVALIDATE(va) \
	__asm__ volatile("dsb; mcr p15, 0, %0, c8, c7, 3; dsb; isb" : : "r"((uint32_t)(va)) : "memory")

#elif defined(__m68k__)

static int64_t interrupts_off(void)
{
	uint32_t status = 0;

	__asm__ volatile("move.w %%sr, %0" : "=d"(status) : : "memory");
	__asm__ volatile("move.w %0, %%sr" : : "d"(status | 0x700) : "memory");
	return status;
}

static void interrupts_as(int64_t flags)
{
	__asm__ volatile("move.w %0, %%sr" : : "d"((uint32_t)flags) : "memory");
}

#else
#error "fill in what this architecture does: interrupts_off, interrupts_as and INVALIDATE"
#endif

DEFAULT int64_t km_port_interrupts_save(void)
{
	return interrupts_off();
}

DEFAULT int64_t km_port_interrupts_restore(int64_t flags)
{
	interrupts_as(flags);
	return 0;
}

#ifdef INVALIDATE /* where a processor has page tables, or one says how its own are dropped */

DEFAULT int64_t km_port_flush(int64_t va, int64_t pages)
{
	for (int64_t i = 0; i < pages; i++)
		INVALIDATE(va + (i << 12));
	return 0;
}

DEFAULT int64_t km_port_shootdown(int64_t va, int64_t pages)
{
	return km_port_flush(va, pages);
}

DEFAULT int64_t km_port_forget(int64_t root, int64_t va)
{
	(void)root;
	return km_port_flush(va, 1);
}

#endif

/* In mode SHADOW yours map and unmap pages; these map nothing, and that mode is refused. */

DEFAULT int64_t km_port_map(int64_t va, int64_t pa, int64_t pages)
{
	(void)va, (void)pa, (void)pages;
	return 0;
}

DEFAULT int64_t km_port_unmap(int64_t va, int64_t pages)
{
	(void)va, (void)pages;
	return 0;
}

DEFAULT int64_t km_port_reach(void)
{
	return 1;
}

DEFAULT int64_t km_port_barrier(void)
{
	return 0;
}

/* Memory. No compiler may make a call of memset or memcpy of these loops: KEEP. */

#if __STDC_HOSTED__

#include <string.h>

DEFAULT int64_t km_port_zero(int64_t va, int64_t bytes)
{
	memset((void *)(uintptr_t)va, 0, (size_t)bytes);
	return 0;
}

DEFAULT int64_t km_port_copy(int64_t to, int64_t of, int64_t bytes)
{
	memcpy((void *)(uintptr_t)to, (const void *)(uintptr_t)of, (size_t)bytes);
	return 0;
}

#elif defined(__x86_64__) || defined(__i386__)

#ifdef __x86_64__
#define WORDS "q"
#else
#define WORDS "l"
#endif

DEFAULT int64_t km_port_zero(int64_t va, int64_t bytes)
{
	uintptr_t to = (uintptr_t)va, words = (uintptr_t)bytes / sizeof words;

	__asm__ volatile("rep; stos" WORDS : "+D"(to), "+c"(words) : "a"((uintptr_t)0) : "memory");
	return 0;
}

DEFAULT int64_t km_port_copy(int64_t to, int64_t of, int64_t bytes)
{
	uintptr_t there = (uintptr_t)to, here = (uintptr_t)of;
	uintptr_t words = (uintptr_t)bytes / sizeof words, rest = (uintptr_t)bytes % sizeof words;

	__asm__ volatile("rep; movs" WORDS : "+D"(there), "+S"(here), "+c"(words) : : "memory");
	__asm__ volatile("rep; movsb" : "+D"(there), "+S"(here), "+c"(rest) : : "memory");
	return 0;
}

#else

#define KEEP() __asm__ volatile("" : : : "memory")

DEFAULT int64_t km_port_zero(int64_t va, int64_t bytes)
{
	uint64_t *word = (uint64_t *)(uintptr_t)va, *end = word + bytes / 8;

	for (; end - word >= 8; word += 8) {
		word[0] = 0, word[1] = 0, word[2] = 0, word[3] = 0;
		word[4] = 0, word[5] = 0, word[6] = 0, word[7] = 0;
		KEEP();
	}
	for (; word < end; word++) {
		*word = 0;
		KEEP();
	}
	return 0;
}

DEFAULT int64_t km_port_copy(int64_t to, int64_t of, int64_t bytes)
{
	uint8_t *there = (uint8_t *)(uintptr_t)to, *end = there + bytes;
	const uint8_t *here = (const uint8_t *)(uintptr_t)of;

	if (((to | of) & 7) == 0) {
		for (; end - there >= 32; there += 32, here += 32) {
			const uint64_t *from = (const uint64_t *)here;
			uint64_t a = from[0], b = from[1], c = from[2], d = from[3], *word = (uint64_t *)there;

			word[0] = a, word[1] = b, word[2] = c, word[3] = d;
			KEEP();
		}
		for (; end - there >= 8; there += 8, here += 8) {
			*(uint64_t *)there = *(const uint64_t *)here;
			KEEP();
		}
	}
	for (; there < end; there++, here++) {
		*there = *here;
		KEEP();
	}
	return 0;
}

#endif

/* 1 where all RAM is reached by its physical address as it is: yours fills it. */
DEFAULT int64_t km_port_zero_ram(int64_t pa, int64_t bytes)
{
	(void)pa, (void)bytes;
	return 0;
}

/* 1 where firmware or loader vouches that this memory is zero: then the kernel need not make it so. */
DEFAULT int64_t km_port_known_zero(int64_t pa, int64_t bytes)
{
	(void)pa;
	(void)bytes;
	return 0;
}
