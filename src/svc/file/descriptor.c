// SPDX-License-Identifier: GPL-3.0-or-later
/* Open files: numbers that clients know them by, and files that are the same. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "svc/file/data.h"
#include "svc/file/hold.h"
#include "virgo/hash.h"

#define GENERATION_MASK ((1u << (VG_FILE_NODE_SHIFT - VG_FILE_SLOT_BITS)) - 1)
#define SLOT_MASK ((1u << VG_FILE_SLOT_BITS) - 1)

int vg_descriptors_init(struct vg_file_pool *pool)
{
	__u32 count = pool->settings->descriptors;

	for (pool->inode_buckets = 64; pool->inode_buckets < count; pool->inode_buckets *= 2)
		;
	pool->descriptor = vg_file_alloc(pool, count * sizeof(*pool->descriptor));
	pool->inode = vg_file_alloc(pool, count * sizeof(*pool->inode));
	pool->inodes = vg_file_alloc(pool, pool->inode_buckets * sizeof(struct vg_file_inode *));
	if (!pool->descriptor || !pool->inode || !pool->inodes)
		return -ENOMEM;
	memset(pool->inodes, 0, pool->inode_buckets * sizeof(struct vg_file_inode *));
	for (__u32 i = count; i; i--) {
		/* Where its numbers begin nobody knows: those of another life are not met again. */
		pool->descriptor[i - 1] = (struct vg_file_descriptor){
			.slot = i - 1,
			.fd = -1,
			.generation = (__u32)vg_env_random(pool->env) & GENERATION_MASK,
			.next = pool->descriptor_free,
		};
		pool->descriptor_free = &pool->descriptor[i - 1];
		pool->inode[i - 1] = (struct vg_file_inode){ .next = pool->inode_free };
		pool->inode_free = &pool->inode[i - 1];
	}
	return 0;
}

