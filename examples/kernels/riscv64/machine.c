/* RISC-V of 64 bits under OpenSBI: the machine, and the port of a memory manager in a direct map. */
#include "kernel.h"
#include "../board/board.h"
#include "riscv64.h"

extern char start[], trap[];

static struct local {
	struct km_cpu *cpu;
	int64_t number, hart;
} locals[PROCESSORS];
static int processors = 1;
static const void *tree;
void (*on_timer)(void);

static struct local *local(void)
{
	struct local *own;
	__asm__ volatile("mv %0, tp" : "=r"(own));
	return own;
}

int processor_count(void) { return processors; }
int processor_number(void) { return (int)local()->number; }
struct km_cpu *km_port_processor(void) { return local()->cpu; }
void processor_pause(void) { __asm__ volatile(".insn i 0x0f, 0, x0, x0, 0x010"); }  /* pause */
void processor_sleep(void) { __asm__ volatile("wfi; csrci sip, 2"); }

/* The firmware (RISC-V SBI 1.0). */

static int64_t sbi(int64_t extension, int64_t function, int64_t a, int64_t b, int64_t c)
{
	register int64_t a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
	register int64_t a6 __asm__("a6") = function, a7 __asm__("a7") = extension;
	__asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
	return a0;
}

void console_put(char c) { sbi(1, 0, (uint8_t)c, 0, 0); }
int console_get(void) { return (int)sbi(2, 0, 0, 0, 0); }
void processor_wake(int number) { sbi(0x735049, 0, 1, locals[number].hart, 0); }

_Noreturn void machine_stop(int status)
{
	say("status %d\n", status);
	for (;;)
		sbi(0x53525354, 0, 0, status != 0, 0);  /* shut down, for a reason */
}

int find_device(struct device *device)
{
	device->name = "cfi-flash";
	return tree_find(tree, device->name, &device->base, &device->bytes);
}

/* The port. No page is mapped or unmapped by a guest in a direct map: nothing is flushed. The library has the rest. */

int64_t km_port_shootdown(int64_t va, int64_t pages) { (void)va, (void)pages; return 0; }
int64_t km_port_forget(int64_t root, int64_t va) { (void)root, (void)va; return 0; }
int64_t km_port_reach(void) { return processors; }

/* All others execute a fence, by an interrupt of the firmware's, which none can shut out. */
int64_t km_port_barrier(void)
{
	return sbi(0x52464e43, 0, 0, -1, 0) == 0;
}

void trapped(void)
{
	int64_t cause, at, value, status;

	__asm__ volatile("csrr %0, scause; csrr %1, sepc" : "=r"(cause), "=r"(at));
	__asm__ volatile("csrr %0, stval; csrr %1, sstatus" : "=r"(value), "=r"(status));
	if (cause >= 0) {
		say("processor %d, at %x: cause %d, ", processor_number(), at, cause);
		fail("trap", value);
	}
	if ((cause & 15) == 5 && on_timer)
		on_timer();  /* which may come back on another processor */
	else
		__asm__ volatile("csrci sip, 2");  /* another processor has woken this one */
	__asm__ volatile("csrw sepc, %0; csrw sstatus, %1" : : "r"(at), "r"(status));
}

void set_timer(int64_t from_now)
{
	int64_t now;
	__asm__ volatile("rdtime %0" : "=r"(now));
	sbi(0x54494d45, 0, now + from_now, 0, 0);
}

static void processor_init(int64_t number, int64_t hart)
{
	locals[number].number = number;
	locals[number].hart = hart;
	__asm__ volatile("mv tp, %0; csrw stvec, %1; csrs sie, %2" : : "r"(&locals[number]), "r"(trap), "r"(0x22));
}

void machine_init(int64_t hart, int64_t told, struct km_config *config)
{
	extern char image[], image_end[];

	processor_init(0, hart);
	tree = (const void *)(DIRECT + told);
	processors = tree_count(tree, "cpu");
	processors = processors < PROCESSORS ? processors : PROCESSORS;
	for (int64_t i = 0, number = 1; i < processors; i++)
		if (i != hart)
			locals[number++].hart = i;
	struct km_loader_map *map = memory_map((int64_t)DIRECT, (int64_t)255 << 30);
	if (km_call_ranges_fdt(map, told) != KM_OK)
		fail("the device tree tells of no memory", told);
	config->mode = KM_GUEST;
	config->arch = KM_FORMAT_NONE;
	config->page_shift = 12;
	config->direct = (int64_t)DIRECT;
	config->direct_bytes = (int64_t)255 << 30;
	config->max_pfn = 1 << 26;
	config->image_pa = (int64_t)((uintptr_t)image - DIRECT);
	config->image_bytes = image_end - image;
	config->cpus = processors;
	boot_init(config, (int64_t)DIRECT);
	locals[0].cpu = boot_start(config);
	for (int i = 1; i < processors; i++) {
		locals[i].cpu = km_cpu_online(i);
		sbi(0x48534d, 0, locals[i].hart, (int64_t)((uintptr_t)start - DIRECT), i);  /* it starts there */
	}
}

void processor_main(int64_t hart, int64_t number)
{
	processor_init(number, hart);
	processor_serve();
}
