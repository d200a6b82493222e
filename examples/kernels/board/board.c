/* The boot of a board: what its device tree tells, the memory manager, the other processors. */
#include "board.h"

extern char image[], image_end[];

struct local locals[PROCESSORS];
static int processors = 1;
static const void *tree;

int processor_count(void) { return processors; }
int processor_number(void) { return (int)processor_local()->number; }
struct km_cpu *km_port_processor(void) { return processor_local()->cpu; }
int64_t km_port_reach(void) { return processors; }
int board_wish(void) { return tree_wish(tree); }

int find_device(struct device *device)
{
	device->name = "cfi-flash";
	return tree_find(tree, device->name, &device->base, &device->bytes);
}

void board_init(intptr_t id, intptr_t told)
{
	tree = (const void *)told;
	locals[0].id = id;
	processor_init(&locals[0]);
	processors = tree_count(tree, "cpu");
	processors = processors < PROCESSORS ? processors : PROCESSORS;
	for (int i = 0, number = 1; number < processors; i++)
		if (i != id) {
			locals[number].number = number;
			locals[number++].id = i;
		}
	if (km_call_ranges_fdt(memory_map(0, (int64_t)3 << 30), told) != KM_OK)
		fail("the device tree tells of no memory", told);
}

void board_boot(struct km_config *config)
{
	config->image_pa = (int64_t)((uintptr_t)image - OFFSET);
	config->image_bytes = image_end - image;
	config->cpus = processors;
	if (config->mode == KM_OWNER && config->window != (int64_t)(uintptr_t)image)
		fail("the image must be where the window begins", config->window);
	int64_t root = boot_init(config, 0);
	if (config->mode == KM_OWNER) {
		int64_t flags = km_port_interrupts_save();  /* for a moment the window is not mapped */
		adopt(root);
		km_port_interrupts_restore(flags);
	}
	locals[0].cpu = boot_start(config);
	for (int i = 1; i < processors; i++) {
		locals[i].cpu = (struct km_cpu *)(intptr_t)km_call_cpu_online(locals[0].cpu, i);
		processor_start(&locals[i]);
	}
}

void processor_main(intptr_t number)
{
	processor_init(&locals[number]);
	processor_serve();
}
