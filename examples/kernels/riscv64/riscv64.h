/* What RISC-V's machine has for kernels. */
#include "board.h"

void set_timer(int64_t from_now);  /* in ticks of 100 ns: then on_timer is called, with interrupts off */
extern void (*on_timer)(void);
int64_t remote_fence(int64_t function, int64_t va, int64_t bytes);  /* SBI's extension RFENCE, of all harts */

/* root.S: whether a page that was not there by a trap's cause is there now. */
int has_come(int64_t cause, int64_t va);
