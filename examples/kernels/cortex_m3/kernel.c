/* A Cortex-M3, a microcontroller without page tables: the memory manager is a heap in a block of memory. */
#include "kernel.h"

#define UART ((volatile uint32_t *)0x40004000)  /* of the MPS2 board: data, state, control, interrupts, divisor */

static char memory[32 << 10] __attribute__((aligned(4096)));

void console_put(char c)
{
	while (UART[1] & 1)  /* it is full */
		;
	UART[0] = (uint8_t)c;
}

/* The debugger, which lets QEMU end with a status (semihosting). */
_Noreturn void machine_stop(int status)
{
	say("status %d\n", status);
	uint32_t block[2] = {0x20026, (uint32_t)status};
	register uint32_t r0 __asm__("r0") = 0x20, r1 __asm__("r1") = (uint32_t)block;

	for (;;)
		__asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

_Noreturn void faulted(const uint32_t *stack)
{
	fail("fault, at", stack[6]);
}

/* The port. */

int64_t km_port_interrupts_save(void)
{
	uint32_t masked;
	__asm__ volatile("mrs %0, primask; cpsid i" : "=r"(masked) : : "memory");
	return masked;
}

int64_t km_port_interrupts_restore(int64_t flags)
{
	__asm__ volatile("msr primask, %0" : : "r"((uint32_t)flags) : "memory");
	return 0;
}

void kernel_main(void)
{
	UART[4] = 16;
	UART[2] = 1;  /* it sends */
	machine_stop(arena_program(memory, sizeof memory));
}
