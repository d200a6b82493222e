/* RISC-V of 64 bits under OpenSBI: the machine, and the port of the memory manager. */
#include "riscv64.h"

extern char start_other[], trap[];
void (*on_timer)(void);

struct local *processor_local(void)
{
	struct local *own;
	__asm__ volatile("mv %0, tp" : "=r"(own));
	return own;
}

void processor_pause(void) { __asm__ volatile(".insn i 0x0f, 0, x0, x0, 0x010"); }  /* pause */
void processor_sleep(void) { __asm__ volatile("wfi; csrci sip, 2"); }

/* The firmware (RISC-V SBI 1.0). */

struct answer {
	int64_t error, value;
};

static struct answer sbi(int64_t extension, int64_t function, int64_t a, int64_t b, int64_t c, int64_t d)
{
	register int64_t a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c, a3 __asm__("a3") = d;
	register int64_t a6 __asm__("a6") = function, a7 __asm__("a7") = extension;
	__asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a3), "r"(a6), "r"(a7) : "memory");
	return (struct answer){a0, a1};
}

void console_put(char c) { sbi(1, 0, (uint8_t)c, 0, 0, 0); }
int console_get(void) { return (int)sbi(2, 0, 0, 0, 0, 0).error; }
void processor_wake(int number) { sbi(0x735049, 0, 1, locals[number].id, 0, 0); }

void processor_start(const struct local *other)
{
	sbi(0x48534d, 0, other->id, (int64_t)((uintptr_t)start_other - OFFSET), other->number, 0);
}

_Noreturn void machine_stop(int status)
{
	say("status %d\n", status);
	for (;;)
		sbi(0x53525354, 0, 0, status != 0, 0, 0);  /* shut down, for a reason */
}

/* The port. The firmware interrupts all harts, and none can shut that out. The library has the rest. */

int64_t km_port_barrier(void)
{
	return remote_fence(0, 0, 0) == 0;
}

int64_t remote_fence(int64_t function, int64_t va, int64_t bytes)
{
	return sbi(0x52464e43, function, 0, -1, va, bytes).error;
}

/* Traps. */

void trapped(void)
{
	int64_t cause, at, value, status;

	__asm__ volatile("csrr %0, scause; csrr %1, sepc" : "=r"(cause), "=r"(at));
	__asm__ volatile("csrr %0, stval; csrr %1, sstatus" : "=r"(value), "=r"(status));
	if (cause >= 0 && !has_come(cause, value)) {
		say("processor %d, at %x: cause %d, ", processor_number(), at, cause);
		fail("trap", value);
	} else if (cause < 0 && (cause & 15) == 5 && on_timer) {
		on_timer();  /* which may come back on another processor */
	} else if (cause < 0) {
		__asm__ volatile("csrci sip, 2");  /* another processor has woken this one */
	}
	__asm__ volatile("csrw sepc, %0; csrw sstatus, %1" : : "r"(at), "r"(status));
}

void set_timer(int64_t from_now)
{
	int64_t now;
	__asm__ volatile("rdtime %0" : "=r"(now));
	sbi(0x54494d45, 0, now + from_now, 0, 0, 0);
}

void processor_init(struct local *own)
{
	__asm__ volatile("mv tp, %0; csrw stvec, %1; csrs sie, %2" : : "r"(own), "r"(trap), "r"(0x22));
}
