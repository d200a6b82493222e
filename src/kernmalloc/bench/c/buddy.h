/* Textbook binary buddy (Knuth 2.5; Linux's layout): doubly linked free lists through an entry of 16 bytes per frame, eager
 * coalescing. MAGAZINES: stacks of single frames and of blocks of order 9 before it, one for each processor.
 * A template: N(name) names its functions; KEEP: the entry is checked and says who owns the frame; LOCK, UNLOCK guard it. */
#define ORDERS 11
#define NIL 0xffffffffu

struct N(frame) {
	union {
		struct {
			uint32_t next, prev;
		};
		uint64_t owner;
	};
	uint8_t order, type; /* type: of an owned frame; FREE if it is on a list, or inside a block */
	uint8_t listed;
	uint8_t spare[5];
};

#define BATCH 63
#define HIGH 512
#define HIGH9 8
struct N(magazine) {
	uint32_t count, count9, frames[HIGH], frames9[HIGH9];
} __attribute__((aligned(128)));

struct N(state) {
	int64_t frames;
	struct N(frame) * f;
	uint32_t head[ORDERS], filled;
	volatile char word;
	struct N(magazine) magazines[CPUS];
};

static inline void N(push)(struct N(state) * s, uint32_t i, int order)
{
	struct N(frame) *f = &s->f[i];
	f->order = order, f->listed = 1, f->prev = NIL, f->next = s->head[order];
	if (f->next != NIL)
		s->f[f->next].prev = i;
	s->head[order] = i;
	s->filled |= 1u << order;
}

static inline void N(take)(struct N(state) * s, uint32_t i, int order)
{
	struct N(frame) *f = &s->f[i];
	if (f->prev != NIL)
		s->f[f->prev].next = f->next;
	else if ((s->head[order] = f->next) == NIL)
		s->filled &= ~(1u << order);
	if (f->next != NIL)
		s->f[f->next].prev = f->prev;
	f->listed = 0;
}

static inline int64_t N(split)(struct N(state) * s, int order)
{
	uint32_t enough = s->filled >> order;
	if (!enough)
		return -1;
	int have = order + __builtin_ctz(enough);
	uint32_t i = s->head[have];
	N(take)(s, i, have);
	while (have > order) {
		have--;
		N(push)(s, i + (1u << have), have);
	}
	s->f[i].order = order;
	return i;
}

static inline void N(merge)(struct N(state) * s, uint32_t i, int order)
{
	for (; order < ORDERS - 1; order++) {
		uint32_t buddy = i ^ (1u << order);
		if (buddy >= s->frames || !s->f[buddy].listed || s->f[buddy].order != order)
			break;
		N(take)(s, buddy, order);
		i &= buddy;
	}
	N(push)(s, i, order);
}

static void *N(make)(int64_t frames)
{
	struct N(state) *s = aligned_alloc(128, sizeof *s);
	memset(s, 0, sizeof *s);
	s->frames = frames;
	s->f = memory(frames * sizeof *s->f);
	memset(s->head, 0xff, sizeof s->head);
	for (int64_t i = frames; i > 0; i -= 1 << (ORDERS - 1))
		N(push)(s, i - (1 << (ORDERS - 1)), ORDERS - 1);
	return s;
}

static void N(end)(void *state)
{
	struct N(state) *s = state;
	munmap(s->f, s->frames * sizeof *s->f);
	free(s);
}

static int64_t N(bytes)(void *state)
{
	struct N(state) *s = state;
	return s->frames * (KEEP ? 0 : sizeof *s->f) + sizeof *s;
}

static inline int64_t N(owned)(struct N(state) * s, int64_t i, int order)
{
#if KEEP
	if (i >= 0)
		s->f[i].type = PAGE, s->f[i].order = order, s->f[i].owner = 0;
#endif
	return i;
}

static inline int N(refused)(struct N(state) * s, int64_t i, int order)
{
#if KEEP
	if (i < 0 || i >= s->frames || s->f[i].type != PAGE || s->f[i].order != order)
		return 1;
	s->f[i].type = FREE;
#endif
	return 0;
}

#if MAGAZINES
static int64_t N(get)(void *state, int cpu, int order)
{
	struct N(state) *s = state;
	struct N(magazine) *m = &s->magazines[cpu];
	int64_t i;
	if (order == 0) {
		if (__builtin_expect(!m->count, 0)) {
			LOCK(s);
			while (m->count < BATCH && (i = N(split)(s, 0)) >= 0)
				m->frames[m->count++] = i;
			UNLOCK(s);
			if (!m->count)
				return -1;
		}
		return N(owned)(s, m->frames[--m->count], 0);
	}
	if (order == 9 && m->count9)
		return N(owned)(s, m->frames9[--m->count9], 9);
	LOCK(s);
	i = N(split)(s, order);
	UNLOCK(s);
	return N(owned)(s, i, order);
}

static int N(put)(void *state, int cpu, int64_t i, int order)
{
	struct N(state) *s = state;
	struct N(magazine) *m = &s->magazines[cpu];
	if (N(refused)(s, i, order))
		return -1;
	if (order == 0) {
		if (__builtin_expect(m->count == HIGH, 0)) {
			LOCK(s);
			for (int k = 0; k < BATCH; k++)
				N(merge)(s, m->frames[k], 0);
			UNLOCK(s);
			memmove(m->frames, m->frames + BATCH, 4 * (HIGH - BATCH));
			m->count -= BATCH;
		}
		m->frames[m->count++] = i;
		return 0;
	}
	if (order == 9 && m->count9 < HIGH9) {
		m->frames9[m->count9++] = i;
		return 0;
	}
	LOCK(s);
	N(merge)(s, i, order);
	UNLOCK(s);
	return 0;
}
#else
static int64_t N(get)(void *state, int cpu, int order)
{
	struct N(state) *s = state;
	LOCK(s);
	int64_t i = N(owned)(s, N(split)(s, order), order);
	UNLOCK(s);
	return i;
}

static int N(put)(void *state, int cpu, int64_t i, int order)
{
	struct N(state) *s = state;
	LOCK(s);
	int refused = N(refused)(s, i, order);
	if (!refused)
		N(merge)(s, i, order);
	UNLOCK(s);
	return refused ? -1 : 0;
}
#endif
#undef ORDERS
#undef NIL
#undef BATCH
#undef HIGH
#undef HIGH9
