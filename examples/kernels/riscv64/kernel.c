/* RISC-V of 64 bits, a guest: the kernel has a direct map of its own, and the memory manager's heap lies in it. */
#include "kernel.h"
#include "../board/board.h"
#include "riscv64.h"

void kernel_main(int64_t hart, int64_t told)
{
	static struct km_config config = {.growable = 8192, .headroom = 64, .lenient = 1};

	machine_init(hart, told, &config);
	program(tree_wish((const void *)(DIRECT + told)));
	machine_stop(state());
}
