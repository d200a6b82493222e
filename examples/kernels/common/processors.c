/* Work for the other processors, one piece at a time. */
#include "kernel.h"

static struct {
	void (*work)(int64_t);
	int64_t argument;
} posts[PROCESSORS];

void processor_serve(void)
{
	int number = processor_number();

	for (;;) {
		void (*work)(int64_t) = __atomic_load_n(&posts[number].work, __ATOMIC_ACQUIRE);
		if (work) {
			work(posts[number].argument);
			__atomic_store_n(&posts[number].work, 0, __ATOMIC_RELEASE);
		}
		int64_t flags = km_port_interrupts_save();
		if (!__atomic_load_n(&posts[number].work, __ATOMIC_ACQUIRE))
			processor_sleep();
		km_port_interrupts_restore(flags);
	}
}

void post(int number, void (*work)(int64_t), int64_t argument)
{
	posts[number].argument = argument;
	__atomic_store_n(&posts[number].work, work, __ATOMIC_RELEASE);
	processor_wake(number);
}

void wait(int number)
{
	while (__atomic_load_n(&posts[number].work, __ATOMIC_ACQUIRE))
		processor_pause();
}

void on_processor(int number, void (*work)(int64_t), int64_t argument)
{
	if (number == processor_number()) {
		work(argument);
		return;
	}
	post(number, work, argument);
	wait(number);
}
