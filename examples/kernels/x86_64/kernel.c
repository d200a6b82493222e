/* x86-64 in the high half, with as many processors as there are: the machine, and the port of the memory manager. */
#include "kernel.h"
#include "../pc/pc.h"
#include "machine.h"

#define APIC 0xfee00000u
#define FLUSH_VECTOR 0x40
#define WAKE_VECTOR 0x41
#define SPURIOUS_VECTOR 0xff

extern char image[], image_end[], trampoline[], trampoline_end[];
extern uint64_t boot_root[512];
extern uint32_t processors_come;

static struct local {
	struct km_cpu *cpu;
	int number;
	uint32_t apic;
} locals[PROCESSORS];
static int processors = 1, online;

static void write_msr(uint32_t number, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static volatile uint32_t *apic(uint32_t at)
{
	return (volatile uint32_t *)(uintptr_t)(APIC + at);
}

int processor_count(void) { return processors; }

int processor_number(void)
{
	int number;
	__asm__ volatile("movl %%gs:8, %0" : "=r"(number));
	return number;
}

struct km_cpu *km_port_processor(void)
{
	struct km_cpu *cpu;
	__asm__ volatile("movq %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

void processor_pause(void) { __asm__ volatile("pause"); }

void processor_sleep(void) { __asm__ volatile("sti; hlt; cli"); }

void processor_wake(int number)
{
	*apic(0x310) = locals[number].apic;
	*apic(0x300) = 0x4000 | WAKE_VECTOR;
}

/* The port: what several processors take. The library has the rest. */

static struct {
	int64_t va, pages;
	int waiting;
} shot;  /* the memory manager's lock is held: there is one at a time */

struct frame;

__attribute__((interrupt)) static void flush_asked(struct frame *frame)
{
	(void)frame;
	km_port_flush(shot.va, shot.pages);
	*apic(0xb0) = 0;
	__atomic_fetch_sub(&shot.waiting, 1, __ATOMIC_RELEASE);
}

__attribute__((interrupt)) static void wake_asked(struct frame *frame)
{
	(void)frame;
	*apic(0xb0) = 0;
}

int64_t km_port_shootdown(int64_t va, int64_t pages)
{
	km_port_flush(va, pages);
	if (online > 1) {
		shot.va = va;
		shot.pages = pages;
		__atomic_store_n(&shot.waiting, online - 1, __ATOMIC_RELEASE);
		*apic(0x300) = 0xc4000 | FLUSH_VECTOR;  /* all but this one */
		while (__atomic_load_n(&shot.waiting, __ATOMIC_ACQUIRE))
			processor_pause();
	}
	return 0;
}

int64_t km_port_forget(int64_t root, int64_t va)
{
	(void)root;
	return km_port_shootdown(va, 1);
}

int64_t km_port_barrier(void)
{
	return km_port_shootdown(0, 0) + 1;  /* each has acknowledged an interrupt */
}

int64_t km_port_reach(void) { return processors; }

/* Interrupts. */

static struct gate {
	uint16_t low, selector, type, middle;
	uint32_t high, reserved;
} gates[256];

static void set_gate(int vector, void *handler)
{
	uintptr_t at = (uintptr_t)handler;
	gates[vector] = (struct gate){(uint16_t)at, CODE64, 0x8e00, (uint16_t)(at >> 16), (uint32_t)(at >> 32), 0};
}

static uint64_t fault_address(void)
{
	uint64_t address;
	__asm__ volatile("movq %%cr2, %0" : "=r"(address));
	return address;
}

#define FAULT(name, text) \
	__attribute__((interrupt)) static void name(struct frame *frame, uint64_t code) \
	{ \
		say("processor %d, at %x: ", processor_number(), *(int64_t *)frame); \
		say("error %x, ", (int64_t)code); \
		fail(text, (int64_t)fault_address()); \
	}
FAULT(page_fault, "page fault")
FAULT(protection_fault, "protection fault")
FAULT(double_fault, "double fault")

/* What each processor needs for itself. */
static void processor_init(int number)
{
	struct { uint16_t limit; void *base; } __attribute__((packed)) idt = {sizeof gates - 1, gates};

	locals[number].number = number;
	write_msr(0xc0000101, (uintptr_t)&locals[number]);  /* GS base */
	__asm__ volatile("lidt %0" : : "m"(idt));
	locals[number].apic = *apic(0x20);
	*apic(0xf0) = 0x100 | SPURIOUS_VECTOR;
}

/* Start the others: INIT and then SIPI to all of them (Intel SDM 3A, 8.4.4.1). */
static void start_processors(void)
{
	out16(0x510, 5);  /* QEMU tells how many there are; elsewhere ACPI's MADT does */
	processors = in8(0x511);
	processors = processors < PROCESSORS ? processors : PROCESSORS;
	for (char *from = trampoline, *to = (char *)TRAMPOLINE; from < trampoline_end;)
		*to++ = *from++;
	*apic(0x300) = 0xc4500;
	for (int i = 0; i < 10000; i++)
		in8(0x80);  /* a microsecond */
	*apic(0x300) = 0xc4600 | TRAMPOLINE >> 12;
	while (__atomic_load_n(&processors_come, __ATOMIC_ACQUIRE) < (uint32_t)processors)
		processor_pause();
}

void processor_main(int number)
{
	processor_init(number);
	__atomic_fetch_add(&online, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&locals[number].cpu, __ATOMIC_ACQUIRE))
		processor_pause();
	uint64_t root = (uintptr_t)boot_root - HIGH;
	__asm__ volatile("movq %0, %%cr3; sti" : : "r"(root) : "memory");
	processor_serve();
}

void kernel_main(int64_t told)
{
	set_gate(FLUSH_VECTOR, flush_asked);
	set_gate(WAKE_VECTOR, wake_asked);
	set_gate(8, double_fault);
	set_gate(13, protection_fault);
	set_gate(14, page_fault);
	out8(0x21, 0xff);  /* the old interrupt controllers' interrupts are off */
	out8(0xa1, 0xff);
	processor_init(0);
	start_processors();
	int wish = last_word(*(const char **)(told + 24));  /* PVH's command line */
	struct km_loader_map *map = memory_map(0, (int64_t)1 << 32);  /* what boot's tables map */
	if (km_call_ranges_pvh(map, told) != KM_OK)
		fail("the loader tells of no memory", told);
	km_call_ranges_add(map, 0, 1 << 20, KM_RANGE_FIRMWARE);  /* and for the trampoline */

	struct km_config *config = profile_config();
	config->image_pa = (int64_t)((uintptr_t)image - HIGH);
	config->image_bytes = image_end - image;
	config->cpus = processors;
	int64_t root = boot_init(config, 0);

	boot_root[511] = *(uint64_t *)(root + 511 * 8);  /* the entry that leads to the window */
	__asm__ volatile("movq %0, %%cr3; sti" : : "r"((uintptr_t)boot_root - HIGH) : "memory");
	__atomic_fetch_add(&online, 1, __ATOMIC_RELEASE);
	locals[0].cpu = boot_start(config);
	for (int i = 1; i < processors; i++) {
		struct km_cpu *cpu = (struct km_cpu *)km_call_cpu_online(locals[0].cpu, i);
		__atomic_store_n(&locals[i].cpu, cpu, __ATOMIC_RELEASE);
	}
	program(wish);
	machine_stop(state());
}
