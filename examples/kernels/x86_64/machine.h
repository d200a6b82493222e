/* What start.S and C both know. */
#define HIGH 0xffffffff80000000 /* where physical address 0 is, by boot's tables and by the memory manager's */
#define KM_FORMAT KM_FORMAT_X86_64
#define KM_PHYS_BITS 46
#define KM_WINDOW ((int64_t)0xffffffff80200000)
#define KM_WINDOW_BYTES (1022 << 20)
#define TRAMPOLINE 0x8000       /* where other processors begin */
#define STACK 16384
#define PROCESSORS 8

#define CODE64 8
#define DATA 16
#define CODE32 24
