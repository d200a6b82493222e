/* ARM of 64 bits: what is not as on 32. */
#include "../arm/arm.h"

intptr_t psci(intptr_t function, intptr_t a, intptr_t b, intptr_t c)
{
	register int64_t x0 __asm__("x0") = function, x1 __asm__("x1") = a, x2 __asm__("x2") = b, x3 __asm__("x3") = c;
	__asm__ volatile("hvc 0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

void end_emulation(intptr_t status)
{
	int64_t block[2] = {0x20026, status};
	register int64_t w0 __asm__("x0") = 0x18;
	register int64_t *x1 __asm__("x1") = block;

	__asm__ volatile("hlt 0xf000" : : "r"(w0), "r"(x1) : "memory");
}

_Noreturn void faulted(int64_t syndrome, int64_t at, int64_t address)
{
	say("processor %d, at %x: syndrome %x, ", processor_number(), at, syndrome);
	fail("fault", address);
}
