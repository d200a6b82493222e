/* What both harnesses share: the clock, random numbers, memory. */
#ifndef HARNESS_H
#define HARNESS_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* ns that this thread has had a processor for: what else this computer does meanwhile does not count */
static inline double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static inline uint64_t next_random(uint64_t *s) /* Marsaglia's xorshift */
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

static inline uint64_t below(uint64_t *s, uint64_t limit)
{
	return ((next_random(s) >> 32) * limit) >> 32;
}

static void *memory(size_t bytes) /* zeros */
{
	void *p = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? abort(), p : p;
}
#endif
