/* ARM of 32 bits: what processors remember of the memory manager's page tables. The library's flush is for one of them. */
#include "kernmalloc.h"

int64_t km_port_shootdown(int64_t va, int64_t pages)
{
	__asm__ volatile("dsb" : : : "memory");
	for (int64_t i = 0; i < pages; i++)
		__asm__ volatile("mcr p15, 0, %0, c8, c3, 3" : : "r"((uint32_t)(va + (i << 12))));  /* TLBIMVAAIS */
	__asm__ volatile("dsb; isb" : : : "memory");
	return 0;
}

int64_t km_port_forget(int64_t root, int64_t va)
{
	(void)root;
	return km_port_shootdown(va, 1);
}
