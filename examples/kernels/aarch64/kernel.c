/* ARM of 64 bits, a guest: the kernel has a direct map of its own, and the memory manager's heap lies in it. */
#include "kernel.h"
#include "../board/board.h"
#include "machine.h"

#define RAM 0x40000000  /* of QEMU's board: the device tree is at its start */
#define UART 0x9000000  /* PL011 */

extern char image[], image_end[], start[];

static struct local {
	struct km_cpu *cpu;
	int64_t number;
} locals[PROCESSORS];
static int processors = 1;
static const void *tree = (const void *)(DIRECT + RAM);

static struct local *local(void)
{
	struct local *own;
	__asm__ volatile("mrs %0, tpidr_el1" : "=r"(own));
	return own;
}

int processor_count(void) { return processors; }
int processor_number(void) { return (int)local()->number; }
struct km_cpu *km_port_processor(void) { return local()->cpu; }
void processor_pause(void) { __asm__ volatile("yield"); }
void processor_sleep(void) { __asm__ volatile("wfi"); }

static volatile uint32_t *uart(uint32_t at) { return (volatile uint32_t *)(DIRECT + UART + at); }

void console_put(char c)
{
	while (*uart(0x18) & 1 << 5)  /* its queue is full */
		;
	*uart(0) = (uint8_t)c;
}

int console_get(void) { return *uart(0x18) & 1 << 4 ? -1 : (int)(*uart(0) & 0xff); }

/* The firmware (PSCI), and the debugger, which lets QEMU end with a status (semihosting). */
static int64_t call(int64_t function, int64_t a, int64_t b, int64_t c)
{
	register int64_t x0 __asm__("x0") = function, x1 __asm__("x1") = a, x2 __asm__("x2") = b, x3 __asm__("x3") = c;
	__asm__ volatile("hvc 0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

_Noreturn void machine_stop(int status)
{
	say("status %d\n", status);
	int64_t block[2] = {0x20026, status};
	register int64_t w0 __asm__("x0") = 0x18;
	register int64_t *x1 __asm__("x1") = block;

	__asm__ volatile("hlt 0xf000" : : "r"(w0), "r"(x1) : "memory");
	for (;;)
		call(0x84000008, 0, 0, 0);
}

int find_device(struct device *device)
{
	device->name = "cfi-flash";
	return tree_find(tree, device->name, &device->base, &device->bytes);
}

/* Interrupts between processors, by a GIC of version 2. */

#define BARRIER 0
#define WAKE 1

static volatile uint32_t *distributor(uint32_t at) { return (volatile uint32_t *)(DIRECT + 0x8000000 + at); }
static volatile uint32_t *interface(uint32_t at) { return (volatile uint32_t *)(DIRECT + 0x8010000 + at); }
static int online, waiting;

void interrupted(void)
{
	uint32_t what = *interface(0xc);

	if ((what & 0x3ff) == BARRIER)
		__atomic_fetch_sub(&waiting, 1, __ATOMIC_SEQ_CST);
	*interface(0x10) = what;
}

void processor_wake(int number) { *distributor(0xf00) = 1u << (16 + number) | WAKE; }

/* The port. No page is mapped or unmapped by a guest in a direct map: nothing is flushed. The library has the rest. */

int64_t km_port_shootdown(int64_t va, int64_t pages) { (void)va, (void)pages; return 0; }
int64_t km_port_forget(int64_t root, int64_t va) { (void)root, (void)va; return 0; }
int64_t km_port_reach(void) { return processors; }

int64_t km_port_barrier(void)
{
	__atomic_store_n(&waiting, online - 1, __ATOMIC_SEQ_CST);
	__asm__ volatile("dsb ish" : : : "memory");
	*distributor(0xf00) = 1u << 24 | BARRIER;  /* to all others */
	while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST))
		processor_pause();
	return 1;
}

_Noreturn void faulted(int64_t syndrome, int64_t at, int64_t address)
{
	say("processor %d, at %x: syndrome %x, ", processor_number(), at, syndrome);
	fail("fault", address);
}

static void processor_init(int64_t number)
{
	locals[number].number = number;
	__asm__ volatile("msr tpidr_el1, %0" : : "r"(&locals[number]));
	*distributor(0) = 1;
	*interface(4) = 0xff;  /* all priorities */
	*interface(0) = 1;
	__atomic_fetch_add(&online, 1, __ATOMIC_SEQ_CST);
	__asm__ volatile("msr daifclr, 2" : : : "memory");
}

void processor_main(int64_t number)
{
	processor_init(number);
	processor_serve();
}

void kernel_main(void)
{
	static struct km_config config = {
		.mode = KM_GUEST, .arch = KM_FORMAT_NONE, .page_shift = 12, .max_pfn = 1 << 27, .direct = (int64_t)DIRECT,
		.direct_bytes = (int64_t)511 << 30, .growable = 8192, .headroom = 64, .lenient = 1,
	};

	processor_init(0);
	processors = tree_count(tree, "cpu");
	processors = processors < PROCESSORS ? processors : PROCESSORS;
	struct km_loader_map *map = memory_map((int64_t)DIRECT, (int64_t)511 << 30);
	if (km_call_ranges_fdt(map, RAM) != KM_OK)
		fail("the device tree tells of no memory", RAM);
	config.image_pa = (int64_t)((uintptr_t)image - DIRECT);
	config.image_bytes = image_end - image;
	config.cpus = processors;
	boot_init(&config, (int64_t)DIRECT);
	locals[0].cpu = boot_start(&config);
	for (int i = 1; i < processors; i++) {
		locals[i].cpu = (struct km_cpu *)km_call_cpu_online(locals[0].cpu, i);
		call(0xc4000003, i, (int64_t)((uintptr_t)start - DIRECT), i);  /* it starts there */
	}
	program(tree_wish(tree));
	machine_stop(state());
}
