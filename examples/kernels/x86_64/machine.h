/* What start.S and C both know. */
#define HIGH 0xffffffff80000000 /* where physical address 0 is, by boot's tables and by the memory manager's */
#define TRAMPOLINE 0x8000       /* where other processors begin */
#define STACK 16384
#define PROCESSORS 8

#define CODE64 8
#define DATA 16
#define CODE32 24
