/* The allocators of frames that frames.c times: numbers from 0, -1 where none is left; put answers 0, or -1 where it refuses. */
#ifndef FRAMES_H
#define FRAMES_H
#include "harness.h"
#ifndef CPUS
#define CPUS 8 /* processors that a peer with magazines has them for */
#endif

struct peer {
	const char *name;
	int keeps;   /* a checked entry of 16 bytes for each frame */
	int threads; /* how many it is made for */
	void *(*make)(int64_t frames);
	void (*end)(void *state);
	int64_t (*bytes)(void *state);
	int64_t (*get)(void *state, int cpu, int order);
	int (*put)(void *state, int cpu, int64_t frame, int order);
};

enum { FREE, PAGE };

/* What a peer keeps for each frame if it keeps anything: as much as this project's core table entry. */
struct entry {
	uint8_t type, order;
	uint16_t pins;
	uint32_t link;
	uint64_t owner;
};

static inline void own(struct entry *e, int order)
{
	*e = (struct entry){ .type = PAGE, .order = order };
}

static inline int disown(struct entry *e, int order) /* -1: nobody's, or of another order */
{
	if (e->type != PAGE || e->order != order || e->pins)
		return -1;
	*e = (struct entry){ 0 };
	return 0;
}

static inline void lock(volatile char *word)
{
	while (__atomic_test_and_set(word, __ATOMIC_ACQUIRE))
		while (*word)
			__builtin_ia32_pause();
}

static inline void unlock(volatile char *word)
{
	__atomic_clear(word, __ATOMIC_RELEASE);
}
#endif
