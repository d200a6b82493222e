/* What start.S and C both know; the Makefile says PLACE, where the image is in memory, and IMAGE, where the window begins. */
#define OFFSET (IMAGE - PLACE)

/* Paging with PAE, or with two levels: an entry's bytes, the shifts of a large page and of an entry of the root, and CR4. */
#ifdef TWO_LEVELS
#define ENTRY 4
#define LARGE 22
#define ROOT 22
#define PAGING 0x90 /* large pages, global pages */
#else
#define ENTRY 8
#define LARGE 21
#define ROOT 30
#define PAGING 0xa0 /* PAE, global pages */
#endif

#define CODE 8
#define DATA 16