void vg_descriptors_deinit(struct vg_file_pool *pool)
{
	for (__u32 i = 0; pool->descriptor && i < pool->settings->descriptors; i++)
		if (pool->descriptor[i].fd >= 0)
			vg_io_close(pool->env->io, pool->descriptor[i].fd);
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static struct vg_file_inode **bucket_of(struct vg_file_pool *pool, __u64 device, __u64 number)
{
	const __u64 key[2] = { device, number };

	return &pool->inodes[vg_hash64(key, sizeof(key)) & (pool->inode_buckets - 1)];
}

struct vg_file_inode *vg_inode_find(struct vg_file_pool *pool, __u64 device, __u64 number)
{
	struct vg_file_inode *inode = *bucket_of(pool, device, number);

	while (inode && (inode->device != device || inode->number != number))
		inode = inode->next;
	return inode;
}

/* There are as many places as descriptors, so there is always one. */
static struct vg_file_inode *inode_get(struct vg_file_pool *pool, const struct statx *stat)
{
	__u64 device = (__u64)stat->stx_dev_major << 32 | stat->stx_dev_minor;
	struct vg_file_inode *inode = vg_inode_find(pool, device, stat->stx_ino);

	if (!inode) {
		struct vg_file_inode **bucket = bucket_of(pool, device, stat->stx_ino);

		inode = pool->inode_free;
		pool->inode_free = inode->next;
		*inode = (struct vg_file_inode){ .device = device, .number = stat->stx_ino, .next = *bucket };
		*bucket = inode;
	}
	inode->refs++;
	return inode;
}

/* `fd` is one of its, still open. */
static void inode_put(struct vg_file_pool *pool, struct vg_file_inode *inode, int fd)
{
	struct vg_file_inode **at;

	if (--inode->refs)
		return;
	if (inode->quota)
		vg_quota_inode_gone(pool, inode, fd);
	for (at = bucket_of(pool, inode->device, inode->number); *at != inode; at = &(*at)->next)
		;
	*at = inode->next;
	inode->next = pool->inode_free;
	pool->inode_free = inode;
}

/* ---- descriptors ----------------------------------------------------------------------------------------------- */

static void count_open(struct vg_file_pool *pool, int more)
{
	__u64 *count = &pool->counts.open_files;

	__atomic_store_n(count, *count + (__u64)(__s64)more, __ATOMIC_RELAXED);
}

int vg_descriptor_new(struct vg_file_client *client, int fd, __u16 flags, const struct statx *stat,
		      struct vg_file_descriptor **ret_descriptor)
{
	struct vg_file_pool *pool = client->pool;
	struct vg_file_descriptor *descriptor = pool->descriptor_free;

	/* Half of all is the most one client may have. */
	if (!descriptor || client->descriptor_count >= pool->settings->descriptors / 2 || client->ended) {
		vg_io_close(pool->env->io, fd);
		return client->ended ? -ESTALE : descriptor ? -EMFILE : -ENFILE;
	}
	pool->descriptor_free = descriptor->next;
	*descriptor = (struct vg_file_descriptor){
		.client = client,
		.next = client->descriptors,
		.link = &client->descriptors,
		.fd = fd,
		.flags = flags,
		.generation = descriptor->generation,
		.refs = 1, /* its number's */
		.mode = stat->stx_mode,
		.slot = descriptor->slot,
		.inode = inode_get(pool, stat),
	};
	if (client->descriptors)
		client->descriptors->link = &descriptor->next;
	client->descriptors = descriptor;
	client->descriptor_count++;
	count_open(pool, 1);
	*ret_descriptor = descriptor;
	return 0;
}

__u64 vg_descriptor_ident(const struct vg_file_descriptor *descriptor)
{
	return (__u64)descriptor->client->pool->self << VG_FILE_NODE_SHIFT |
	       (__u64)descriptor->generation << VG_FILE_SLOT_BITS | descriptor->slot;
}

int vg_descriptor_find(const struct vg_file_client *client, __u64 ident, struct vg_file_descriptor **ret_descriptor)
{
	const struct vg_file_pool *pool = client->pool;
	__u32 slot = (__u32)ident & SLOT_MASK;
	struct vg_file_descriptor *descriptor;

	if (slot >= pool->settings->descriptors)
		return -EBADF;
	descriptor = &pool->descriptor[slot];
	if (descriptor->client != client || descriptor->closed || vg_descriptor_ident(descriptor) != ident)
		return ident >> VG_FILE_NODE_SHIFT != pool->self ? -ESTALE : -EBADF;
	*ret_descriptor = descriptor;
	return 0;
}

void vg_descriptor_ref(struct vg_file_descriptor *descriptor)
{
	descriptor->refs++;
}

void vg_descriptor_put(struct vg_file_descriptor *descriptor)
{
	struct vg_file_pool *pool = descriptor->client->pool;

	assert(descriptor->refs);
	if (--descriptor->refs)
		return;
	assert(descriptor->closed);
	vg_bytes_descriptor_gone(descriptor);
	inode_put(pool, descriptor->inode, descriptor->fd);
	vg_bytes_close(pool, descriptor->fd);
	vg_client_put(descriptor->client);
	count_open(pool, -1);
	*descriptor = (struct vg_file_descriptor){
		.slot = descriptor->slot,
		.fd = -1,
		.generation = (descriptor->generation + 1) & GENERATION_MASK,
		.next = pool->descriptor_free,
	};
	pool->descriptor_free = descriptor;
}

void vg_descriptor_close(struct vg_file_descriptor *descriptor)
{
	struct vg_file_client *client = descriptor->client;

	assert(!descriptor->closed);
	descriptor->closed = true;
	*descriptor->link = descriptor->next;
	if (descriptor->next)
		descriptor->next->link = descriptor->link;
	client->descriptor_count--;
	client->refs++; /* until it is gone */
	vg_lock_descriptor_closed(descriptor);
	vg_descriptor_put(descriptor);
}
