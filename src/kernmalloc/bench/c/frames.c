/* Frames: the peers, and the works that every allocator of frames is timed on.
 *
 * A shape is a way to call an allocator: that of the peers, and those of this project's entries for one frame and for a
 * block. The works (frames_work.h) are the same source for each shape, and each has an allocator that does nothing.
 * A round does all works once, on `per` blocks for each thread, and checks every block that it got: within the machine,
 * aligned, and nobody else's. */
#include "frames.h"
#include <pthread.h>
#include <stdio.h>

#define MAGAZINES 0
#define FILE "buddy.h"
#define LABEL "buddy"
#define NAME buddy
#define KEEP 0
#define LOCKED 0
#include "peer.h"
#define NAME buddy_kept
#define KEEP 1
#define LOCKED 0
#include "peer.h"
#define NAME buddy_locked
#define KEEP 0
#define LOCKED 1
#include "peer.h"
#define NAME buddy_kept_locked
#define KEEP 1
#define LOCKED 1
#include "peer.h"
#undef MAGAZINES
#define MAGAZINES 1
#undef LABEL
#define LABEL "magazines"
#define NAME magazines
#define KEEP 0
#define LOCKED 1
#include "peer.h"
#define NAME magazines_kept
#define KEEP 1
#define LOCKED 1
#include "peer.h"
#undef FILE
#undef LABEL
#define FILE "bitmap.h"
#define LABEL "bitmap"
#define NAME bitmap
#define KEEP 0
#define LOCKED 0
#include "peer.h"
#define NAME bitmap_kept
#define KEEP 1
#define LOCKED 0
#include "peer.h"
#define NAME bitmap_locked
#define KEEP 0
#define LOCKED 1
#include "peer.h"
#define NAME bitmap_kept_locked
#define KEEP 1
#define LOCKED 1
#include "peer.h"

/* the allocators that do nothing: they count, each processor for itself, so that what they return differs */
static struct {
	int64_t next, spare[15];
} counters[8];
static int64_t mask;

static inline int64_t count(int64_t cpu, int64_t order)
{
	int64_t i = counters[cpu].next;
	counters[cpu].next = (i + (1 << order)) & mask;
	return i;
}

static void *nothing_make(int64_t frames)
{
	mask = frames - 1;
	return counters;
}
static void nothing_end(void *state) {}
static int64_t nothing_bytes(void *state) { return 0; }
static int64_t nothing_get(void *state, int cpu, int order) { return count(cpu, order); }
static int nothing_put(void *state, int cpu, int64_t i, int order) { return 0; }
/* in this project's shapes: the processor is its number */
int64_t nothing_frame_get(int64_t cpu, int64_t type) { return count(cpu, 0); }
int64_t nothing_block_get(int64_t cpu, int64_t order, int64_t type) { return count(cpu, order); }
int64_t nothing_frame_put(int64_t cpu, int64_t pfn) { return 0; }
int64_t nothing_frames_put(int64_t cpu, int64_t many, int64_t *pfns) { return 0; }
int64_t nothing_frames_get(int64_t cpu, int64_t many, int64_t *pfns)
{
	for (int64_t i = 0; i < many; i++)
		pfns[i] = count(cpu, 0);
	return many;
}
static const struct peer nothing_peer = { "nothing", 0, 1, nothing_make, nothing_end, nothing_bytes, nothing_get, nothing_put };

static const struct peer *const PEERS[] = {
	&nothing_peer, &bitmap_peer, &bitmap_kept_peer, &bitmap_locked_peer, &bitmap_kept_locked_peer,
	&buddy_peer, &buddy_kept_peer, &buddy_locked_peer, &buddy_kept_locked_peer, &magazines_peer, &magazines_kept_peer,
};

const struct peer *peer(int index)
{
	return index < (int)(sizeof PEERS / sizeof *PEERS) ? PEERS[index] : 0;
}

/* the works */
#define THREADS 2
#define MANY 64
enum { BULK_GET, PUT_IN_ORDER, PUT_REVERSED, PUT_SHUFFLED, PAIR, RANDOM_PAIR, GET_MANY, PUT_MANY, WORKS };

struct round {
	int shape; /* 0: a peer; 1: this project, one frame; 2: this project, blocks */
	void *get, *put, *get_many, *put_many; /* the last two: shape 1 only */
	int64_t context[THREADS]; /* first argument: a peer's state, or a processor's record */
	int64_t type, order, threads;
	int64_t per;   /* blocks for each thread */
	int64_t pairs; /* how often each pair is done */
	int64_t top;   /* first pfn that there is not */
	int64_t checked; /* 0: an allocator that does nothing */
	double ns[WORKS]; /* per call; of a pair, both; the mean of the threads */
	int64_t wrong;    /* blocks that were somebody's, not aligned, or not there; calls refused */
};

struct shared {
	struct round *r;
	pthread_barrier_t barrier;
	uint32_t *held[THREADS];
	uint8_t *owned; /* a bit for each block */
	double ns[THREADS][WORKS];
	int64_t wrong;
	int cpus[THREADS];
};

struct worker {
	struct shared *s;
	int number;
};

