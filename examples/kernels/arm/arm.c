/* QEMU's `virt` board with ARM's processors: serial port, interrupts between processors, and the port. */
#include "arm.h"

#define UART 0x9000000  /* PL011 */
#define GIC 0x8000000  /* version 2 */

extern char start_other[];

struct local *processor_local(void)
{
	struct local *own;
	__asm__ volatile(READ_LOCAL : "=r"(own));
	return own;
}

void processor_pause(void) { __asm__ volatile("yield"); }
void processor_sleep(void) { __asm__ volatile("wfi"); }

static volatile uint32_t *uart(uint32_t at) { return (volatile uint32_t *)(uintptr_t)(UART + at); }

void console_put(char c)
{
	while (*uart(0x18) & 1 << 5)  /* its queue is full */
		;
	*uart(0) = (uint8_t)c;
}

int console_get(void) { return *uart(0x18) & 1 << 4 ? -1 : (int)(*uart(0) & 0xff); }

void processor_start(const struct local *other)
{
	psci((intptr_t)0x84000003, other->id, (intptr_t)((uintptr_t)start_other - OFFSET), other->number);
}

_Noreturn void machine_stop(int status)
{
	say("status %d\n", status);
	end_emulation(status);
	for (;;)
		psci((intptr_t)0x84000008, 0, 0, 0);
}

/* Interrupts between processors. */

#define BARRIER 0
#define WAKE 1

static volatile uint32_t *distributor(uint32_t at) { return (volatile uint32_t *)(uintptr_t)(GIC + at); }
static volatile uint32_t *interface(uint32_t at) { return (volatile uint32_t *)(uintptr_t)(GIC + 0x10000 + at); }
static int online, waiting;

void interrupted(void)
{
	uint32_t what = *interface(0xc);

	if ((what & 0x3ff) == BARRIER)
		__atomic_fetch_sub(&waiting, 1, __ATOMIC_SEQ_CST);
	*interface(0x10) = what;
}

static void interrupt(uint32_t whom, uint32_t what)
{
	__asm__ volatile("dsb ish" : : : "memory");
	*distributor(0xf00) = whom | what;
}

void processor_wake(int number) { interrupt(1u << (16 + number), WAKE); }

int64_t km_port_barrier(void)
{
	__atomic_store_n(&waiting, online - 1, __ATOMIC_SEQ_CST);
	interrupt(1u << 24, BARRIER);  /* to all others */
	while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST))
		processor_pause();
	return 1;
}

void processor_init(struct local *own)
{
	__asm__ volatile(WRITE_LOCAL : : "r"(own));
	*distributor(0) = 1;
	*interface(4) = 0xff;  /* all priorities */
	*interface(0) = 1;
	__atomic_fetch_add(&online, 1, __ATOMIC_SEQ_CST);
	__asm__ volatile(INTERRUPTS_ON : : : "memory");
}
