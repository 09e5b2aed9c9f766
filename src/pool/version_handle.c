/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Handles in a view. The slot's image, if there is one, is the whole allocation as it was when its life ended or its
 * cell was first written; of a large one that lives on there are only images of the chunks that were written. Chunks
 * kept after the slot was belong to a younger allocation: they do not count.
 */
#include "pool/index.h"
#include "pool/cut.h"

__u32 vg_cut_slots(const struct vg_store *store)
{
	return __atomic_load_n(&store->handles.fresh, __ATOMIC_ACQUIRE);
}

struct seen {
	const struct vg_image *image; /* NULL: the slot itself is the view's */
	__u64 handle, length;
	__u32 flags;
};

static struct vg_image_name slot_name(__u32 index)
{
	return (struct vg_image_name){ .kind = VG_IMAGE_SLOT, .position = VG_CUT_KEYS_END + index };
}

/* The slot's sequence and its chain's lock are held. */
static struct seen look(const struct vg_store *store, __u64 view, __u32 index)
{
	const struct vg_handle_slot *slot = &store->slots[index];
	const struct vg_image_name name = slot_name(index);
	const struct vg_image *image = vg_image_find(store, view, &name);

	if (image)
		return (struct seen){ image, image->content.handle,
				      image->content.entry.exists ? image->content.entry.length : 0,
				      image->content.flags };
	return (struct seen){ NULL, vg_handle_make(store->node, slot->generation, index), slot->length, slot->flags };
}

/* The view's bytes of one chunk from `offset` on; the locks are held. */
static void read_chunk(const struct vg_store *store, __u64 view, __u32 index, const struct seen *seen, __u64 offset,
		       void *data, __u64 length)
{
	const struct vg_handle_slot *slot = &store->slots[index];
	struct vg_image_name name = slot_name(index);
	const struct vg_image *chunk;
	const __u8 *from;

	name.kind = VG_IMAGE_CHUNK;
	name.hash = offset / VG_CUT_CHUNK_BYTES;
	chunk = vg_image_find(store, view, &name);
	if (chunk && (!seen->image || chunk->label <= seen->image->label))
		from = vg_image_value(chunk) + offset % VG_CUT_CHUNK_BYTES;
	else if (seen->image)
		from = vg_image_value(seen->image) + offset;
	else if (slot->cell)
		from = store->arena + slot->cell + offset;
	else
		from = vg_block_value((struct vg_block *)(uintptr_t)slot->place) + offset;
	memcpy(data, from, length);
}

/* Take what a view's slot is read under. */
static struct vg_lock *slot_enter(struct vg_store *store, __u32 index, __u32 *ret_sequence)
{
	struct vg_lock *stripe = vg_image_stripe(store->views, vg_image_chain(VG_CUT_KEYS_END + index));

	*ret_sequence = vg_sequence_take(&store->slots[index].sequence);
	vg_lock_take(stripe);
	return stripe;
}

static void slot_leave(struct vg_store *store, __u32 index, struct vg_lock *stripe, __u32 sequence)
{
	vg_lock_give(stripe);
	vg_sequence_give(&store->slots[index].sequence, sequence);
}

int vg_cut_slot(struct vg_store *store, __u64 view, __u32 index, __u64 *ret_handle, __u64 *ret_length,
		 __u32 *ret_flags)
{
	struct vg_lock *stripe;
	struct seen seen;
	__u32 sequence;
	int error = vg_cut_check(store, view, 0);

	if (error || index >= store->header->handles_max)
		return error ?: -ERANGE;
	stripe = slot_enter(store, index, &sequence);
	seen = look(store, view, index);
	slot_leave(store, index, stripe, sequence);
	error = vg_cut_check(store, view, 0);
	if (error)
		return error;
	*ret_handle = seen.handle;
	*ret_length = seen.length;
	*ret_flags = seen.flags;
	return 0;
}

int vg_cut_slot_read(struct vg_store *store, __u64 view, __u32 index, __u64 offset, void *data, __u64 length)
{
	struct vg_lock *stripe;
	struct seen seen;
	__u32 sequence;
	int error = vg_cut_check(store, view, 0);

	if (error || index >= store->header->handles_max)
		return error ?: -ERANGE;
	while (length && !error) {
		__u64 part = VG_CUT_CHUNK_BYTES - offset % VG_CUT_CHUNK_BYTES;

		part = part < length ? part : length;
		stripe = slot_enter(store, index, &sequence);
		seen = look(store, view, index);
		if (offset > seen.length || part > seen.length - offset)
			error = -ERANGE;
		else
			read_chunk(store, view, index, &seen, offset, data, part);
		slot_leave(store, index, stripe, sequence);
		offset += part;
		data = (__u8 *)data + part;
		length -= part;
	}
	return vg_cut_check(store, view, 0) ?: error;
}

int vg_cut_pass(struct vg_store *store, __u64 view, __u32 index)
{
	int error = vg_cut_walked(store, view, VG_CUT_KEYS_END + index + 1);

	if (!error && __atomic_load_n(&store->views->images, __ATOMIC_RELAXED))
		vg_image_collect(store, vg_image_chain(VG_CUT_KEYS_END + index));
	return error;
}
