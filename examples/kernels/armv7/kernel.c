/* ARM of 32 bits, a guest: memory has its physical addresses, and the memory manager's heap lies in it. */
#include "kernel.h"
#include "../board/board.h"

#define RAM 0x40000000  /* of QEMU's board: the device tree is at its start */
#define UART 0x9000000  /* PL011 */

extern char image[], image_end[];
static struct km_cpu *cpu;

int processor_count(void) { return 1; }
int processor_number(void) { return 0; }
struct km_cpu *km_port_processor(void) { return cpu; }
void processor_pause(void) { __asm__ volatile("yield"); }
void processor_sleep(void) { __asm__ volatile("wfe"); }
void processor_wake(int number) { (void)number; }

static volatile uint32_t *uart(uint32_t at) { return (volatile uint32_t *)(UART + at); }

void console_put(char c)
{
	while (*uart(0x18) & 1 << 5)  /* its queue is full */
		;
	*uart(0) = (uint8_t)c;
}

int console_get(void) { return *uart(0x18) & 1 << 4 ? -1 : (int)(*uart(0) & 0xff); }

/* The debugger, which lets QEMU end with a status (semihosting). */
_Noreturn void machine_stop(int status)
{
	say("status %d\n", status);
	uint32_t block[2] = {0x20026, (uint32_t)status};
	register uint32_t r0 __asm__("r0") = 0x20, r1 __asm__("r1") = (uint32_t)block;

	for (;;)
		__asm__ volatile("svc 0x123456" : "+r"(r0) : "r"(r1) : "memory", "lr");
}

int find_device(struct device *device)
{
	device->name = "cfi-flash";
	return tree_find((const void *)RAM, device->name, &device->base, &device->bytes);
}

_Noreturn void faulted(uint32_t at, uint32_t address)
{
	say("fault at %x, ", at);
	fail("address", address);
}

void kernel_main(void)
{
	static struct km_config config = {
		.mode = KM_GUEST, .arch = KM_FORMAT_NONE, .page_shift = 12, .max_pfn = 1 << 20,
		.direct_bytes = (int64_t)1 << 32, .growable = 8192, .headroom = 64, .cpus = 1, .lenient = 1,
	};

	struct km_loader_map *map = memory_map(0, (int64_t)1 << 32);
	if (km_call_ranges_fdt(map, RAM) != KM_OK)
		fail("the device tree tells of no memory", RAM);
	config.image_pa = (uint32_t)image;
	config.image_bytes = image_end - image;
	boot_init(&config, 0);
	cpu = boot_start(&config);
	program(tree_wish((const void *)RAM));
	machine_stop(state());
}
