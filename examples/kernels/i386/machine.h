/* What start.S and C both know. */
#define WINDOW 0xd0000000      /* of the memory manager: its first bytes are the image */
#define OFFSET (WINDOW - 0x200000) /* from where the image is in memory, to that */
#define KM_FORMAT KM_FORMAT_I386_PAE
#define KM_PHYS_BITS 40
#define KM_WINDOW 0xd0000000
#define KM_WINDOW_BYTES (768 << 20)

#define CODE 8
#define DATA 16