static void claim(struct shared *s, uint32_t *held, int64_t count)
{
	struct round *r = s->r;
	if (!r->checked)
		return;
	for (int64_t i = 0; i < count; i++) {
		int64_t pfn = held[i], block = pfn >> r->order;
		if (pfn >= r->top || pfn != block << r->order ||
		    __atomic_fetch_or(&s->owned[block / 8], 1 << (block % 8), __ATOMIC_RELAXED) >> (block % 8) & 1)
			__atomic_add_fetch(&s->wrong, 1, __ATOMIC_RELAXED);
	}
}

static void meet(struct shared *s)
{
	pthread_barrier_wait(&s->barrier);
}

/* every block is whose it should be: they are claimed by all threads, then nobody's again */
static void check_held(struct shared *s, int number, int64_t count)
{
	meet(s);
	claim(s, s->held[number], count);
	meet(s);
	if (number == 0 && s->r->checked)
		memset(s->owned, 0, (s->r->top >> s->r->order) / 8 + 1);
	meet(s);
}

static void shuffle(struct shared *s, int number, int64_t count) /* across threads: each frees what others got, too */
{
	meet(s);
	if (number == 0) {
		uint64_t seed = 88172645463325252ull;
		int64_t threads = s->r->threads, all = count * threads;
		for (int64_t i = all - 1; i > 0; i--) {
			int64_t j = next_random(&seed) % (i + 1);
			uint32_t *a = &s->held[i / count][i % count], *b = &s->held[j / count][j % count], kept = *a;
			*a = *b, *b = kept;
		}
	}
	meet(s);
}

#define EACH(many) for (int64_t k = 0; k < (many); k++)
#define GET_EACH(to, many) EACH(many) { int64_t pfn = GET(); (to)[k] = pfn; wrong += pfn < 0; }
#define PUT_EACH(of, many) EACH(many) wrong += PUT((of)[k]) < 0

#define WORK work_peer
#define ENTRIES int64_t (*get)(void *, int, int) = r->get; int (*put)(void *, int, int64_t, int) = r->put; void *context = (void *)r->context[number]
#define GET() get(context, number, order)
#define PUT(pfn) put(context, number, pfn, order)
#define GET_ALL GET_EACH
#define PUT_ALL PUT_EACH
#include "frames_work.h"
#define WORK work_frame
#define ENTRIES int64_t (*get)(int64_t, int64_t) = r->get, (*put)(int64_t, int64_t) = r->put; int64_t context = r->context[number]; \
	int64_t (*get_many)(int64_t, int64_t, int64_t *) = r->get_many, (*put_many)(int64_t, int64_t, int64_t *) = r->put_many, pfns[MANY]
#define GET() get(context, type)
#define PUT(pfn) put(context, pfn)
#define GET_ALL(to, many) wrong += get_many(context, many, pfns) < 0; EACH(many) (to)[k] = pfns[k]
#define PUT_ALL(of, many) EACH(many) pfns[k] = (of)[k]; wrong += put_many(context, many, pfns) < 0
#include "frames_work.h"
#define WORK work_block
#define ENTRIES int64_t (*get)(int64_t, int64_t, int64_t) = r->get, (*put)(int64_t, int64_t) = r->put; int64_t context = r->context[number]
#define GET() get(context, order, type)
#define PUT(pfn) put(context, pfn)
#define GET_ALL GET_EACH
#define PUT_ALL PUT_EACH
#include "frames_work.h"

static void *work(void *argument)
{
	struct worker *w = argument;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(w->s->cpus[w->number], &set);
	sched_setaffinity(0, sizeof set, &set);
	(w->s->r->shape == 0 ? work_peer : w->s->r->shape == 1 ? work_frame : work_block)(w->s, w->number);
	return 0;
}

/* One round; `held` has room for per * threads numbers. */
int run_round(struct round *r, uint32_t *held)
{
	struct shared s = { .r = r };
	struct worker w[THREADS];
	pthread_t t[THREADS];
	cpu_set_t set;
	sched_getaffinity(0, sizeof set, &set);
	for (int i = 0, cpu = -1; i < r->threads; i++) {
		do
			cpu = (cpu + 1) % CPU_SETSIZE;
		while (!CPU_ISSET(cpu, &set));
		s.cpus[i] = cpu;
		s.held[i] = held + i * r->per;
	}
	size_t map = (r->top >> r->order) / 8 + 1;
	s.owned = memory(map);
	pthread_barrier_init(&s.barrier, 0, r->threads);
	for (int i = 0; i < r->threads; i++) {
		w[i] = (struct worker){ &s, i };
		if (pthread_create(&t[i], 0, work, &w[i]))
			abort();
	}
	for (int i = 0; i < r->threads; i++)
		pthread_join(t[i], 0);
	pthread_barrier_destroy(&s.barrier);
	munmap(s.owned, map);
	for (int k = 0; k < WORKS; k++) {
		r->ns[k] = 0;
		for (int i = 0; i < r->threads; i++)
			r->ns[k] += s.ns[i][k] / r->threads;
	}
	r->wrong = s.wrong;
	return 0;
}
