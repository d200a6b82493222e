/* The works of one thread, for one shape: WORK, ENTRIES, GET, PUT, GET_ALL, PUT_ALL. */
static void WORK(struct shared *s, int number)
{
	struct round *r = s->r;
	ENTRIES;
	const int64_t order = r->order, type = r->type, per = r->per, pairs = r->pairs, half = per / 2 ? per / 2 : 1;
	uint32_t *held = s->held[number];
	int64_t wrong = 0;
	double *ns = s->ns[number], start;
	(void)order, (void)type;

	for (int how = PUT_IN_ORDER; how <= PUT_SHUFFLED; how++) {
		meet(s);
		start = now();
		for (int64_t i = 0; i < per; i++) {
			int64_t pfn = GET();
			held[i] = pfn;
			wrong += pfn < 0;
		}
		double took = (now() - start) / per;
		if (how == PUT_IN_ORDER)
			ns[BULK_GET] = took;
		check_held(s, number, per);
		if (how == PUT_SHUFFLED)
			shuffle(s, number, per);
		start = now();
		if (how == PUT_REVERSED)
			for (int64_t i = per; i-- > 0;)
				wrong += PUT(held[i]) < 0;
		else
			for (int64_t i = 0; i < per; i++)
				wrong += PUT(held[i]) < 0;
		ns[how] = (now() - start) / per;
	}

	meet(s);
	start = now();
	for (int64_t i = 0; i < per; i += MANY) {
		int64_t many = per - i < MANY ? per - i : MANY;
		GET_ALL(held + i, many);
	}
	ns[GET_MANY] = (now() - start) / per;
	check_held(s, number, per);
	start = now();
	for (int64_t i = 0; i < per; i += MANY) {
		int64_t many = per - i < MANY ? per - i : MANY;
		PUT_ALL(held + i, many);
	}
	ns[PUT_MANY] = (now() - start) / per;

	for (int64_t i = 0; i < half; i++) {
		int64_t pfn = GET();
		held[i] = pfn;
		wrong += pfn < 0;
	}
	meet(s);
	start = now();
	for (int64_t i = 0; i < pairs; i++) {
		int64_t pfn = GET();
		wrong += PUT(pfn) < 0;
	}
	ns[PAIR] = (now() - start) / pairs;
	meet(s);
	uint64_t seed = 88172645463325252ull + number * 7919;
	for (int i = 0; i < 1000; i++)
		next_random(&seed);
	start = now();
	for (int64_t i = 0; i < pairs; i++) {
		int64_t k = below(&seed, half);
		wrong += PUT(held[k]) < 0;
		int64_t pfn = GET();
		held[k] = pfn;
		wrong += pfn < 0;
	}
	ns[RANDOM_PAIR] = (now() - start) / pairs;
	check_held(s, number, half);
	for (int64_t i = 0; i < half; i++)
		wrong += PUT(held[i]) < 0;
	__atomic_add_fetch(&s->wrong, wrong, __ATOMIC_RELAXED);
	meet(s);
}
#undef WORK
#undef ENTRIES
#undef GET
#undef PUT
#undef GET_ALL
#undef PUT_ALL
