/*
 * A program that uses the memory manager in every way, and tells each call and its result, so that `kernmalloc emulate`
 * can do the calls again in a simulation and compare:
 *
 *     cpu 0: malloc(100) = 0xffffffff80e51000
 *     cpu 0: block_get(9, 3) * 115 = 0x5c0e1b2a, then -1     as often as it was given, all results mixed, the refusal
 *     cpu 0: free(each) * 3912 = 0                           of what such a line gave, the last first; how many failed
 */
#include "kernel.h"

#define COUNT(...) (int)(sizeof((int64_t const[]){0, ##__VA_ARGS__}) / sizeof(int64_t) - 1)
#define CALL(name, ...) \
	told(#name, km_call_##name(km_port_processor(), ##__VA_ARGS__), (int64_t const[]){0, ##__VA_ARGS__}, COUNT(__VA_ARGS__))
#define MIB (1 << 20)

static int64_t told(const char *name, int64_t result, const int64_t *arguments, int count)
{
	say("cpu %d: %s(", processor_number(), (intptr_t)name);
	for (int i = 1; i <= count; i++)
		say(i > 1 ? ", %v" : "%v", arguments[i]);
	say(") = %v\n", result);
	return result;
}

static int failed(int64_t result)
{
	return result < 0 && result > -4096;
}

/* The result of a call that must not fail. */
static int64_t had(int64_t result)
{
	if (failed(result))
		fail("a call failed", result);
	return result;
}

/* Blocks of many sizes, written to from end to end, and given back in another order. */
static void heap(int64_t unused)
{
	static const int sizes[] = {1, 16, 100, 556, 3000, 4096, 70000, MIB};
	enum { SIZES = sizeof sizes / sizeof *sizes };
	int64_t blocks[SIZES];
	(void)unused;

	for (int i = 0; i < SIZES; i++) {
		char *block = (char *)(intptr_t)(blocks[i] = had(CALL(malloc, sizes[i])));
		block[0] = block[sizes[i] - 1] = (char)i;
		had(CALL(size_of, blocks[i]));
	}
	for (int i = 0; i < SIZES; i++)
		had(CALL(free, blocks[i * 3 % SIZES]));
	CALL(free, blocks[0]);  /* it is free already */
	int64_t aligned = had(CALL(malloc_aligned, 24, 8192)), zeros = had(CALL(malloc_zeroed, 20000));
	had(CALL(free, aligned));
	had(CALL(free, zeros));
	int64_t type = had(CALL(cache_create, 72, 1000)), object = had(CALL(cache_get, type));
	CALL(cache_put, type, object + 8);  /* it lies inside */
	had(CALL(cache_put, type, object));
}

/* Single frames, blocks and ranges; what a window shows is the frame. */
static void frames(void)
{
	int64_t page = had(CALL(frame_get, KM_PAGE)), block = had(CALL(block_get, 3, KM_PAGE));
	int64_t range = had(CALL(range_get, 5, 2, 0, 1 << 20, 16, KM_DMA));  /* below 4 GiB, not across 64 KiB */
	int64_t high = CALL(range_get, 1, 1, 1 << 20, (int64_t)1 << 28, 0, KM_PAGE);  /* above 4 GiB, if there is RAM */
	int64_t frame = failed(high) ? page : high;

	had(CALL(zero_frame, frame));
	volatile uint64_t *shown = (volatile uint64_t *)(intptr_t)had(CALL(window_open, frame));
	if (shown[0] != 0 || shown[511] != 0)
		fail("the frame is not zero", (int64_t)shown[0]);
	shown[511] = 0x1234567890abcdef;
	had(CALL(window_close, (int64_t)(uintptr_t)shown));
	had(CALL(copy_frame, block, frame));
	shown = (volatile uint64_t *)(intptr_t)had(CALL(window_open, block));
	if (shown[511] != 0x1234567890abcdef)
		fail("the frame is another", (int64_t)shown[511]);
	had(CALL(window_close, (int64_t)(uintptr_t)shown));
	CALL(frame_put, block + 1);  /* it lies inside a block */
	if (!failed(high))
		had(CALL(frame_put, high));
	had(CALL(range_put, range, 5));
	had(CALL(frame_put, block));
	had(CALL(frame_put, page));
	CALL(frame_type, page);
}

/* A device of this machine becomes a region, and one of its frames is held for a while. */
static void device(void)
{
	struct device found;

	if (!find_device(&found)) {
		say("no device has memory\n");
		return;
	}
	int64_t base = (int64_t)(found.base >> 12), count = (int64_t)(found.bytes >> 12);
	say("device %s %x-%x\n", (intptr_t)found.name, (int64_t)found.base, (int64_t)(found.base + found.bytes - 1));
	had(CALL(publish, base, count, KM_DEVICE_MEMORY, count < 4096 ? count : 4096, KM_ANYONE));
	had(CALL(device_get, base + count - 1));
	CALL(device_attribute, base);
	CALL(withdraw, base);  /* it is in use */
	had(CALL(device_put, base + count - 1));
	had(CALL(withdraw, base));
	had(CALL(publish, base, count, KM_DEVICE_MEMORY, 0, KM_ANYONE));  /* by its extent alone, for good */
}

/* All that malloc gives. Each block names the one before. */
static void exhaust_heap(int64_t bytes)
{
	int64_t last = 0, mixed = 0, count = 0, lost = 0, at;

	while (!failed(at = km_call_malloc(km_port_processor(), bytes))) {
		*(int64_t *)(intptr_t)at = last;
		mixed = (int64_t)((uint64_t)mixed * 31 + (uint64_t)at);
		last = at;
		count++;
	}
	say("cpu %d: malloc(%d) * %d = %x, then %v\n", processor_number(), bytes, count, mixed, at);
	while (last) {
		int64_t before = *(int64_t *)(intptr_t)last;
		lost += km_call_free(km_port_processor(), last) != 0;
		last = before;
	}
	say("cpu %d: free(each) * %d = %d\n", processor_number(), count, lost);
	had(CALL(drain));
}

/* All frames, by blocks of 2 MiB and then one by one. */
static void exhaust_frames(void)
{
	int64_t most = 0, count = 0, mixed = 0, lost = 0, pfn = 0, each = 0;

	for (struct km_region *r = km_port_processor()->kern->ram; r; r = r->next)
		most += (r->count >> 9) + 1024;
	int64_t *kept = (int64_t *)(intptr_t)had(CALL(malloc, most * 8));
	while (!failed(pfn = km_call_block_get(km_port_processor(), 9, KM_PAGE))) {
		mixed = (int64_t)((uint64_t)mixed * 31 + (uint64_t)pfn);
		kept[count++] = pfn;
	}
	say("cpu %d: block_get(9, %d) * %d = %x, then %v\n", processor_number(), KM_PAGE, count, mixed, pfn);
	for (mixed = 0; count + each < most; each++) {
		if (failed(pfn = km_call_frame_get(km_port_processor(), KM_PAGE)))
			break;
		mixed = (int64_t)((uint64_t)mixed * 31 + (uint64_t)pfn);
		kept[count + each] = pfn;
	}
	say("cpu %d: frame_get(%d) * %d = %x, then %v\n", processor_number(), KM_PAGE, each, mixed, pfn);
	CALL(malloc, 40 * MIB);
	for (int64_t i = each; i--;)
		lost += km_call_frame_put(km_port_processor(), kept[count + i]) != 0;
	say("cpu %d: frame_put(each) * %d = %d\n", processor_number(), each, lost);
	for (int64_t i = count; i--;)
		lost += km_call_frame_put(km_port_processor(), kept[i]) != 0;
	say("cpu %d: frame_put(each) * %d = %d\n", processor_number(), count, lost);
	had(CALL(free, (int64_t)(uintptr_t)kept));
}

static void arrive(int64_t unused) { (void)unused; }

/* Whoever looks at the machine from outside may do it here: it waits for a character, if that was the wish. */
static void hold(int wish)
{
	int64_t blocks[8];

	for (int i = 0; i < 8; i++)
		blocks[i] = had(CALL(malloc, 48));
	for (int i = 0; i < 8; i++)
		had(CALL(free, blocks[i]));  /* these are in the magazine, half full */
	if (wish == HOLD) {
		for (int i = processor_count(); --i;)
			on_processor(i, arrive, 0);
		say("held\n");
		while (console_get() < 0)
			processor_pause();
	}
}

#define ROUNDS 600

static void *passed[PROCESSORS][64];

static void free_passed(void *block)
{
	if (block == 0)
		return;
	if (*(void *volatile *)block != block)
		fail("a block is another for the processor that it was passed to", (int64_t)(uintptr_t)block);
	int64_t status = km_call_free(km_port_processor(), (int64_t)(uintptr_t)block);
	if (status != 0)
		fail("a block that another processor passed on cannot be freed", status);
}

/*
 * Each processor allocates for the next one, and frees what the one before has allocated. Pages come and go meanwhile: who
 * remembers one that has gone finds another block there.
 */
static void exchange(int64_t long_)
{
	int own = processor_number(), next = (own + 1) % processor_count();
	uint64_t random = (uint64_t)own + 1;
	static int over;

	for (int round = 0; long_ ? !__atomic_load_n(&over, __ATOMIC_RELAXED) : round < ROUNDS; round++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		int64_t at = km_call_malloc(km_port_processor(), (random >> 33 & 63 ? random >> 50 & 511 : random >> 46) + 1);
		void *block = failed(at) ? 0 : (void *)(intptr_t)at;
		if (block)
			*(void *volatile *)block = block;
		free_passed(__atomic_exchange_n(&passed[next][random >> 58], block, __ATOMIC_ACQ_REL));
		free_passed(__atomic_exchange_n(&passed[own][random >> 40 & 63], (void *)0, __ATOMIC_ACQ_REL));
		if ((random >> 20 & 31) == 0)
			had(km_call_drain(km_port_processor()));
		if (long_ && own == 0 && console_get() >= 0)
			__atomic_store_n(&over, 1, __ATOMIC_RELAXED);
	}
}

static void free_all_passed(int64_t unused)
{
	(void)unused;
	for (int i = 0; i < 64; i++) {
		free_passed(passed[processor_number()][i]);
		passed[processor_number()][i] = 0;
	}
}

static void drain(int64_t unused)
{
	(void)unused;
	had(CALL(drain));
}

/* One processor has all frames back that others keep idle, and those behind the heap's idle pages. */
static void bring_back(void)
{
	int64_t before = -1, now;

	while ((now = km_call_collect(km_port_processor(), (int64_t)1 << 40)) > before)
		before = now;
	had(CALL(drain));
}

static void on_all(void (*work)(int64_t))
{
	for (int i = processor_count(); i--;)
		on_processor(i, work, 0);
}

void program(int wish)
{
	int others = processor_count() - 1;

	heap(0);
	frames();
	device();
	hold(wish);
	for (int i = 1; i <= others; i++)
		on_processor(i, heap, 0);
	on_all(drain);
	exhaust_heap(65536);
	exhaust_frames();
	if (others) {
		say("all processors free what others allocate\n");
		for (int i = 1; i <= others; i++)
			post(i, exchange, wish == LONG);
		exchange(wish == LONG);
		for (int i = 1; i <= others; i++)
			wait(i);
		on_all(free_all_passed);
	}
	bring_back();
}
