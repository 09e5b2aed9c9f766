/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spawn/spawn.h"

int main(int argc, char **argv)
{
	const char *role = argc > 1 ? argv[1] : "", *place = argc > 2 ? argv[2] : NULL;

	if (strcmp(role, "spawner") == 0)
		return spawner_main(place);
	if (strcmp(role, "function") == 0 && place)
		return function_main(place);
	if (strcmp(role, "kernel") == 0 && place)
		return kernel_main(place);
	fprintf(stderr, "%s is started by virgod\n", VG_SPAWN_PROGRAM);
	return EXIT_FAILURE;
}
