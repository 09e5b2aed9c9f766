/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Functions that no node should have, for the tests of what happens then. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virgo/function.h"

VIRGO_FUNCTION(crash)
{
	abort();
}

VIRGO_FUNCTION(hang)
{
	for (;;)
		pause();
}

VIRGO_FUNCTION(leave)
{
	_exit(7);
}

/* Says that there is more than there was room for. */
VIRGO_FUNCTION(overstate)
{
	call->result_length = call->result_room + 1;
	return 0;
}

/* As much as there is room for. */
VIRGO_FUNCTION(fill)
{
	memset(call->result, 'x', call->result_room);
	call->result_length = call->result_room;
	return 0;
}

VIRGO_FUNCTION(fails)
{
	return 41;
}
