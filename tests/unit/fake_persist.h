/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a node would do about snapshots, for services that have none around them: a test sets and reads it. */
#ifndef VG_TESTS_FAKE_PERSIST_H
#define VG_TESTS_FAKE_PERSIST_H

#include <stdio.h>

#include "svc/persist.h"

static struct {
	struct vg_persistence known;
	int error; /* of the next vg_env_save */
	enum vg_save_how how;
	vg_save_fn done;
	void *context;
	int saves, shutdowns;
	enum vg_shutdown_how shutdown;
} fake_persist = { .known = { .directory = "", .file = "snapshot.vgs", .last_seconds = -1, .current_seconds = -1 } };

void vg_env_persistence(struct vg_env *env, struct vg_persistence *ret_persistence)
{
	*ret_persistence = fake_persist.known;
}

int vg_env_save(struct vg_env *env, enum vg_save_how how, vg_save_fn done, void *context)
{
	if (!fake_persist.known.available)
		return -ENODEV;
	if (fake_persist.error)
		return fake_persist.error;
	if (fake_persist.known.running && how != VG_SAVE_LATER)
		return -EALREADY;
	fake_persist.known.scheduled = fake_persist.known.running;
	fake_persist.known.running = true;
	fake_persist.how = how;
	fake_persist.done = done;
	fake_persist.context = context;
	fake_persist.saves++;
	return 0;
}

int vg_env_save_rules(struct vg_env *env, const char *text)
{
	struct vg_save_rule rules[VG_SAVE_RULES_MAX];
	int count = vg_save_rules_parse(text, rules);

	if (count < 0)
		return count;
	snprintf(fake_persist.known.rules, sizeof(fake_persist.known.rules), "%s", text);
	return 0;
}

void vg_env_shutdown(struct vg_env *env, enum vg_shutdown_how how)
{
	fake_persist.shutdowns++;
	fake_persist.shutdown = how;
}

#endif
