/*
 * i386 with one processor: with PAE, the machine that EROS' note speaks of, 64 GiB of memory under addresses of 32 bits; or
 * with page tables of two levels, which all its processors know.
 */
#include "kernel.h"
#include "../pc/pc.h"
#include "machine.h"

extern char image[], image_end[];
#ifdef TWO_LEVELS
typedef uint32_t entry;
#else
typedef uint64_t entry;
#endif
extern const entry boot_root[];
static struct km_cpu *cpu;

int processor_count(void) { return 1; }
int processor_number(void) { return 0; }
struct km_cpu *km_port_processor(void) { return cpu; }
void processor_pause(void) { __asm__ volatile("pause"); }
void processor_sleep(void) { __asm__ volatile("sti; hlt; cli"); }
void processor_wake(int number) { (void)number; }

/* Faults. */

static struct gate {
	uint16_t low, selector, type, high;
} gates[32];

struct frame;

#define FAULT(name, text) \
	__attribute__((interrupt)) static void name(struct frame *frame, uint32_t code) \
	{ \
		uint32_t address; \
		__asm__ volatile("movl %%cr2, %0" : "=r"(address)); \
		say("at %x: error %x, ", *(uint32_t *)frame, code); \
		fail(text, address); \
	}
FAULT(page_fault, "page fault")
FAULT(protection_fault, "protection fault")

static void set_gate(int vector, void *handler)
{
	uint32_t at = (uint32_t)handler;
	gates[vector] = (struct gate){(uint16_t)at, CODE, 0x8e00, (uint16_t)(at >> 16)};
}

void kernel_main(uint32_t told)
{
	struct { uint16_t limit; void *base; } __attribute__((packed)) idt = {sizeof gates - 1, gates};

	set_gate(13, protection_fault);
	set_gate(14, page_fault);
	__asm__ volatile("lidt %0" : : "m"(idt));
	int wish = last_word(*(const char **)(told + 16));  /* multiboot's command line */
	struct km_loader_map *map = memory_map(0, IMAGE);  /* what boot's tables map */
	if (km_call_ranges_multiboot(map, told) != KM_OK)
		fail("the loader tells of no memory", told);
	km_call_ranges_add(map, 0, 1 << 20, KM_RANGE_FIRMWARE);

	struct km_config *config = profile_config();
	config->image_pa = (uint32_t)image - OFFSET;
	config->image_bytes = image_end - image;
	config->cpus = 1;
	entry *root = (entry *)(uint32_t)boot_init(config, 0);

	for (int i = 0; i < (int)(IMAGE >> ROOT); i++)
		root[i] = boot_root[i];  /* memory and devices stay where they are */
	__asm__ volatile("movl %0, %%cr3" : : "r"(root) : "memory");
	cpu = boot_start(config);
	program(wish);
	machine_stop(state());
}
