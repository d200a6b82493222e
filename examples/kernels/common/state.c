/* The memory manager's state, for the console: regions, frames by type, the heap, and what `check` says. */
#include "kernel.h"

static void tell_region(struct km_link link)
{
	static const char *const kinds[] = {"", "ram", "rom", "nvram", "device", "reserved", "carved"};
	const struct km_region *r = (const struct km_region *)link.node;

	if (!r)
		return;
	tell_region(r->left);
	say("region %x-%x %s %d free\n", r->base << 12, ((r->base + r->count) << 12) - 1, (intptr_t)kinds[r->kind], r->free);
	tell_region(r->right);
}

static int64_t bits(int64_t word)
{
	int64_t count = 0;

	for (uint64_t left = (uint64_t)word; left; left &= left - 1)
		count++;
	return count;
}

/* Frames that processors keep in their stocks. */
static int64_t in_stock(const struct km_kern *kern)
{
	int64_t count = 0;

	for (int64_t i = 0; i < kern->cpu_count; i++) {
		const struct km_cpu *cpu = &kern->cpus[i];
		for (int g = 0; g < (int)(sizeof cpu->frame_groups / sizeof *cpu->frame_groups); g++)
			count += bits(cpu->frame_groups[g].bits);
		for (int g = 0; g < (int)(sizeof cpu->chunk_groups / sizeof *cpu->chunk_groups); g++)
			count += bits(cpu->chunk_groups[g].bits) << 9;
	}
	return count;
}

int state(void)
{
	struct km_kern *kern = km_port_processor()->kern;
	int64_t checked = km_call_check(km_port_processor()), pages = kern->stocked - in_stock(kern);

	tell_region(kern->regions);
	say("frames: %d free, %d heap, %d mapping, %d page, %d dma, %d device, %d reserved\n", kern->free_frames - pages,
	    kern->heap_frames, kern->mapping_frames, kern->page_frames + pages, kern->dma_frames, kern->device_frames,
	    kern->reserved_frames);
	say("heap: %d bytes backed, %d idle\n", kern->backed << kern->page_shift, kern->idle << kern->page_shift);
	say("check: %v\n", checked);
	return checked != 0;
}
