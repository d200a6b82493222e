/* What both harnesses share: the clock, random numbers, and a thread's own processor. */
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

static inline double now(void) /* ns */
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
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
