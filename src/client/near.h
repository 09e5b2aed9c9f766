/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The near cache: values that were read, kept in this process until their node says that they have changed
 * (virgo_options.near_bytes). Values are read over a RESP connection to the key's owner that tracks them (CLIENT
 * TRACKING), and the owner's messages about changes come over the same connection.
 *
 * The rule: a value is answered from here only after everything the owner has sent so far was looked at, only while the
 * owner was heard of within VG_NEAR_SILENCE_NS, and never past its deadline. So a change is seen as soon as the owner's
 * message about it is here; a connection that breaks takes everything read over it along.
 */
#ifndef VG_CLIENT_NEAR_H
#define VG_CLIENT_NEAR_H

#include "client/client.h"

#define VG_NEAR_SILENCE_NS 1000000000ULL

struct vg_near;

int vg_near_new(struct vg_near **ret_near, size_t bytes);
void vg_near_free(struct vg_near *near); /* accepts NULL */

/*
 * The value: from here, or read from the owner and kept. 0: *ret_value lasts until the next call; -ENOENT: there is no
 * such key; -EOPNOTSUPP: this way is closed, ask as usual.
 */
int vg_near_get(struct virgo *v, const void *key, size_t key_length, const void **ret_value, size_t *ret_length);
/* This client is about to change the key. */
void vg_near_forget(struct vg_near *near, const void *key, size_t key_length);

#endif
