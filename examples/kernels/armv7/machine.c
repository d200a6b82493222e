/* ARM of 32 bits: what is not as on 64. */
#include "../arm/arm.h"

intptr_t psci(intptr_t function, intptr_t a, intptr_t b, intptr_t c)
{
	register intptr_t r0 __asm__("r0") = function, r1 __asm__("r1") = a, r2 __asm__("r2") = b, r3 __asm__("r3") = c;
	__asm__ volatile("hvc #0" : "+r"(r0) : "r"(r1), "r"(r2), "r"(r3) : "memory");
	return r0;
}

void end_emulation(intptr_t status)
{
	uint32_t block[2] = {0x20026, (uint32_t)status};
	register uint32_t r0 __asm__("r0") = 0x20, r1 __asm__("r1") = (uint32_t)block;

	__asm__ volatile("svc 0x123456" : "+r"(r0) : "r"(r1) : "memory", "lr");
}

_Noreturn void faulted(uint32_t at, uint32_t address, uint32_t status)
{
	say("processor %d, at %x: status %x, ", processor_number(), at, status);
	fail("fault", address);
}
