/* A heap for many processors as textbooks have it: classes of sizes, pages of slots of one class, a list of free slots for
 * each class, linked through the slots themselves, and one lock. MAGAZINES: stacks of slots before it, one for each processor
 * and class (Bonwick, 2001, without a depot), filled and emptied by half. A template, as buddy.h. */
#define CLASSES 28
#define HEAP_PAGE 4096
#define ROUNDS 32

struct N(stack) {
	int64_t count;
	void *slots[ROUNDS];
} __attribute__((aligned(64)));

struct N(state) {
	void *free[CLASSES];
	volatile char word;
	uint8_t class_of[1 << 14]; /* by page */
	struct N(stack) stacks[CPUS][CLASSES];
};

static inline int N(class)(int64_t bytes) /* four for each doubling, from 16 bytes on */
{
	uint64_t units = (bytes - 1) >> 4;
	if (units < 4)
		return units;
	int top = 63 - __builtin_clzll(units);
	return (top - 1) * 4 + (units >> (top - 2) & 3);
}

static inline int64_t N(size)(int class)
{
	return class < 4 ? (class + 1) << 4 : (int64_t)(4 + class % 4 + 1) << (class / 4 + 3);
}

static void *N(make)(int64_t unused) { return memory(sizeof(struct N(state))); }

static inline void *N(take)(struct N(state) * s, int class)
{
	if (!s->free[class]) {
		char *page = memory(HEAP_PAGE);
		s->class_of[(page - (char *)s) / HEAP_PAGE] = class;
		for (char *p = page; p + N(size)(class) <= page + HEAP_PAGE; p += N(size)(class))
			*(void **)p = s->free[class], s->free[class] = p;
	}
	void *p = s->free[class];
	s->free[class] = *(void **)p;
	return p;
}

static inline void N(give)(struct N(state) * s, int class, void *p)
{
	*(void **)p = s->free[class], s->free[class] = p;
}

static int64_t N(get)(void *state, int cpu, int bytes)
{
	struct N(state) *s = state;
	int class = N(class)(bytes);
#if MAGAZINES
	struct N(stack) *stack = &s->stacks[cpu][class];
	if (!stack->count) {
		LOCK(s);
		while (stack->count < ROUNDS / 2)
			stack->slots[stack->count++] = N(take)(s, class);
		UNLOCK(s);
	}
	return (int64_t)stack->slots[--stack->count];
#else
	LOCK(s);
	void *p = N(take)(s, class);
	UNLOCK(s);
	return (int64_t)p;
#endif
}

static int N(put)(void *state, int cpu, int64_t p, int unused)
{
	struct N(state) *s = state;
	int class = s->class_of[((char *)p - (char *)s) / HEAP_PAGE];
#if MAGAZINES
	struct N(stack) *stack = &s->stacks[cpu][class];
	if (stack->count == ROUNDS) {
		LOCK(s);
		while (stack->count > ROUNDS / 2)
			N(give)(s, class, stack->slots[--stack->count]);
		UNLOCK(s);
	}
	stack->slots[stack->count++] = (void *)p;
#else
	LOCK(s);
	N(give)(s, class, (void *)p);
	UNLOCK(s);
#endif
	return 0;
}

static void N(end)(void *state) {}
static int64_t N(bytes)(void *state) { return sizeof(struct N(state)); }
#undef CLASSES
#undef HEAP_PAGE
#undef ROUNDS
