/* The port of those who have nothing better: memory is filled and copied by words, or by bytes. */
#include "kernel.h"

int64_t km_port_zero(int64_t va, int64_t bytes)
{
	uint32_t volatile *at = (uint32_t volatile *)(uintptr_t)va;

	for (; bytes > 0; bytes -= 4)
		*at++ = 0;
	return 0;
}

int64_t km_port_copy(int64_t to, int64_t of, int64_t bytes)
{
	uint8_t volatile *at = (uint8_t volatile *)(uintptr_t)to;
	const uint8_t *from = (const uint8_t *)(uintptr_t)of;

	while (bytes-- > 0)
		*at++ = *from++;
	return 0;
}
