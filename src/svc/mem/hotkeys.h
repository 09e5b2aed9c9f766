/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which keys are asked for most: a space-saving sketch (Metwally and others) of a sample of all commands. Each worker
 * keeps its own and is its only writer; who reports copies the entries of all under their sequences and adds them up.
 *
 * Of VG_HOT_SAMPLE commands on keys one is taken, at places that a random number chooses. Counts are halved every
 * VG_HOT_HALVING_NS, so that what was hot an hour ago is not hot now. Keys that XDP answers by itself are not seen.
 */
#ifndef VG_MEM_HOTKEYS_H
#define VG_MEM_HOTKEYS_H

#include "svc/svc.h"

#define VG_HOT_ENTRIES 128   /* a worker: a key asked for more often than one in so many is always among them */
#define VG_HOT_SAMPLE 64
#define VG_HOT_KEY_BYTES 96  /* of a key; longer ones are cut in the report */
#define VG_HOT_HALVING_NS 10000000000ULL

struct vg_hot_sketch;

int vg_hot_new(struct vg_hot_sketch **ret_sketch, const struct vg_env *env);
void vg_hot_free(struct vg_hot_sketch *sketch, const struct vg_mem *mem); /* accepts NULL */

/* First in the sketch: how many commands are passed over before the next one is taken. */
static inline bool vg_hot_takes(struct vg_hot_sketch *sketch)
{
	return --*(__u32 *)sketch == 0;
}
/* Take this key, after vg_hot_takes said so. */
void vg_hot_take(struct vg_hot_sketch *sketch, struct vg_env *env, const void *key, size_t length, __u64 hash);

struct vg_hot_key {
	__u64 hash;
	__u32 count, error; /* of the sample: at most `error` of `count` were other keys */
	__u32 length;	    /* of the key, which may be longer than what is kept of it */
	char key[VG_HOT_KEY_BYTES];
};

/* The hottest keys of the node, the hottest first: at most `count`, how many there are. `samples`: all that count. */
int vg_hot_report(const struct vg_env *env, struct vg_hot_key *keys, int count, __u64 *ret_samples);

#endif
