/* RISC-V of 64 bits: what a hart remembers of the memory manager's page tables. */
#include "../riscv64/riscv64.h"

/* Of all addresses: a fence of some leaves what leads to tables, and tables are dropped, too (4.2.1). */
int64_t km_port_shootdown(int64_t va, int64_t pages)
{
	(void)va, (void)pages;
	return remote_fence(1, 0, 0);
}

int64_t km_port_forget(int64_t root, int64_t va)
{
	(void)root;
	return km_port_shootdown(va, 1);
}

/*
 * A hart may remember of an entry that it was not valid (privileged ISA 1.12, 4.2.1), which another hart has made valid:
 * then what a trap tells is over with a fence here.
 */
int has_come(int64_t cause, int64_t va)
{
	static const uint64_t rights[16] = {[12] = 8, [13] = 2, [15] = 4};  /* X, R, W */
	extern const uint64_t root[];
	const uint64_t *table = root;
	uint64_t right = rights[cause & 15], entry;

	for (int shift = 30;; shift -= 9) {
		entry = __atomic_load_n(&table[(uint64_t)va >> shift & 511], __ATOMIC_RELAXED);
		if ((entry & 1) == 0 || (entry & 0xe) != 0 || shift == 12)
			break;
		table = (const uint64_t *)(entry >> 10 << 12);  /* which boot's tables map where it is */
	}
	if (right == 0 || (entry & 1) == 0 || (entry & right) == 0)
		return 0;
	km_port_flush(va, 1);
	return 1;
}
