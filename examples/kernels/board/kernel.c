/* A kernel for a board. */
#include "board.h"

void kernel_main(intptr_t id, intptr_t told)
{
	board_init(id, told);
	board_boot(profile_config());
	program(board_wish());
	machine_stop(state());
}
