/* From what a loader tells of memory to a memory manager that is started. */
#include "kernel.h"

#define RANGES 64

static struct km_loader_range found[RANGES];
static struct km_boot_range ranges[RANGES];
static int count;
static struct km_loader_map map = {.room = RANGES};

struct km_loader_map *memory_map(int64_t direct, int64_t reach)
{
	map.direct = direct;
	map.reach = reach;
	map.ranges = found;
	return &map;
}

/* What a call answers that must not fail. */
static int64_t had(const char *what, int64_t result)
{
	if (result < 0 && result > -4096)
		fail(what, result);
	return result;
}

static void insert(int at, int64_t first, int64_t end, int kind)
{
	if (first >= end)
		return;
	for (int i = count++; i > at; i--)
		ranges[i] = ranges[i - 1];
	ranges[at] = (struct km_boot_range){.base = first, .count = end - first, .kind = kind};
}

/* Take frames [first, end), which the kernel itself fills, out of the range of RAM that has them. */
static void carve(int64_t first, int64_t end)
{
	int at = 0;

	while (ranges[at].base + ranges[at].count <= first)
		at++;
	struct km_boot_range whole = ranges[at];
	count--;
	for (int i = at; i < count; i++)
		ranges[i] = ranges[i + 1];
	insert(at, end, whole.base + whole.count, KM_RAM);
	insert(at, first, end, KM_CARVED_MEMORY);
	insert(at, whole.base, first, KM_RAM);
}

int64_t memory_frames(int64_t max_pfn)
{
	int64_t frames = 0;

	count = (int)had("ranges_frames", km_call_ranges_frames(&map, ranges, RANGES - 4, 12, max_pfn));
	for (int i = 0; i < count; i++)
		frames += ranges[i].kind == KM_RAM || ranges[i].kind == KM_CARVED_MEMORY ? ranges[i].count : 0;
	return frames;
}

int64_t boot_init(struct km_config *config, int64_t phys)
{
	int64_t image = config->image_pa, end = image + config->image_bytes;

	memory_frames(config->max_pfn);
	carve(image >> 12, end >> 12);
	config->version = KM_VERSION;
	config->bytes = sizeof *config;
	config->range_count = count + 2;  /* the boot area makes two more at most */
	config->area_room = had("area_bytes", km_call_area_bytes(config));
	int64_t frames = config->area_room >> 12, first = km_call_ranges_find(ranges, count, end >> 12, frames, 1 << 8);
	carve(had("ranges_find", first), first + frames);
	config->area_pa = first << 12;
	config->ranges = ranges;
	config->range_count = count;
	say("processors %d\n", config->cpus);
	say("image %x %x\n", image, end - image);
	say("area %x %x\n", config->area_pa, config->area_room);
	for (int i = 0; i < count; i++)
		say("range %x %x %d\n", ranges[i].base, ranges[i].count, ranges[i].kind);
	return had("init", km_call_init(config, phys));
}

struct km_cpu *boot_start(struct km_config *config)
{
	return (struct km_cpu *)(uintptr_t)had("start", km_call_start(config));
}
