/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/persist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool number(const char **at, __u64 max, __u64 *ret_value)
{
	char *end;

	*at += strspn(*at, " ");
	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*ret_value = strtoull(*at, &end, 10);
	if (errno || *ret_value < 1 || *ret_value > max || (*end && *end != ' '))
		return false;
	*at = end;
	return true;
}

int vg_save_rules_parse(const char *text, struct vg_save_rule rules[VG_SAVE_RULES_MAX])
{
	int count = 0;

	for (;; count++) {
		__u64 seconds, changes;

		text += strspn(text, " ");
		if (!*text)
			return count;
		if (count == VG_SAVE_RULES_MAX || !number(&text, 0x7fffffff, &seconds) ||
		    !number(&text, 0x7fffffff, &changes))
			return -EINVAL;
		rules[count] = (struct vg_save_rule){ (__u32)seconds, changes };
	}
}
