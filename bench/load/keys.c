// SPDX-License-Identifier: GPL-3.0-or-later
#include <math.h>

#include "keys.h"

/*
 * Zipf without a table: J. Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994,
 * section 3.2.
 */
void vg_bench_choice_init(struct vg_bench_choice *choice, __u32 keys, double theta)
{
	*choice = (struct vg_bench_choice){ .keys = keys, .theta = theta };
	if (theta == 0)
		return;
	for (__u32 i = 1; i <= keys; i++)
		choice->zeta_keys += 1 / pow(i, theta);
	choice->zeta_two = 1 + 1 / pow(2, theta);
	choice->alpha = 1 / (1 - theta);
	choice->eta = (1 - pow(2.0 / keys, 1 - theta)) / (1 - choice->zeta_two / choice->zeta_keys);
}

__u32 vg_bench_choose(const struct vg_bench_choice *choice, __u64 *random_state)
{
	__u64 random = vg_bench_random(random_state) >> 11;
	double unit, scaled;
	__u32 rank;

	if (choice->theta == 0)
		return (__u32)((random >> 21) * choice->keys >> 32);
	unit = (double)random * 0x1p-53;
	scaled = unit * choice->zeta_keys;
	if (scaled < 1)
		rank = 0;
	else if (scaled < choice->zeta_two)
		rank = 1;
	else
		rank = (__u32)(choice->keys * pow(choice->eta * unit - choice->eta + 1, choice->alpha));
	if (rank >= choice->keys)
		rank = choice->keys - 1;
	/* Ranks are spread over the keys, so that hot keys are not neighbours. */
	return (__u32)((__u64)rank * 2654435761u % choice->keys);
}
