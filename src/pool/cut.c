/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The side table of old versions: chains of images, each chain under a lock of its own (several share one). */
#include <errno.h>
#include <sys/mman.h>

#include "pool/cut.h"

#define CHAINS (1u << VG_CUT_CHAINS_BITS)
#define CHAINS_BYTES (CHAINS * sizeof(struct vg_image *))

int vg_cuts_init(struct vg_store *store)
{
	struct vg_cuts *views = mmap(NULL, sizeof(*views), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (views == MAP_FAILED)
		return -ENOMEM;
	store->views = views;
	views->bytes_max = store->heap.bytes / 4;
	views->chains = mmap(NULL, CHAINS_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			     -1, 0);
	if (views->chains != MAP_FAILED)
		return 0;
	views->chains = NULL;
	return -ENOMEM;
}

/* Images lie in the heap tier, which goes as a whole. */
void vg_cuts_deinit(struct vg_store *store)
{
	if (!store->views)
		return;
	if (store->views->chains)
		munmap(store->views->chains, CHAINS_BYTES);
	munmap(store->views, sizeof(*store->views));
}

/* ---- who needs an image ---------------------------------------------------------------------------------------- */

static bool slot_needs(const struct vg_cut_slot *slot, __u64 after, __u64 until, __u64 position)
{
	__u64 number = __atomic_load_n(&slot->number, __ATOMIC_ACQUIRE);

	return number > after && number <= until && __atomic_load_n(&slot->walked, __ATOMIC_ACQUIRE) <= position;
}

/* Is there a view numbered after < n <= until that has not walked past the position? */
static bool is_needed(const struct vg_cuts *views, __u64 after, __u64 until, __u64 position)
{
	for (int i = 0; i < VG_CUTS_MAX; i++)
		if (slot_needs(&views->slot[i], after, until, position))
			return true;
	return false;
}

static bool is_of(const struct vg_image *image, const struct vg_image_name *name, const void *key)
{
	return image->position == name->position && image->kind == name->kind && image->hash == name->hash &&
	       image->key_length == name->key_length &&
	       (!name->key_length || !memcmp(image->data, key, name->key_length));
}

/* The newest image of it from here on. */
static struct vg_image *newest(struct vg_image *image, const struct vg_image_name *name)
{
	while (image && !is_of(image, name, name->key))
		image = image->next;
	return image;
}

static struct vg_image *chain_of(const struct vg_store *store, __u32 chain)
{
	return __atomic_load_n(&store->views->chains[chain], __ATOMIC_RELAXED);
}

const struct vg_image *vg_image_find(const struct vg_store *store, __u64 view, const struct vg_image_name *name)
{
	const struct vg_image *found = NULL;

	/* Newest first: the last one whose label is not before the view is what the view has. */
	for (struct vg_image *image = newest(chain_of(store, vg_image_chain(name->position)), name);
	     image && image->label >= view; image = newest(image->next, name))
		found = image;
	return found;
}

bool vg_image_kept(struct vg_store *store, __u64 epoch, const struct vg_image_name *name)
{
	__u32 chain = vg_image_chain(name->position);
	const struct vg_image *image;
	bool kept;

	vg_lock_take(vg_image_stripe(store->views, chain));
	image = newest(chain_of(store, chain), name);
	kept = image && image->label >= epoch;
	vg_lock_give(vg_image_stripe(store->views, chain));
	return kept;
}

/* ---- keeping --------------------------------------------------------------------------------------------------- */

static void end_those_that_need(struct vg_store *store, __u64 after, __u64 until, __u64 position)
{
	for (int i = 0; i < VG_CUTS_MAX; i++) {
		struct vg_cut_slot *slot = &store->views->slot[i];

		if (slot_needs(slot, after, until, position))
			vg_cut_end(store, __atomic_load_n(&slot->number, __ATOMIC_RELAXED), -ENOSPC);
	}
}

static struct vg_image *image_new(struct vg_store *store, const struct vg_image_name *name,
				  const struct vg_image_content *content)
{
	struct vg_cuts *views = store->views;
	__u64 copied = content->entry.exists && !content->block ? content->entry.length : 0;
	__u64 value_at = VG_ALIGN_UP(name->key_length, 8u), bytes;
	struct vg_image *image;

	bytes = sizeof(*image) + value_at + copied + (content->block ? vg_block_capacity(content->block) : 0);
	if (__atomic_load_n(&views->bytes, __ATOMIC_RELAXED) + bytes > views->bytes_max)
		return NULL;
	image = vg_heap_alloc(&store->heap, sizeof(*image) + value_at + copied);
	if (!image)
		return NULL;
	*image = (struct vg_image){ .position = name->position,
				    .hash = name->hash,
				    .content = *content,
				    .bytes = bytes,
				    .key_length = name->key_length,
				    .kind = (__u8)name->kind };
	if (name->key_length)
		memcpy(image->data, name->key, name->key_length);
	if (copied)
		memcpy(image->data + value_at, content->entry.value, copied);
	if (content->block)
		vg_block_ref(content->block);
	__atomic_fetch_add(&views->bytes, bytes, __ATOMIC_RELAXED);
	__atomic_fetch_add(&views->images, 1, __ATOMIC_RELAXED);
	return image;
}

static void image_free(struct vg_store *store, struct vg_image *image)
{
	__atomic_fetch_sub(&store->views->bytes, image->bytes, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&store->views->images, 1, __ATOMIC_RELAXED);
	if (image->content.block)
		vg_block_put(image->content.block);
	vg_heap_free(&store->heap, image);
}

/*
 * The thing's own lock is held, so nobody else keeps or changes it meanwhile. Whether a view needs the image is asked
 * under the stripe's lock: a view that ends later frees the image, one that had ended is seen here.
 */
void vg_image_save(struct vg_store *store, __u64 epoch, const struct vg_image_name *name,
		   const struct vg_image_content *content)
{
	struct vg_cuts *views = store->views;
	__u32 chain = vg_image_chain(name->position);
	struct vg_image *image;
	__u64 after;
	bool failed = false;

	vg_lock_take(vg_image_stripe(views, chain));
	image = newest(views->chains[chain], name);
	after = image ? image->label : 0;
	if (after < epoch && is_needed(views, after, epoch, name->position)) {
		image = image_new(store, name, content);
		failed = !image;
		if (image) {
			image->label = epoch;
			image->next = views->chains[chain];
			__atomic_store_n(&views->chains[chain], image, __ATOMIC_RELAXED);
		}
	}
	vg_lock_give(vg_image_stripe(views, chain));
	if (failed)
		end_those_that_need(store, after, epoch, name->position);
}

/* The label before this one, of the same thing: 0 if there is none. */
static __u64 label_before(struct vg_image *image)
{
	struct vg_image_name name = { image->kind, image->position, image->hash, image->data, image->key_length };
	struct vg_image *older = newest(image->next, &name);

	return older ? older->label : 0;
}

__u32 vg_image_collect(struct vg_store *store, __u32 chain)
{
	struct vg_cuts *views = store->views;
	struct vg_image **at = &views->chains[chain], *gone = NULL, *image;
	__u32 count = 0;

	if (!chain_of(store, chain))
		return 0;
	vg_lock_take(vg_image_stripe(views, chain));
	while ((image = *at)) {
		if (is_needed(views, label_before(image), image->label, image->position)) {
			at = &image->next;
			continue;
		}
		*at = image->next;
		image->next = gone;
		gone = image;
	}
	vg_lock_give(vg_image_stripe(views, chain));
	for (; gone; gone = image, count++) {
		image = gone->next;
		image_free(store, gone);
	}
	return count;
}

/* ---- what writers keep ----------------------------------------------------------------------------------------- */

static struct vg_image_name name_of_item(const struct vg_item *item, __u64 hash)
{
	struct vg_image_name name = { .kind = VG_IMAGE_KEY, .position = vg_cut_position(hash), .hash = hash };

	name.key = vg_item_key(item, &name.key_length);
	return name;
}

void vg_cut_save_item(struct vg_store *store, struct vg_store_worker *worker, const struct vg_item *item)
{
	const struct vg_image_name name = name_of_item(item, vg_item_hash(item));
	const struct vg_image_content content = {
		.entry = vg_item_entry(item),
		.block = item->flags & VG_ITEM_HEAP ? vg_item_block(item) : NULL,
	};

	vg_image_save(store, worker->cut_epoch, &name, &content);
}

void vg_cut_save_absent(struct vg_store *store, struct vg_store_worker *worker, const struct vg_item *item,
			 __u64 hash)
{
	const struct vg_image_name name = name_of_item(item, hash);
	const struct vg_image_content content = { .entry = { .exists = false } };

	vg_image_save(store, worker->cut_epoch, &name, &content);
}

static struct vg_image_name name_of_slot(const struct vg_store *store, const struct vg_handle_slot *slot)
{
	return (struct vg_image_name){ .kind = VG_IMAGE_SLOT,
				       .position = VG_CUT_KEYS_END + (__u64)(slot - store->slots) };
}

void vg_cut_save_slot(struct vg_store *store, struct vg_store_worker *worker, struct vg_handle_slot *slot)
{
	const struct vg_image_name name = name_of_slot(store, slot);
	struct vg_image_content content = { .entry = { .exists = slot->length != 0, .length = slot->length },
					    .flags = slot->flags };

	content.handle = vg_handle_make(store->node, slot->generation, (__u32)(slot - store->slots));
	if (slot->length && !slot->cell) {
		content.block = (struct vg_block *)(uintptr_t)slot->place;
		content.entry.value = vg_block_value(content.block);
	} else if (slot->length) {
		content.entry.value = store->arena + slot->cell;
	}
	vg_image_save(store, worker->cut_epoch, &name, &content);
}

/*
 * Bytes of a block are about to be written. If the slot itself has been kept in this epoch, the allocation is younger
 * than every view.
 */
void vg_cut_save_range(struct vg_store *store, struct vg_store_worker *worker, struct vg_handle_slot *slot,
			__u64 offset, __u64 length)
{
	struct vg_image_name name = name_of_slot(store, slot);
	const __u8 *bytes = vg_block_value((struct vg_block *)(uintptr_t)slot->place);

	if (!length || vg_image_kept(store, worker->cut_epoch, &name))
		return;
	name.kind = VG_IMAGE_CHUNK;
	for (__u64 chunk = offset / VG_CUT_CHUNK_BYTES; chunk <= (offset + length - 1) / VG_CUT_CHUNK_BYTES;
	     chunk++) {
		__u64 at = chunk * VG_CUT_CHUNK_BYTES, left = slot->length - at;
		const struct vg_image_content content = {
			.entry = { .exists = true,
				   .value = bytes + at,
				   .length = left < VG_CUT_CHUNK_BYTES ? left : VG_CUT_CHUNK_BYTES },
		};

		name.hash = chunk;
		vg_image_save(store, worker->cut_epoch, &name, &content);
	}
}
