/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Many keys at once: those that go to one node are asked for together, as many in a message as fit a datagram with
 * their answers. What comes back without a value for another reason than that there is none (it is another node's, or
 * too long for a datagram) is asked for again by itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

#define BODY_MAX (VG_DATAGRAM_MAX - sizeof(struct vg_wire_header))

struct group {
	struct virgo *v;
	bool done;
	int error;
	struct virgo_item *item[VG_MGET_KEYS_MAX];
	unsigned int count;
	unsigned int node; /* as virgo_request.node */
	size_t length;
	__u8 body[BODY_MAX] __attribute__((aligned(8)));
};

/* The peer that a key is known to belong to, as virgo_request names it; 0: not known. */
static unsigned int node_of(const struct virgo *v, const struct virgo_item *item)
{
	__u16 node = v->node_of_partition[vg_partition_of(item->key, item->key_length)];
	const struct vg_peer *peer = node < VG_NODES_MAX ? v->peer_of_node[node] : NULL;

	for (unsigned int i = 0; peer && i < v->peers_count; i++)
		if (v->peers[i] == peer)
			return i + 1;
	return 0;
}

static size_t entry_bytes(const struct virgo_item *item)
{
	return sizeof(struct vg_mget_key) + VG_ALIGN_UP(item->key_length, (size_t)8);
}

static void add(struct group *group, struct virgo_item *item)
{
	const struct vg_mget_key head = {
		.ident = VG_HTOBE64(vg_hash64(item->key, item->key_length)),
		.partition = VG_HTOBE16(vg_partition_of(item->key, item->key_length)),
		.key_length = VG_HTOBE16((__u16)item->key_length),
	};
	__u8 *at = group->body + group->length;

	memcpy(at, &head, sizeof(head));
	memset(at + sizeof(head), 0, VG_ALIGN_UP(item->key_length, (size_t)8));
	memcpy(at + sizeof(head), item->key, item->key_length);
	group->length += entry_bytes(item);
	group->item[group->count++] = item;
}

static int keep(struct virgo_item *item, const void *data, size_t length)
{
	char *copy = malloc(length + 1);

	if (!copy)
		return -ENOMEM;
	if (length)
		memcpy(copy, data, length);
	copy[length] = '\0';
	item->value = copy;
	item->length = length;
	return 0;
}

/* How many values of usual length fit a datagram decides how many keys are asked for together. */
static void note_length(struct virgo *v, size_t length)
{
	__u32 bytes = length < BODY_MAX ? (__u32)length : (__u32)BODY_MAX;

	v->mget_value_bytes = (v->mget_value_bytes * 7 + bytes + 7) / 8;
}

/* What is not a value and not "no such key" stays -EAGAIN: it is asked for by itself. */
static void take(void *context, const struct virgo_result *result)
{
	struct group *group = context;
	const __u8 *at = result->data;
	size_t left = result->length;

	group->done = true;
	group->error = result->error;
	for (unsigned int i = 0; !result->error && i < group->count && left >= sizeof(struct vg_mget_value); i++) {
		struct vg_mget_value head;
		size_t length, padded;

		memcpy(&head, at, sizeof(head));
		length = VG_BE32TOH(head.length);
		padded = VG_ALIGN_UP(length, (size_t)8);
		if (padded > left - sizeof(head))
			return;
		if (head.status == VG_STATUS_OK) {
			group->item[i]->error = keep(group->item[i], at + sizeof(head), length);
			note_length(group->v, length);
		} else if (head.status == VG_STATUS_NOT_FOUND) {
			group->item[i]->error = -ENOENT;
		}
		at += sizeof(head) + padded;
		left -= sizeof(head) + padded;
	}
}

/* Fill the group with what goes to one node, from the items that nobody has asked for yet. */
static void gather(struct virgo *v, struct virgo_item *items, bool *asked, size_t count, struct group *group)
{
	size_t answer = 0, value = sizeof(struct vg_mget_value) + VG_ALIGN_UP((size_t)v->mget_value_bytes, (size_t)8);

	*group = (struct group){ .v = v };
	for (size_t i = 0; i < count && group->count < VG_MGET_KEYS_MAX; i++) {
		if (asked[i] || items[i].key_length > VG_XDP_KEY_MAX)
			continue;
		if (!group->count)
			group->node = node_of(v, &items[i]);
		else if (node_of(v, &items[i]) != group->node)
			continue;
		if (group->length + entry_bytes(&items[i]) > BODY_MAX || (group->count && answer + value > BODY_MAX))
			break;
		answer += value;
		asked[i] = true;
		add(group, &items[i]);
	}
}

static int ask(struct virgo *v, struct group *group)
{
	const struct virgo_request request = { .operation = VIRGO_MGET, .node = group->node, .data = group->body,
					       .length = group->length, .offset = group->count, .fn = take,
					       .context = group };
	int error;

	while ((error = virgo_submit(v, &request)) == -EAGAIN)
		(void)vg_client_step(v, ~0ULL);
	while (!error && !group->done)
		(void)vg_client_step(v, ~0ULL);
	return error ? error : group->error;
}

int virgo_mget(struct virgo *v, struct virgo_item *items, size_t count)
{
	struct group *group;
	bool *asked;

	for (size_t i = 0; i < count; i++) {
		items[i].value = NULL;
		items[i].length = 0;
		items[i].error = -EAGAIN;
	}
	if (v->delivering)
		return -EDEADLK;
	group = malloc(sizeof(*group));
	asked = calloc(count ? count : 1, sizeof(*asked));
	if (!group || !asked) {
		free(group);
		free(asked);
		return -ENOMEM;
	}
	for (;;) {
		gather(v, items, asked, count, group);
		if (!group->count)
			break;
		(void)ask(v, group); /* what failed is asked for by itself, and says why then */
	}
	free(group);
	free(asked);
	for (size_t i = 0; i < count; i++)
		if (items[i].error == -EAGAIN)
			items[i].error = virgo_key_get(v, items[i].key, items[i].key_length, &items[i].value,
						       &items[i].length);
	return 0;
}
