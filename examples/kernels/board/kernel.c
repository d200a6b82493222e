/* A kernel for a board. All that the memory manager is told of it is its profile's. */
#include "board.h"
#include "config.h"

void kernel_main(intptr_t id, intptr_t told)
{
	static struct km_config config;
	static struct km_object_type objects[KM_PROFILE_OBJECTS + 1];

	board_init(id, told);
	int64_t frames = memory_frames(km_profile_config(0).max_pfn);
	config = km_profile_config(frames);
	km_profile_objects(objects, frames);
	config.objects = objects;
	board_boot(&config);
	program(board_wish());
	machine_stop(state());
}
