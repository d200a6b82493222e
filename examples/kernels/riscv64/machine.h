/* What start.S and C both know. */
#define DIRECT 0xffffffc000000000 /* where the kernel has physical address 0 */
#define STACK 16384
#define PROCESSORS 8
