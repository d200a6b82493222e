/* Heaps: any pair of malloc and free replays a trace, called through C pointers.
 *
 * The replay (heap_work.h) is the same source for the three ways to call one: malloc(bytes); this project's
 * km_call_malloc(cpu, bytes); and its km_call_cache_get(cpu, cache), for which a trace says the number of a cache in place
 * of a size,
 * and its negative to free. The first 8 bytes of each block are written; where the footprint is taken, all of it.
 * As a program it measures one of the peers in a process of its own, which has no second thread: glibc is at its fastest.
 *     heap time|backed LIBRARY TRACE REPLAYS MOST
 * LIBRARY: a shared object, - for the C library, 0 for what does nothing. MOST: ns that a replay may take.
 * As a library it measures whatever `struct heap` points to. */
#include "heap.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char block[1 << 20] __attribute__((aligned(64)));
void *nothing_malloc(size_t bytes) { return block; }
void nothing_free(void *p) {}
int64_t nothing_call_malloc(int64_t cpu, int64_t bytes) { return (int64_t)block; }
int64_t nothing_call_free(int64_t cpu, int64_t va) { return 0; }
int64_t nothing_call_free_sized(int64_t cpu, int64_t va, int64_t bytes) { return 0; }
int64_t nothing_call_cache_get(int64_t cpu, int64_t cache) { return (int64_t)block; }
int64_t nothing_call_cache_put_bulk(int64_t cpu, int64_t cache, int64_t count, int64_t *vas) { return 0; }
int64_t nothing_call_cache_get_bulk(int64_t cpu, int64_t cache, int64_t count, int64_t *vas)
{
	for (int64_t i = 0; i < count; i++)
		vas[i] = (int64_t)block;
	return count;
}
int64_t nothing_call_cache_put(int64_t cpu, int64_t cache, int64_t va) { return 0; }

static long status(const char *key) /* bytes, of /proc/self/status */
{
	char text[8192], *at;
	int fd = open("/proc/self/status", O_RDONLY);
	long n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	at = strstr(text, key);
	return at ? atol(at + strlen(key)) * 1024 : -1;
}

static int64_t page_faults(void)
{
	struct rusage r;
	getrusage(RUSAGE_THREAD, &r);
	return r.ru_minflt + r.ru_majflt;
}

static double touched(char *place, int64_t pages, int64_t page) /* ns for a page */
{
	double start = now();
	for (int64_t at = 0; at < pages * page; at += page)
		place[at] = 1;
	return (now() - start) / pages;
}

/* ns of this computer: for mapping `step` pages of a fresh memfd, for touching one of them first, and for touching a page
 * that is nobody's, as the peers' are */
void heap_host(int64_t step, double took[3])
{
	const int64_t page = 4096, steps = 256;
	int fd = memfd_create("bench", 0);
	char *place = mmap(0, steps * step * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fd < 0 || place == MAP_FAILED || ftruncate(fd, steps * step * page))
		abort();
	char *nobodys = memory(steps * step * page);
	took[2] = touched(nobodys, steps * step, page);
	munmap(nobodys, steps * step * page);
	double start = now();
	for (int64_t at = 0; at < steps * step * page; at += step * page)
		if (mmap(place + at, step * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, at) == MAP_FAILED)
			abort();
	took[0] = (now() - start) / steps;
	took[1] = touched(place, steps * step, page);
	munmap(place, steps * step * page);
	close(fd);
}

/* ns of clearing `bytes` bytes, by zero(to, bytes) or, if that is 0, by memset: the mean of so many calls on one place */
double heap_clear(int64_t (*zero)(int64_t, int64_t), int64_t bytes, int64_t calls)
{
	char *place = memory(bytes);
	void *(*volatile clear)(void *, int, size_t) = memset;
	double start = now(), ns;
	for (int64_t i = 0; i < calls; i++)
		if (zero)
			zero((int64_t)place, bytes);
		else
			clear(place, 0, bytes);
	ns = (now() - start) / calls;
	munmap(place, bytes);
	return ns;
}

static int64_t backed(const struct heap *h)
{
	return (*h->backed[0] + *h->backed[1] + *h->backed[2]) * h->page;
}

static void forget_peak(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY);
	if (fd < 0 || write(fd, "5", 1) != 1)
		abort();
	close(fd);
}

#define LONG (1 << 20) /* ticks: of calls that take longer only the longest is told apart */

