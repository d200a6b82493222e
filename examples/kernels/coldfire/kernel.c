/* A ColdFire, big-endian and without page tables: the memory manager is a heap in a block of memory. */
#include "kernel.h"

#define UART ((volatile uint8_t *)0xfc060000)  /* of the MCF5208 */

static char memory[64 << 10] __attribute__((aligned(8192)));

void ask_debugger(int function, int argument);

void console_put(char c)
{
	while (!(UART[4] & 4))  /* it is full */
		;
	UART[12] = (uint8_t)c;
}

_Noreturn void machine_stop(int status)
{
	say("status %d\n", status);
	for (;;)
		ask_debugger(0, status);
}

/* The port. */

int64_t km_port_interrupts_save(void)
{
	uint32_t was;
	__asm__ volatile("move.w %%sr, %0" : "=d"(was) : : "memory");
	__asm__ volatile("move.w %0, %%sr" : : "d"(was | 0x700) : "memory");
	return was;
}

int64_t km_port_interrupts_restore(int64_t flags)
{
	__asm__ volatile("move.w %0, %%sr" : : "d"((uint32_t)flags) : "memory");
	return 0;
}

void kernel_main(void)
{
	UART[8] = 4;  /* it sends */
	machine_stop(arena_program(memory, sizeof memory));
}
