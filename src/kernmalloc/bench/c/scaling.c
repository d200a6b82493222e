/* The peers of bench/scaling.py, for a machine without a system: it links no library, and memory is what follows `room`. */
#define CPUS 64
#include "frames.h"
#include <stddef.h>

static char *room;

void *memset(void *to, int byte, size_t bytes)
{
	void *at = to;
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(byte) : "memory");
	return to;
}

void *memmove(void *to, const void *of, size_t bytes) /* downwards only, which is all that the peers do */
{
	void *at = to;
	__asm__ volatile("rep movsb" : "+D"(at), "+S"(of), "+c"(bytes) : : "memory");
	return to;
}

void *mmap(void *at, size_t bytes, int access, int flags, int file, off_t offset) /* whole pages, which are zeros */
{
	char *p = room;
	room += (bytes + 4095) & -4096;
	return p;
}

int munmap(void *at, size_t bytes) { return 0; }
void *calloc(size_t count, size_t bytes) { return mmap(0, count * bytes, 0, 0, 0, 0); }
void *aligned_alloc(size_t align, size_t bytes) { return mmap(0, bytes, 0, 0, 0, 0); }
void free(void *p) {}
void abort(void) { __builtin_trap(); }

#define LOCKED 1
#define MAGAZINES 0
#define FILE "bitmap.h"
#define LABEL "bitmap"
#define NAME bitmap_kept
#define KEEP 1
#include "peer.h"
#undef FILE
#undef LABEL
#define LOCKED 1
#undef MAGAZINES
#define MAGAZINES 1
#define FILE "buddy.h"
#define LABEL "magazines"
#define NAME magazines_kept
#define KEEP 1
#include "peer.h"
#undef FILE
#undef LABEL
#undef MAGAZINES
#define MAGAZINES 0
#define LOCKED 1
#define FILE "heap_peers.h"
#define LABEL "one lock"
#define NAME listed
#define KEEP 0
#include "peer.h"
#undef LABEL
#undef MAGAZINES
#define MAGAZINES 1
#define LOCKED 1
#define LABEL "magazines"
#define NAME stacked
#define KEEP 0
#include "peer.h"

#define MADE(name)                                                              \
	void *make_##name(char *at, int64_t frames)                             \
	{                                                                       \
		room = at;                                                      \
		return name##_make(frames);                                     \
	}                                                                       \
	void *lock_##name(struct name##_state *s) { return (void *)&s->word; } \
	int64_t get_##name(void *s, int cpu, int what) { return name##_get(s, cpu, BYTES ? what : 0); } \
	int put_##name(void *s, int cpu, int64_t what) { return name##_put(s, cpu, what, 0); }
#define BYTES 0 /* that a thing has: of a frame it is one, of order 0 */
MADE(bitmap_kept)
MADE(magazines_kept)
#undef BYTES
#define BYTES 1
MADE(listed)
MADE(stacked)