static struct tail tail(const uint32_t *ticks, int64_t count, uint32_t clock, double ns)
{
	static uint32_t calls[LONG];
	double at[2] = { 0.5, 0.999 }, found[2] = { 0 };
	uint32_t worst = 0;
	memset(calls, 0, sizeof calls);
	for (int64_t i = 0; i < count; i++) {
		calls[ticks[i] < LONG ? ticks[i] : LONG - 1]++;
		worst = ticks[i] > worst ? ticks[i] : worst;
	}
	for (int which = 0; which < 2; which++) {
		int64_t below = 0, wanted = at[which] * (count - 1);
		for (uint32_t t = 0; t < LONG && count; t++)
			if ((below += calls[t]) > wanted) {
				found[which] = t > clock ? (t - clock) * ns : 0;
				break;
			}
	}
	return (struct tail){ found[0], found[1], worst > clock ? (worst - clock) * ns : 0 };
}

static void calibrate(double *ns, uint32_t *clock) /* of a tick; what reading the counter twice takes, at least */
{
	static double kept;
	unsigned x;
	if (!kept) {
		struct timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		uint64_t first = __rdtsc();
		usleep(5000);
		clock_gettime(CLOCK_MONOTONIC, &b);
		kept = ((b.tv_sec - a.tv_sec) * 1e9 + b.tv_nsec - a.tv_nsec) / (__rdtsc() - first);
	}
	*ns = kept, *clock = ~0u;
	for (int i = 0; i < 100000; i++) {
		uint64_t a = __rdtscp(&x), b = __rdtscp(&x);
		if (b - a < *clock)
			*clock = b - a;
	}
}

#define SLICE 4096              /* operations of a replay between two looks at the clock */
#define WRITTEN (16ll << 30)    /* bytes: where the footprint is taken, a trace ends after so many */
#define SHAPED(name) name##_peer
#define ENTRIES void *(*get)(size_t) = h->malloc; void (*put)(void *) = h->free
#define MALLOC(bytes) get(bytes)
#define FREE(p, size) put(p)
#define NONE(p) !(p)
#define PEAK_BEGINS forget_peak(); int64_t start = status("VmRSS:")
#define PEAK_NOW (void)0
#define PEAK_ENDS h->peak = status("VmHWM:") - start
#include "heap_work.h"
#define SHAPED(name) name##_ours
#define ENTRIES int64_t (*get)(int64_t, int64_t) = h->malloc, (*put)(int64_t, int64_t) = h->free; const int64_t cpu = h->context
#define MALLOC(bytes) (void *)get(cpu, bytes)
#define FREE(p, size) h->wrong += put(cpu, (int64_t)(p)) < 0
#define NONE(p) ((int64_t)(p) < 0)
#define PEAK_BEGINS int64_t start = backed(h), most = start
#define PEAK_NOW most = backed(h) > most ? backed(h) : most
#define PEAK_ENDS h->peak = most - start
#include "heap_work.h"
#define OBJECTS
#define SHAPED(name) name##_objects
#define ENTRIES int64_t (*get)(int64_t, int64_t) = h->malloc, (*put)(int64_t, int64_t, int64_t) = h->free; const int64_t cpu = h->context
#define MALLOC(cache) (void *)get(cpu, cache)
#define FREE(p, cache) h->wrong += put(cpu, -(cache), (int64_t)(p)) < 0
#define NONE(p) ((int64_t)(p) < 0)
#include "heap_work.h"

void heap_objects(struct heap *h)
{
	void **slots = memory((h->slots + 1) * sizeof *slots);
	memset(slots, 0, (h->slots + 1) * sizeof *slots);
	h->cold = replay_objects(h, slots) / h->count;
	for (int64_t i = -1; i < h->replays && !h->wrong && !h->late; i++) {
		double ns = replay_objects(h, slots);
		h->warm += i < 0 ? 0 : ns / h->count / h->replays;
	}
	munmap(slots, (h->slots + 1) * sizeof *slots);
}

/* `bulk` objects of a cache are got, then all put, the one got first first; ns per call, the second of two times */
void heap_bulk(struct heap *h, int64_t cache, int64_t bulk)
{
	int64_t (*get)(int64_t, int64_t) = h->malloc, (*put)(int64_t, int64_t, int64_t) = h->free;
	const int64_t cpu = h->context, rounds = h->count / (2 * bulk);
	int64_t held[64];
	for (int pass = 0; pass < 2; pass++) {
		double start = now();
		for (int64_t round = 0; round < rounds; round++) {
			for (int64_t i = 0; i < bulk; i++)
				h->wrong += (held[i] = get(cpu, cache)) < 0;
			for (int64_t i = 0; i < bulk; i++)
				h->wrong += put(cpu, cache, held[i]) < 0;
		}
		h->warm = (now() - start) / (rounds * 2 * bulk);
	}
}

