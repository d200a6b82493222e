/* What the example kernels share: a console, a test program, and what each machine supplies for them. */
#ifndef KERNEL_H
#define KERNEL_H

#include "kernmalloc.h"

#ifndef PROCESSORS
#define PROCESSORS 8
#endif

/* What a machine supplies. */

void console_put(char c);
int console_get(void);  /* a character that has come, or -1 */
_Noreturn void machine_stop(int status);
int processor_count(void);
int processor_number(void);
void processor_pause(void);  /* another one is waited for */
void processor_sleep(void);  /* until an interrupt comes, which are off before and after */
void processor_wake(int number);

/* A device with registers in memory that its bus has given a place. */
struct device {
	const char *name;
	uint64_t base, bytes;
};
int find_device(struct device *device);

/* console.c: each %d, %x, %s or %v (a number as the calls give it) takes one of the numbers that follow. */
#define say(format, ...) say_numbers((format), (int64_t const[]){0, ##__VA_ARGS__})
void say_numbers(const char *format, const int64_t *numbers);
_Noreturn void fail(const char *why, int64_t number);

/* processors.c */
void processor_serve(void);  /* a processor does what the first one asks for, for ever */
void post(int number, void (*work)(int64_t), int64_t argument);  /* let another processor do it */
void wait(int number);  /* until it has done that */
void on_processor(int number, void (*work)(int64_t), int64_t argument);  /* any one; and wait */

/* memory.c: the one map of ranges that a loader tells of; physical address 0 can be read at `direct`, all below `reach`. */
struct km_loader_map;
struct km_config;
struct km_loader_map *memory_map(int64_t direct, int64_t reach);
int64_t memory_frames(int64_t max_pfn);  /* frames of RAM below that one */
struct km_config *profile_config(void);  /* profile.c, where there is a profile */
/* Fill the boot area, right behind the image if it may be there: the root of the page tables. km_init, with its `phys`. */
int64_t boot_init(struct km_config *config, int64_t phys);
struct km_cpu *boot_start(struct km_config *config);

/* program.c, state.c, arena.c */
void program(int wish);  /* HOLD, LONG, or neither, as the kernel was told on its command line */
#define HOLD 'h'
#define LONG 'l'
int state(void);
int arena_program(void *memory, int64_t bytes);

#endif
