/* Ranges of memory: sorted, in whole frames, RAM rounded inward and all else outward. */
#include "kernel.h"
#include "machine.h"

#define FRAME 4096

static void insert(struct memory *memory, int at, int64_t base, int64_t end, int kind)
{
	if (base >= end)
		return;
	if (memory->count == RANGES)
		fail("too many ranges of memory", memory->count);
	for (int i = memory->count++; i > at; i--)
		memory->ranges[i] = memory->ranges[i - 1];
	memory->ranges[at] = (struct km_boot_range){.base = base, .count = end - base, .kind = kind};
}

void memory_add(struct memory *memory, uint64_t base, uint64_t bytes, int kind)
{
	uint64_t before = kind == KM_RAM ? FRAME - 1 : 0, after = FRAME - 1 - before;
	int at = 0;

	while (at < memory->count && memory->ranges[at].base < (int64_t)(base / FRAME))
		at++;
	insert(memory, at, (int64_t)((base + before) / FRAME), (int64_t)((base + bytes + after) / FRAME), kind);
}

void memory_carve(struct memory *memory, uint64_t base, uint64_t bytes)
{
	int64_t first = (int64_t)(base / FRAME), end = (int64_t)((base + bytes + FRAME - 1) / FRAME);

	for (int i = 0; i < memory->count; i++) {
		struct km_boot_range *r = &memory->ranges[i], whole = *r;
		int64_t low = first > whole.base ? first : whole.base, last = whole.base + whole.count;
		int64_t high = end < last ? end : last;
		if (whole.kind != KM_RAM || low >= high)
			continue;
		*r = (struct km_boot_range){.base = low, .count = high - low, .kind = KM_CARVED_MEMORY};
		insert(memory, i + 1, high, last, KM_RAM);
		insert(memory, i, whole.base, low, KM_RAM);
		i += 2;
	}
}

/* The boot area is filled right behind the image. Physical addresses can be loaded from. */
struct km_config *boot_prepare(struct memory *memory, uint64_t image, uint64_t bytes, int processors)
{
	static struct km_config config = {
		.version = KM_VERSION, .bytes = sizeof config, .arch = KM_FORMAT,
		.max_pfn = (int64_t)1 << (KM_PHYS_BITS - 12), .window = KM_WINDOW, .window_bytes = KM_WINDOW_BYTES,
		.cpu_windows = 4 << 20, .lenient = 1, .last_frames = 64, .last_ranges = 4, .last_maps = 8,
	};

	config.image_pa = (int64_t)image;
	config.image_bytes = (int64_t)bytes;
	config.cpus = processors;
	config.range_count = memory->count;
	config.area_room = km_call_area_bytes(&config);
	if (config.area_room < 0)
		fail("area_bytes", config.area_room);
	config.area_pa = (int64_t)(image + bytes);
	memory_carve(memory, image, bytes);
	memory_carve(memory, image + bytes, (uint64_t)config.area_room);
	config.ranges = memory->ranges;
	config.range_count = memory->count;
	say("processors %d\n", processors);
	say("image %x %x\n", image, bytes);
	for (int i = 0; i < memory->count; i++)
		say("range %x %x %d\n", memory->ranges[i].base, memory->ranges[i].count, memory->ranges[i].kind);
	int64_t root = km_call_init(&config, 0);
	if (root < 0)
		fail("init", root);
	return &config;
}
