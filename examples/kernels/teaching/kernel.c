/*
 * A teaching kernel whose page allocator and heap are the memory manager: threads that a timer takes turns at three
 * processors, pages by kalloc and kfree, pipes and files in the heap. After each of its tests as many pages can be had
 * as before: nothing leaks. Nobody drains anything for that: pages that processors keep idle are fetched when pages run
 * short.
 */
#include "../riscv64/riscv64.h"

#define PAGE 4096
#define THREADS 8
#define STACK_BYTES 8192
#define TURN 20000  /* 2 ms */
#define PIPED 20000  /* bytes through a pipe */

struct context { int64_t registers[14]; };
void switch_to(struct context *of, struct context *to);

static struct thread {
	enum { UNUSED, STARTING, READY, RUNNING, ENDED } state;
	char *stack;
	struct context context;
	void (*run)(void *);
	void *argument;
} threads[THREADS];
static struct thread *current[PROCESSORS];
static struct context schedulers[PROCESSORS];
static int threads_lock;

/* Whoever calls the memory manager must stay on its processor meanwhile: no turn ends. */
#define STAYING(call) \
	({ \
		int64_t flags_ = km_port_interrupts_save(); \
		__typeof__(call) result_ = (call); \
		km_port_interrupts_restore(flags_); \
		result_; \
	})

static void *kalloc(void)
{
	uint64_t pa = STAYING(km_frame_get(KM_PAGE));
	return km_failed((int64_t)pa) ? 0 : (void *)(OFFSET + pa);
}

static void kfree(void *page)
{
	if (STAYING(km_frame_put((uint64_t)page - OFFSET)) != KM_OK)
		fail("kfree", (int64_t)page);
}

static void *need(void *block)
{
	if (!block)
		fail("no memory", 0);
	return block;
}

static void give(void *block)
{
	if (STAYING(km_free(block)) != KM_OK)
		fail("free", (int64_t)block);
}

/* Threads. Their lock is held, and interrupts are off, whenever one processor changes from one to another. */

static void take(int *lock)
{
	while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
		processor_pause();
}

static void release(int *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }

static void leave(int state)
{
	int64_t flags = km_port_interrupts_save();
	struct thread *own = current[processor_number()];

	take(&threads_lock);
	own->state = state;
	switch_to(&own->context, &schedulers[processor_number()]);
	release(&threads_lock);
	km_port_interrupts_restore(flags);
}

static void yield(void) { leave(READY); }

static void tick(void)
{
	set_timer(TURN);
	if (current[processor_number()])
		yield();
}

static void begin(void)
{
	struct thread *own = current[processor_number()];

	release(&threads_lock);
	km_port_interrupts_restore(2);
	own->run(own->argument);
	leave(ENDED);
}

void processor_serve(void)
{
	int number = processor_number();

	set_timer(TURN);
	for (;;) {
		int64_t flags = km_port_interrupts_save(), idle = 1;
		for (struct thread *next = threads; next < threads + THREADS; next++) {
			take(&threads_lock);
			if (next->state == READY) {
				next->state = RUNNING;
				current[number] = next;
				switch_to(&schedulers[number], &next->context);
				current[number] = 0;
				idle = 0;
			}
			release(&threads_lock);
		}
		if (idle)
			processor_sleep();
		km_port_interrupts_restore(flags | 2);
	}
}

static struct thread *start_thread(void (*run)(void *), void *argument)
{
	struct thread *new = threads;

	int64_t flags = km_port_interrupts_save();
	take(&threads_lock);
	while (new->state != UNUSED)
		new++;
	new->state = STARTING;
	release(&threads_lock);
	km_port_interrupts_restore(flags);
	while (!(new->stack = STAYING(km_malloc(STACK_BYTES))))
		yield();  /* somebody has all memory for a while */
	new->run = run;
	new->argument = argument;
	new->context.registers[0] = (int64_t)begin;
	new->context.registers[1] = (int64_t)(new->stack + STACK_BYTES);
	__atomic_store_n(&new->state, READY, __ATOMIC_RELEASE);
	return new;
}

