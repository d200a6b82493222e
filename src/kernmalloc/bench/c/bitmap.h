/* Three-level bitmap: a bit per frame, per word of those that has one set, and per word of these; a count for each block of
 * 512 frames, and the same two levels over the blocks that are free as a whole. Orders 0 and 9; found by counting trailing
 * zeros from the word used last. A template, as buddy.h. */
struct N(state) {
	int64_t frames, words, groups, tops, blocks, block_words, block_tops;
	uint64_t *bits, *some, *top, *whole, *whole_top;
	uint16_t *count;
	struct entry *entries;
	uint64_t here, here9;
	volatile char word;
};

static int64_t N(bytes)(void *state)
{
	struct N(state) *s = state;
	return 8 * (s->words + s->groups + s->tops + s->block_words + s->block_tops) + 2 * s->blocks + sizeof *s;
}

static void *N(make)(int64_t frames)
{
	struct N(state) *s = calloc(1, sizeof *s);
	s->frames = frames, s->blocks = frames / 512, s->words = frames / 64;
	s->groups = (s->words + 63) / 64, s->tops = (s->groups + 63) / 64;
	s->block_words = (s->blocks + 63) / 64, s->block_tops = (s->block_words + 63) / 64;
	s->bits = memory(N(bytes)(s));
	s->some = s->bits + s->words, s->top = s->some + s->groups, s->whole = s->top + s->tops;
	s->whole_top = s->whole + s->block_words, s->count = (uint16_t *)(s->whole_top + s->block_tops);
	memset(s->bits, 0xff, s->words * 8);
	for (int64_t i = 0; i < s->words; i++)
		s->some[i / 64] |= 1ull << (i % 64);
	for (int64_t i = 0; i < s->groups; i++)
		s->top[i / 64] |= 1ull << (i % 64);
	for (int64_t i = 0; i < s->blocks; i++)
		s->count[i] = 512, s->whole[i / 64] |= 1ull << (i % 64);
	for (int64_t i = 0; i < s->block_words; i++)
		s->whole_top[i / 64] |= 1ull << (i % 64);
#if KEEP
	s->entries = memory(frames * sizeof *s->entries);
	memset(s->entries, 0, frames * sizeof *s->entries);
#endif
	return s;
}

static void N(end)(void *state)
{
	struct N(state) *s = state;
	munmap(s->bits, N(bytes)(s));
	if (s->entries)
		munmap(s->entries, s->frames * sizeof *s->entries);
	free(s);
}

static inline void N(clear)(uint64_t *low, uint64_t *high, uint64_t i) /* a bit, and the one that stands for its word */
{
	if (!(low[i / 64] &= ~(1ull << (i % 64))))
		high[i / 4096] &= ~(1ull << (i / 64 % 64));
}

static inline void N(set)(uint64_t *low, uint64_t *high, uint64_t i)
{
	low[i / 64] |= 1ull << (i % 64);
	high[i / 4096] |= 1ull << (i / 64 % 64);
}

static inline int64_t N(find)(uint64_t *high, int64_t count) /* the first word with a bit, or -1 */
{
	for (int64_t i = 0; i < count; i++)
		if (high[i])
			return i * 64 + __builtin_ctzll(high[i]);
	return -1;
}

static inline int64_t N(single)(struct N(state) * s)
{
	uint64_t w = s->here;
	if (!s->bits[w]) {
		int64_t group = w / 64;
		if (!s->some[group] && (group = N(find)(s->top, s->tops)) < 0)
			return -1;
		s->here = w = group * 64 + __builtin_ctzll(s->some[group]);
	}
	int64_t i = w * 64 + __builtin_ctzll(s->bits[w]);
	if (!(s->bits[w] &= s->bits[w] - 1))
		N(clear)(s->some, s->top, w);
	if (s->count[i / 512]-- == 512)
		N(clear)(s->whole, s->whole_top, i / 512);
	return i;
}

static inline int64_t N(block)(struct N(state) * s)
{
	int64_t word = s->here9;
	if (!s->whole[word] && (word = N(find)(s->whole_top, s->block_tops)) < 0)
		return -1;
	s->here9 = word;
	int64_t i = word * 64 + __builtin_ctzll(s->whole[word]);
	s->count[i] = 0;
	N(clear)(s->whole, s->whole_top, i);
	memset(s->bits + i * 8, 0, 64);
	if (!(s->some[i / 8] &= ~(0xffull << (i % 8 * 8))))
		s->top[i / 512] &= ~(1ull << (i / 8 % 64));
	return i * 512;
}

static int64_t N(get)(void *state, int cpu, int order)
{
	struct N(state) *s = state;
	LOCK(s);
	int64_t i = order ? N(block)(s) : N(single)(s);
#if KEEP
	if (i >= 0)
		own(&s->entries[i], order);
#endif
	UNLOCK(s);
	return i;
}

static inline void N(give)(struct N(state) * s, int64_t i, int order)
{
	uint64_t block = i / 512;
	if (order) {
		memset(s->bits + block * 8, 0xff, 64);
		s->some[block / 8] |= 0xffull << (block % 8 * 8);
		s->top[block / 512] |= 1ull << (block / 8 % 64);
		s->count[block] = 512;
		N(set)(s->whole, s->whole_top, block);
		return;
	}
	if (!s->bits[i / 64])
		N(set)(s->some, s->top, i / 64);
	s->bits[i / 64] |= 1ull << (i % 64);
	if (++s->count[block] == 512)
		N(set)(s->whole, s->whole_top, block);
}

static int N(put)(void *state, int cpu, int64_t i, int order)
{
	struct N(state) *s = state;
	LOCK(s);
#if KEEP
	if (i < 0 || i >= s->frames || disown(&s->entries[i], order)) {
		UNLOCK(s);
		return -1;
	}
#endif
	N(give)(s, i, order);
	UNLOCK(s);
	return 0;
}
