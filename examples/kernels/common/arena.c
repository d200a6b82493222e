/* A program for a heap in one block of memory: malloc and caches, until nothing is left, and all given back. */
#include "kernel.h"

#define SIZES 6

static const int sizes[SIZES] = {1, 16, 40, 100, 333, 1000};
static struct km_cpu *arena;

struct km_cpu *km_port_processor(void) { return arena; }

static void *block_of(int64_t result)
{
	if (result < 0 && result > -4096)
		fail("a call failed", result);
	return (void *)(uintptr_t)result;
}

/* Blocks of all sizes until one is refused; each names the one before. */
static int exhaust(int64_t *refusal)
{
	void **last = 0;
	int count = 0, lost = 0;
	int64_t at;

	while ((at = km_call_malloc(arena, sizes[count % SIZES] + (int)sizeof(void *))) > 0 || at < -4096) {
		void **block = block_of(at);
		*block = last;
		last = block;
		count++;
	}
	*refusal = at;
	while (last) {
		void **before = *last;
		lost += km_call_free(arena, (int64_t)(uintptr_t)last) != 0;
		last = before;
	}
	if (lost)
		fail("blocks that cannot be freed", lost);
	return count;
}

static int exhaust_cache(int64_t type)
{
	void **last = 0;
	int count = 0;
	int64_t at;

	while ((at = km_call_cache_get(arena, type)) > 0 || at < -4096) {
		void **object = block_of(at);
		*object = last;
		last = object;
		count++;
	}
	while (last) {
		void **before = *last;
		block_of(km_call_cache_put(arena, type, (int64_t)(uintptr_t)last));
		last = before;
	}
	return count;
}

int arena_program(void *memory, int64_t bytes)
{
	arena = block_of(km_call_arena_make((int64_t)(uintptr_t)memory, bytes));
	say("an arena of %d bytes at %x\n", bytes, (int64_t)(uintptr_t)memory);
	int64_t refusal;
	int first = exhaust(&refusal);
	say("malloc: %d blocks, then %v\n", first, refusal);
	int second = exhaust(&refusal);
	say("malloc: %d blocks, then %v\n", second, refusal);
	int64_t type = km_call_cache_create(arena, 24, 50);
	block_of(type);
	int objects = exhaust_cache(type);
	say("cache: %d objects\n", objects);
	char *block = block_of(km_call_malloc(arena, 100));
	say("free inside of a block: %v\n", km_call_free(arena, (int64_t)(uintptr_t)(block + 8)));
	int64_t inside = km_call_free(arena, (int64_t)(uintptr_t)(block + 8)), freed = km_call_free(arena, (int64_t)(uintptr_t)block);
	int64_t again = km_call_free(arena, (int64_t)(uintptr_t)block), checked = km_call_check(arena);
	say("check: %v\n", checked);
	return first < 10 || second != first || objects < 50 || inside != KM_INTERIOR || freed != KM_OK ||
	       again != KM_NOT_ALLOCATED || checked != KM_OK;
}
