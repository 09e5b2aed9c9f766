// SPDX-License-Identifier: GPL-3.0-or-later
/* Files that have locks, owners that have some: found by hash, gone with their last use. */
#include "svc/file/lock_inside.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "virgo/hash.h"

void *vg_lock_take_memory(struct vg_locks *locks, size_t bytes)
{
	void *memory = locks->mem->alloc(locks->mem->context, bytes);

	if (memory)
		memset(memory, 0, bytes);
	return memory;
}

void vg_lock_give_memory(struct vg_locks *locks, void *memory)
{
	locks->mem->free(locks->mem->context, memory);
}

struct vg_lock_file **vg_lock_file_link(struct vg_locks *locks, __u64 device, __u64 inode)
{
	const __u64 name[2] = { device, inode };
	struct vg_lock_file **link = &locks->file[vg_siphash24(locks->key, name, sizeof(name)) % VG_LOCK_BUCKETS];

	while (*link && ((*link)->inode != inode || (*link)->device != device))
		link = &(*link)->next;
	return link;
}

struct vg_lock_file *vg_lock_file_get(struct vg_locks *locks, __u64 device, __u64 inode, bool make)
{
	struct vg_lock_file **link = vg_lock_file_link(locks, device, inode);

	if (!*link && make) {
		*link = vg_lock_take_memory(locks, sizeof(**link));
		if (*link) {
			(*link)->device = device;
			(*link)->inode = inode;
		}
	}
	if (*link)
		(*link)->references++;
	return *link;
}

void vg_lock_file_put(struct vg_locks *locks, struct vg_lock_file *file)
{
	struct vg_lock_file **link;

	assert(file->references);
	if (--file->references)
		return;
	assert(!file->tree[0].root && !file->tree[1].root && !file->first);
	link = vg_lock_file_link(locks, file->device, file->inode);
	assert(*link == file);
	*link = file->next;
	vg_lock_give_memory(locks, file);
}

struct vg_lock_owner **vg_lock_owner_link(struct vg_locks *locks, const struct vg_lock_session *session, __u64 number,
					 bool whole)
{
	const __u64 name[3] = { (__u64)(uintptr_t)session, number, whole };
	struct vg_lock_owner **link = &locks->owner[vg_siphash24(locks->key, name, sizeof(name)) % VG_LOCK_BUCKETS];

	while (*link && ((*link)->number != number || (*link)->session != session || (*link)->whole != whole))
		link = &(*link)->next;
	return link;
}

struct vg_lock_owner *vg_lock_owner_get(struct vg_locks *locks, struct vg_lock_session *session, __u64 number,
				       bool whole, bool make)
{
	struct vg_lock_owner **link = vg_lock_owner_link(locks, session, number, whole), *owner = *link;

	if (!owner && make) {
		owner = *link = vg_lock_take_memory(locks, sizeof(*owner));
		if (!owner)
			return NULL;
		owner->session = session;
		owner->number = number;
		owner->whole = whole;
		owner->older = session->owners;
		if (owner->older)
			owner->older->newer = owner;
		session->owners = owner;
	}
	if (owner)
		owner->references++;
	return owner;
}

void vg_lock_owner_put(struct vg_locks *locks, struct vg_lock_owner *owner)
{
	struct vg_lock_owner **link;

	assert(owner->references);
	if (--owner->references)
		return;
	assert(!owner->locks && !owner->waits);
	link = vg_lock_owner_link(locks, owner->session, owner->number, owner->whole);
	assert(*link == owner);
	*link = owner->next;
	if (owner->newer)
		owner->newer->older = owner->older;
	else
		owner->session->owners = owner->older;
	if (owner->older)
		owner->older->newer = owner->newer;
	vg_lock_give_memory(locks, owner);
}
