/* What start.S and C both know. */
#define WINDOW 0xd0000000      /* of the memory manager: its first bytes are the image */
#define OFFSET (WINDOW - 0x200000) /* from where the image is in memory, to that */

#define CODE 8
#define DATA 16
