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

/* The boot area is prepared right behind the image: the first processor's record. Physical addresses can be loaded from. */
struct km_cpu *boot_prepare(struct memory *memory, uint64_t image, uint64_t bytes, int processors)
{
	struct km_boot_info info = {
		.arch = KM_FORMAT, .page_shift = 12, .max_pfn = (int64_t)1 << (KM_PHYS_BITS - 12),
		.window = KM_WINDOW, .target = KM_WINDOW, .window_bytes = KM_WINDOW_BYTES, .cpu_windows = 4 << 20,
		.image_pa = (int64_t)image, .image_bytes = (int64_t)bytes, .info_bytes = 4096, .cpus = processors,
		.stride = 16, .identity = 16, .growth = 16, .idle_most = 16, .lenient = 1,
		.last_frames = 64, .last_ranges = 4, .last_maps = 8,
		.ranges = sizeof info, .objects = 4096,
	}, *at = (struct km_boot_info *)(uintptr_t)(image + bytes);

	if (km_call_layout(&info) != KM_OK)
		fail("layout", 1);
	memory_carve(memory, image, bytes);
	memory_carve(memory, image + bytes, (uint64_t)info.area_bytes);
	info.area_pa = (int64_t)(image + bytes);
	info.range_count = memory->count;
	*at = info;
	for (int i = 0; i < memory->count; i++)
		((struct km_boot_range *)(at + 1))[i] = memory->ranges[i];
	say("processors %d\n", processors);
	say("image %x %x\n", image, bytes);
	for (int i = 0; i < memory->count; i++)
		say("range %x %x %d\n", memory->ranges[i].base, memory->ranges[i].count, memory->ranges[i].kind);
	if (km_call_layout(at) != KM_OK)
		fail("layout", 2);
	return (struct km_cpu *)(intptr_t)km_call_prepare(0, at);
}
