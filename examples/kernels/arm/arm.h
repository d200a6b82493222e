/* What kernels for ARM's processors have in common: what each architecture writes in its own way. */
#include "board.h"

#ifdef __aarch64__
#define READ_LOCAL "mrs %0, tpidr_el1"
#define WRITE_LOCAL "msr tpidr_el1, %0"
#define INTERRUPTS_ON "msr daifclr, 2"
#else
#define READ_LOCAL "mrc p15, 0, %0, c13, c0, 4"
#define WRITE_LOCAL "mcr p15, 0, %0, c13, c0, 4"
#define INTERRUPTS_ON "cpsie i"
#endif

/* The firmware (PSCI): a function, and its result. The debugger (semihosting), which lets QEMU end with a status. */
intptr_t psci(intptr_t function, intptr_t a, intptr_t b, intptr_t c);
void end_emulation(intptr_t status);
