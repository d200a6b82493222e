/* What is measured of a heap on one trace: pairs of 32-bit numbers, a slot and a size; of size 0 the slot is freed. */
#ifndef HEAP_H
#define HEAP_H
#include "harness.h"
#include <x86intrin.h>

struct op {
	int32_t slot, size;
};

struct tail { /* ns without the clock's own */
	double median, p999, worst;
};

struct heap {
	int shape; /* 0: malloc(bytes), free(p); 1: this project, the processor's record first */
	void *malloc, *free;
	int64_t context;
	const struct op *ops;
	int64_t count, slots;
	int64_t replays;            /* warm ones that are timed together: to be done, then how many were */
	double most;                /* ns that a replay may take, and all warm ones together */
	const int64_t *backed[3];   /* this project's counts of pages with frames, heap map pages, mapping frames */
	int64_t page;
	/* answers */
	double cold, warm;          /* ns per operation */
	struct tail got, freed;     /* warm */
	int64_t live, peak;         /* bytes, at most: asked for; backed, more than at the start */
	int64_t wrong;              /* calls that were refused */
	int64_t late;               /* 1: a replay took longer, and was ended */
	const int64_t *mapped;      /* this project's count of mappings that it asked the host for, or 0 */
	int64_t mappings, faults;   /* of the cold replay; page faults of this thread */
};
#endif