static void join(struct thread *thread)
{
	while (__atomic_load_n(&thread->state, __ATOMIC_ACQUIRE) != ENDED)
		yield();
	int64_t flags = km_port_interrupts_save();
	take(&threads_lock);  /* it has left its stack */
	release(&threads_lock);
	km_port_interrupts_restore(flags);
	give(thread->stack);
	thread->state = UNUSED;
}

/* The tests: what threads do. */

struct pipe {
	char data[512];
	unsigned in, out;
};

static void write_pipe(void *at)
{
	struct pipe *pipe = at;

	for (unsigned i = 0; i < PIPED; i++) {
		while (i - __atomic_load_n(&pipe->out, __ATOMIC_ACQUIRE) == sizeof pipe->data)
			yield();
		pipe->data[i % sizeof pipe->data] = (char)(i * 7);
		__atomic_store_n(&pipe->in, i + 1, __ATOMIC_RELEASE);
	}
}

static void pipes(void *unused)
{
	struct pipe *pipe = need(STAYING(km_calloc(1, sizeof *pipe)));
	struct thread *writer = start_thread(write_pipe, pipe);
	(void)unused;

	for (unsigned i = 0; i < PIPED; i++) {
		while (__atomic_load_n(&pipe->in, __ATOMIC_ACQUIRE) == i)
			yield();
		if (pipe->data[i % sizeof pipe->data] != (char)(i * 7))
			fail("the pipe has lost something", i);
		__atomic_store_n(&pipe->out, i + 1, __ATOMIC_RELEASE);
	}
	join(writer);
	give(pipe);
}

/* Files: a node in the heap that names its pages, grown one by one. */
static void files(void *seed)
{
	for (int file = 0; file < 100; file++) {
		uint64_t **node = 0;
		int pages = 1 + (file * 7 + (int)(intptr_t)seed) % 40;
		for (int i = 0; i < pages; i++) {
			node = need(STAYING(km_realloc(node, (size_t)(i + 1) * sizeof *node)));
			node[i] = need(kalloc());
			for (int at = 0; at < PAGE / 8; at++)
				node[i][at] = (uint64_t)(uintptr_t)node[i] + (uint64_t)at;
		}
		for (int i = 0; i < pages; i++) {
			for (int at = 0; at < PAGE / 8; at++)
				if (node[i][at] != (uint64_t)(uintptr_t)node[i] + (uint64_t)at)
					fail("a page is not what was written to it", file);
			kfree(node[i]);
		}
		give(node);
	}
}

/* How many pages can be had: all are taken, and given back. */
static int64_t count_pages(void)
{
	void **last = 0, **page;
	int64_t count = 0;

	for (; (page = kalloc()); count++) {
		*page = last;
		last = page;
	}
	while ((page = last)) {
		last = *page;
		kfree(page);
	}
	return count;
}

static void hoard(void *unused)
{
	(void)unused;
	count_pages();
}

static void tests(void *unused)
{
	static struct { const char *name; void (*run)(void *); } all[] = {{"pipes", pipes}, {"files", files}, {"hoard", hoard}};
	int64_t before = count_pages(), after;
	(void)unused;

	say("%d pages can be had\n", before);
	for (int i = 0; i < 3; i++) {
		struct thread *those[3];
		for (int64_t t = 0; t < 3; t++)
			those[t] = start_thread(all[i].run, (void *)t);
		for (int t = 0; t < 3; t++)
			join(those[t]);
		after = count_pages();
		say("%s: %d pages can be had\n", (intptr_t)all[i].name, after);
		if (after != before)
			fail("pages are lost", before - after);
	}
	int64_t checked = STAYING(km_check());
	say("check: %v\n", checked);
	machine_stop(checked != KM_OK);
}

void kernel_main(intptr_t hart, intptr_t told)
{
	static struct km_config config = {
		.mode = KM_GUEST, .arch = KM_FORMAT_NONE, .page_shift = 12, .max_pfn = 1 << 26, .direct = (int64_t)OFFSET,
		.direct_bytes = (int64_t)255 << 30, .growable = 8192, .headroom = 64, .lenient = 1,
	};

	on_timer = tick;
	board_init(hart, told);
	board_boot(&config);
	start_thread(tests, 0);
	processor_serve();
}
