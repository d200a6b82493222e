/* A process whose kernel lies in a direct map: a block of memory that it was given. Its status is 0, or says what
 * went wrong. */
#include <stdlib.h>
#include <string.h>
#include "kernmalloc.h"

#ifdef __cplusplus
#define KM_C extern "C"
#else
#define KM_C extern
#endif
#define PAGE 4096
#define MEMORY (48u << 20)

KM_C struct km_cpu *km_processor;

#define MUST(what) do { if (!(what)) return __LINE__ & 255; } while (0)

int main(void)
{
	char *memory = (char *)aligned_alloc(2u << 20, MEMORY);
	struct km_config config = km_usual_config();
	struct km_boot_range ranges[2];
	void *kept[2000];
	int64_t frames;
	size_t bytes, count = 0;

	MUST(memory);
	memset(memory, 0xa5, MEMORY);
	config.mode = KM_GUEST;
	config.arch = KM_FORMAT_NONE;
	config.page_shift = 12;
	config.direct = km_address(memory);
	config.direct_bytes = MEMORY;
	config.range_count = 2;
	MUST(!km_failed(km_area_bytes(&config)));
	config.area_room = km_area_bytes(&config);
	config.area_pa = PAGE;
	bytes = (size_t)config.area_room + PAGE;
	ranges[0].base = 0, ranges[0].count = (int64_t)(bytes / PAGE), ranges[0].kind = KM_CARVED_MEMORY;
	ranges[1].base = (int64_t)(bytes / PAGE), ranges[1].count = (int64_t)((MEMORY - bytes) / PAGE);
	ranges[1].kind = KM_RAM;
	config.ranges = ranges;
	MUST(!km_failed((int64_t)km_init(&config, memory)));
	km_processor = km_start(&config);
	MUST(km_processor);

	km_drain();
	frames = km_processor->kern->free_frames;
	MUST(frames > 1000);
	for (size_t i = 0; i < 2000; i++) {
		kept[i] = km_malloc(i * 7 + 1);
		MUST(kept[i]);
		memset(kept[i], (int)i, i * 7 + 1);
	}
	for (size_t i = 0; i < 2000; i++) {
		for (size_t at = 0; at < i * 7 + 1; at += 13)
			MUST(((unsigned char *)kept[i])[at] == (unsigned char)i);
		MUST(km_free(kept[i]) == KM_OK);
	}
	MUST(km_free(kept[0]) == KM_NOT_ALLOCATED && km_malloc(MEMORY) == NULL);
	while (count < 2000 && (kept[count] = km_calloc(3, 30000)))
		count++;
	MUST(count > 100 && count < 2000);
	while (count > 0)
		MUST(km_free(kept[--count]) == KM_OK);

	uint64_t pa = km_frame_get(KM_PAGE);
	MUST(!km_failed((int64_t)pa) && pa % PAGE == 0 && pa < MEMORY);
	MUST(km_frame_put(pa) == KM_OK && km_frame_put(pa) == KM_NOT_ALLOCATED);
	MUST(km_drain() == KM_OK && km_check() == KM_OK);
	MUST(km_processor->kern->free_frames == frames);
	config.version++;
	MUST(km_area_bytes(&config) == KM_BAD_VERSION);
	return 0;
}
