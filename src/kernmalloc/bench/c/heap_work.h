/* The replays, for one way to call a heap: SHAPED, ENTRIES, MALLOC, FREE, NONE, PEAK_BEGINS, PEAK_NOW, PEAK_ENDS; OBJECTS: only
 * whole replays, and traces free what they allocate. */
static __attribute__((noinline)) double SHAPED(replay)(struct heap *h, void **slots)
{
	ENTRIES;
	const struct op *ops = h->ops;
	const int64_t count = h->count;
	double start = now();
	for (int64_t i = 0, end; i < count; ) {
		for (end = i + SLICE < count ? i + SLICE : count; i < end; i++) {
			int32_t slot = ops[i].slot, size = ops[i].size;
			if (size > 0) {
				int64_t *p = MALLOC(size);
				if (__builtin_expect(NONE(p), 0)) {
					h->wrong++;
					return 0;
				}
				*p = i;
				slots[slot] = p;
			} else {
				FREE(slots[slot], size);
				slots[slot] = 0;
			}
		}
		if (i < count && now() - start > h->most) {
			h->late = 1;
			break;
		}
	}
	return now() - start;
}

#ifndef OBJECTS
static void SHAPED(empty)(struct heap *h, void **slots)
{
	ENTRIES;
	for (int64_t i = 0; i < h->slots; i++)
		if (slots[i]) {
			FREE(slots[i], 0);
			slots[i] = 0;
		}
	(void)get;
}

static void SHAPED(latency)(struct heap *h, void **slots)
{
	ENTRIES;
	uint32_t *got = memory(h->count * 4 + 1), *freed = memory(h->count * 4 + 1), clock;
	int64_t gets = 0, puts = 0;
	double ns;
	unsigned x;
	memset(got, 0, h->count * 4), memset(freed, 0, h->count * 4);
	calibrate(&ns, &clock);
	for (int64_t i = 0; i < h->count && !h->wrong && !h->late; i++) {
		int32_t slot = h->ops[i].slot, size = h->ops[i].size;
		if (size > 0) {
			uint64_t a = __rdtscp(&x);
			int64_t *p = MALLOC(size);
			uint64_t b = __rdtscp(&x);
			if (NONE(p)) {
				h->wrong++;
				break;
			}
			*p = i;
			slots[slot] = p;
			got[gets++] = b - a > ~0u ? ~0u : b - a;
		} else {
			void *p = slots[slot];
			uint64_t a = __rdtscp(&x);
			FREE(p, size);
			uint64_t b = __rdtscp(&x);
			slots[slot] = 0;
			freed[puts++] = b - a > ~0u ? ~0u : b - a;
		}
	}
	SHAPED(empty)(h, slots);
	h->got = tail(got, gets, clock, ns), h->freed = tail(freed, puts, clock, ns);
	munmap(got, h->count * 4 + 1), munmap(freed, h->count * 4 + 1);
}

static void SHAPED(time)(struct heap *h, void **slots)
{
	double warm = 0;
	int64_t done = 0, mapped = h->mapped ? *h->mapped : 0, faults = page_faults();
	h->cold = SHAPED(replay)(h, slots) / h->count;
	h->mappings = h->mapped ? *h->mapped - mapped : 0, h->faults = page_faults() - faults;
	SHAPED(empty)(h, slots);
	for (; done < h->replays && (!done || warm < h->most) && !h->wrong && !h->late; done++) {
		warm += SHAPED(replay)(h, slots);
		SHAPED(empty)(h, slots);
	}
	h->warm = done ? warm / h->count / done : 0;
	h->replays = done;
	SHAPED(latency)(h, slots);
}

static void SHAPED(backed)(struct heap *h, void **slots, int32_t *sizes)
{
	ENTRIES;
	int64_t live = 0, written = 0;
	PEAK_BEGINS;
	for (int64_t i = 0; i < h->count && written < WRITTEN; i++) {
		int32_t slot = h->ops[i].slot, size = h->ops[i].size;
		if (size > 0) {
			char *p = MALLOC(size);
			if (NONE(p)) {
				h->wrong++;
				break;
			}
			memset(p, slot | 1, size);
			slots[slot] = p, sizes[slot] = size;
			live += size, written += size;
			h->live = live > h->live ? live : h->live;
			PEAK_NOW;
		} else {
			FREE(slots[slot], size);
			slots[slot] = 0;
			live -= sizes[slot];
		}
	}
	PEAK_ENDS;
	SHAPED(empty)(h, slots);
}
#endif
#undef OBJECTS
#undef SHAPED
#undef ENTRIES
#undef MALLOC
#undef FREE
#undef NONE
#undef PEAK_BEGINS
#undef PEAK_NOW
#undef PEAK_ENDS
