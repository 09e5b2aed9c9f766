// SPDX-License-Identifier: GPL-3.0-or-later
/* The names of hooks and of the entries in links/. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attach.h"

static const struct {
	const char *name;
	bool xdp;
	bool link; /* the entry is a BPF link, else it pins the program */
} hooks[VG_HOOK_MAX] = {
	[VG_HOOK_NATIVE] = {"native", true, true},
	[VG_HOOK_GENERIC] = {"generic", true, true},
	[VG_HOOK_DISPATCHER] = {"dispatcher", true, false},
	[VG_HOOK_TCX] = {"tcx", false, true},
	[VG_HOOK_CLSACT] = {"clsact", false, false},
};

const char *vg_hook_name(enum vg_hook hook)
{
	return hooks[hook].name;
}

bool vg_hook_is_xdp(enum vg_hook hook)
{
	return hooks[hook].xdp;
}

const char *vg_attachment_mode(const struct vg_attachment *attachment)
{
	if (attachment->hook == VG_HOOK_DISPATCHER && attachment->generic)
		return "dispatcher-generic";
	return hooks[attachment->hook].name;
}

bool vg_hook_is_link(enum vg_hook hook)
{
	return hooks[hook].link;
}

int vg_attachment_parse(const char *name, struct vg_attachment *ret_attachment)
{
	char hook_name[16], rest;
	unsigned long long netns;
	unsigned int ifindex;

	if (sscanf(name, "%15[a-z]_%llu_%u%c", hook_name, &netns, &ifindex, &rest) != 3 || !ifindex)
		return -EINVAL;
	for (int hook = 0; hook < VG_HOOK_MAX; hook++) {
		if (!strcmp(hook_name, hooks[hook].name)) {
			*ret_attachment = (struct vg_attachment){.hook = hook, .netns = netns, .ifindex = ifindex};
			return 0;
		}
	}
	return -EINVAL;
}

void vg_attachment_name(const struct vg_attachment *attachment, char (*ret_name)[VG_PIN_NAME_BYTES])
{
	snprintf(*ret_name, sizeof(*ret_name), "%s_%llu_%u", hooks[attachment->hook].name,
		 (unsigned long long)attachment->netns, attachment->ifindex);
}
