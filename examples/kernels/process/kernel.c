/* A Linux process: a heap in a block of memory that the process has. */
#include <stdio.h>
#include <stdlib.h>
#include "kernel.h"

static char memory[1 << 20] __attribute__((aligned(4096)));

void console_put(char c) { putchar(c); }

_Noreturn void machine_stop(int status)
{
	say("status %d\n", status);
	exit(status);
}

/* The port: one thread, and no interrupts. */
int64_t km_port_interrupts_save(void) { return 0; }
int64_t km_port_interrupts_restore(int64_t flags) { (void)flags; return 0; }

int main(void)
{
	machine_stop(arena_program(memory, sizeof memory));
}
