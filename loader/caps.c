// SPDX-License-Identifier: GPL-3.0-or-later
#include "caps.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "explain.h"

static const struct {
	cap_value_t capability;
	const char *name;
	bool always; /* effective all the time, not only while raised */
} kept[] = {
	{CAP_BPF, "CAP_BPF", true},
	{CAP_NET_ADMIN, "CAP_NET_ADMIN", true},
	{CAP_PERFMON, "CAP_PERFMON", true},
	{CAP_CHOWN, "CAP_CHOWN", false},
	{CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", false},
	{CAP_SYS_ADMIN, "CAP_SYS_ADMIN", false},
};
#define KEPT_COUNT (sizeof(kept) / sizeof(kept[0]))

static bool holds(cap_t set, cap_value_t capability, cap_flag_t flag)
{
	cap_flag_value_t value = CAP_CLEAR;

	return !cap_get_flag(set, capability, flag, &value) && value == CAP_SET;
}

int vg_caps_limit(void)
{
	cap_t now = cap_get_proc(), wanted = cap_init();
	int error = now && wanted ? 0 : -ENOMEM;

	for (size_t i = 0; !error && i < KEPT_COUNT; i++) {
		if (!holds(now, kept[i].capability, CAP_PERMITTED))
			continue;
		if (cap_set_flag(wanted, CAP_PERMITTED, 1, &kept[i].capability, CAP_SET) ||
		    (kept[i].always && cap_set_flag(wanted, CAP_EFFECTIVE, 1, &kept[i].capability, CAP_SET)))
			error = -errno;
	}
	if (!error && cap_set_proc(wanted))
		error = -errno;
	if (!error && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		error = -errno;
	cap_free(now);
	cap_free(wanted);
	return error;
}

int vg_caps_require(void)
{
	char missing[128] = "";
	cap_t now = cap_get_proc();

	if (!now)
		return -ENOMEM;
	for (size_t i = 0; i < KEPT_COUNT; i++) {
		size_t used = strlen(missing);

		if (kept[i].always && !holds(now, kept[i].capability, CAP_EFFECTIVE))
			snprintf(missing + used, sizeof(missing) - used, "%s%s", used ? ", " : "", kept[i].name);
	}
	cap_free(now);
	if (!missing[0])
		return 0;
	return vg_explain(-EPERM, "missing %s: run as root, or give the agent these capabilities", missing);
}

static void effective_set(cap_value_t capability, cap_flag_value_t value)
{
	cap_t now = cap_get_proc();

	assert(now);
	if (holds(now, capability, CAP_PERMITTED)) {
		int failed = cap_set_flag(now, CAP_EFFECTIVE, 1, &capability, value) || cap_set_proc(now);

		assert(!failed);
	}
	cap_free(now);
}

void vg_caps_raise(cap_value_t capability)
{
	effective_set(capability, CAP_SET);
}

void vg_caps_lower(cap_value_t capability)
{
	effective_set(capability, CAP_CLEAR);
}

int vg_caps_drop(void)
{
	cap_t none = cap_init();
	int error = none ? 0 : -ENOMEM;

	if (!error && cap_set_proc(none))
		error = -errno;
	cap_free(none);
	return error;
}
