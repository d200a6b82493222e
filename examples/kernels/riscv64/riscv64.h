/* What RISC-V's machine has for kernels. */
#include "machine.h"

/* Boot the memory manager with what the kernel has said of it, and let the other processors come: to processor_serve. */
void machine_init(int64_t hart, int64_t told, struct km_config *config);
void set_timer(int64_t from_now);  /* in ticks of 100 ns: then on_timer is called, with interrupts off */
extern void (*on_timer)(void);
