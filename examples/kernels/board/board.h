/* Boards that a flattened device tree describes: what start.S and C both know, and what their kernels share. */
#define OFFSET (IMAGE - PLACE)  /* from where the image is in memory, to where it runs: the Makefile says both */
#define STACK 16384
#ifndef PROCESSORS
#define PROCESSORS 8
#endif

#ifndef __ASSEMBLER__
#include "kernel.h"

struct local {  /* what a processor has for itself */
	struct km_cpu *cpu;
	intptr_t number, id;  /* the kernel's number for it, the firmware's */
};

/* What an architecture supplies. Boot's tables map memory and devices where they are, the device tree for one, and go on to. */

struct local *processor_local(void);
void processor_init(struct local *own);  /* what a processor does first */
void processor_start(const struct local *other);  /* another one comes to processor_main */
void adopt(int64_t root);  /* an owner's: its window is mapped as the tables at that physical address map it */

/* board.c */
extern struct local locals[PROCESSORS];
void board_init(intptr_t id, intptr_t told);  /* on the first processor; `told` is the device tree, in memory */
void board_boot(struct km_config *config);  /* the memory manager, with what is said of it; and the other processors */
int board_wish(void);

/* tree.c: of the first node that is compatible with `name` its first `reg`. 0: there is none. */
int tree_find(const void *tree, const char *name, uint64_t *base, uint64_t *bytes);
/* The first letter of what the kernel was told: "hold" or "long"; 0: neither. */
int tree_wish(const void *tree);
/* How many nodes say that they are a `type`: processors are "cpu". */
int tree_count(const void *tree, const char *type);
#endif