/* as heap_bulk, by a call that gets all of them, and one that puts them; ns per object of one of the two */
void heap_at_once(struct heap *h, int64_t cache, int64_t bulk)
{
	int64_t (*get)(int64_t, int64_t, int64_t, int64_t *) = h->malloc, (*put)(int64_t, int64_t, int64_t, int64_t *) = h->free;
	const int64_t cpu = h->context, rounds = h->count / (2 * bulk);
	int64_t held[64];
	for (int pass = 0; pass < 2; pass++) {
		double start = now();
		for (int64_t round = 0; round < rounds; round++) {
			h->wrong += get(cpu, cache, bulk, held) != bulk;
			h->wrong += put(cpu, cache, bulk, held) < 0;
		}
		h->warm = (now() - start) / (rounds * 2 * bulk);
	}
}

#define FREED 64
#define EACH(call) for (int i = 0; i < FREED; i++) h->wrong += (call) < 0

/* `rounds` times FREED blocks of four kinds, in turn, are got and then freed, the one got first first; ns of freeing one: the
 * median of the rounds. `how`: 0 free(block); 1 free_sized(block, kind): bytes; 2 cache_put(kind, block): a cache */
void heap_frees(struct heap *h, int how, const int64_t kinds[4], int64_t rounds)
{
	int64_t (*get)(int64_t, int64_t) = h->malloc, (*put)(int64_t, int64_t) = h->free;
	int64_t (*told)(int64_t, int64_t, int64_t) = h->free, held[FREED];
	const int64_t cpu = h->context;
	uint32_t *ticks = memory(rounds * sizeof *ticks), clock;
	double ns;
	unsigned x;
	calibrate(&ns, &clock);
	for (int64_t round = 0; round < rounds; round++) {
		for (int i = 0; i < FREED; i++)
			h->wrong += (held[i] = get(cpu, kinds[i & 3])) < 0;
		uint64_t start = __rdtscp(&x);
		if (how == 0)
			EACH(put(cpu, held[i]));
		else if (how == 1)
			EACH(told(cpu, held[i], kinds[i & 3]));
		else
			EACH(told(cpu, kinds[i & 3], held[i]));
		uint64_t took = __rdtscp(&x) - start;
		ticks[round] = took > ~0u ? ~0u : took;
	}
	h->warm = tail(ticks, rounds, clock, ns).median / FREED;
	munmap(ticks, rounds * sizeof *ticks);
}

void heap_time(struct heap *h)
{
	void **slots = memory((h->slots + 1) * sizeof *slots);
	memset(slots, 0, (h->slots + 1) * sizeof *slots);
	(h->shape ? time_ours : time_peer)(h, slots);
	munmap(slots, (h->slots + 1) * sizeof *slots);
}

void heap_backed(struct heap *h)
{
	void **slots = memory((h->slots + 1) * (sizeof *slots + sizeof(int32_t)));
	memset(slots, 0, (h->slots + 1) * (sizeof *slots + sizeof(int32_t)));
	(h->shape ? backed_ours : backed_peer)(h, slots, (int32_t *)(slots + h->slots + 1));
	munmap(slots, (h->slots + 1) * (sizeof *slots + sizeof(int32_t)));
}

int main(int argc, char **argv)
{
	struct heap h = { 0 };
	struct stat about;
	int fd = argc == 6 ? open(argv[3], O_RDONLY) : -1;
	if (fd < 0 || fstat(fd, &about))
		return 2;
	h.replays = atol(argv[4]), h.most = atof(argv[5]);
	struct op *ops = memory(about.st_size + 1);
	if (read(fd, ops, about.st_size) != about.st_size)
		return 2;
	h.ops = ops, h.count = about.st_size / sizeof *ops;
	for (int64_t i = 0; i < h.count; i++)
		h.slots = h.ops[i].slot >= h.slots ? h.ops[i].slot + 1 : h.slots;
	if (!strcmp(argv[2], "-"))
		h.malloc = malloc, h.free = free;
	else if (!strcmp(argv[2], "0"))
		h.malloc = nothing_malloc, h.free = nothing_free;
	else {
		void *library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
		h.malloc = library ? dlsym(library, "malloc") : 0, h.free = library ? dlsym(library, "free") : 0;
		if (!h.malloc || !h.free) {
			fprintf(stderr, "%s\n", dlerror());
			return 2;
		}
	}
	(strcmp(argv[1], "time") ? heap_backed : heap_time)(&h);
	printf("%.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %ld %ld %ld %ld %ld\n", h.cold, h.warm, h.got.median, h.got.p999,
	       h.got.worst, h.freed.median, h.freed.p999, h.freed.worst, h.live, h.peak, h.faults, h.wrong,
	       h.late);
	return 0;
}
