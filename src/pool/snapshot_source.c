/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From a view to the bytes of a snapshot: header, keys, handles, counts. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include <zstd.h>

#include "base/crc32c.h"
#include "pool/snapshot.h"

#define BUCKETS_A_PIECE 256   /* however few keys they have */
#define SLOTS_A_PIECE 4096
#define ROOM_FIRST (2 * VG_SNAPSHOT_BLOCK_BYTES)
#define ROOM_MAX (256u << 20) /* one bucket of keys chosen to collide takes less */
#define PINS_FIRST 256
#define HANDLE_PART_BYTES 32768 /* a large allocation is written in such pieces */
#define ZSTD_LEVEL 1

enum phase { PHASE_HEADER, PHASE_KEYS, PHASE_HANDLES, PHASE_LAST, PHASE_DONE };

/* A large value that waits to be written: its record's head lies among the heads, its bytes where they are. */
struct pin {
	struct vg_block *block;
	const void *value;
	__u64 length;
	__u32 head_at, head_bytes;
};

struct vg_snapshot_source {
	struct vg_snapshot_source_config config;
	const struct vg_mem *mem;
	enum phase phase;
	__u64 view, position;
	__u32 slot, slots;  /* handles: the next one, and where they end */
	__u64 slot_offset;  /* of the part that comes next, of a handle that is in the middle */
	__u64 handle, handle_length;

	__u8 *records;	    /* room for a block's; the heads of large values behind them */
	__u32 room, filled, count;
	struct pin *pins;
	__u32 pins_room, pins_filled, pins_given;
	__u32 pin_heads;    /* bytes at the end of the room that heads take */

	__u8 *packed;	    /* compressed */
	size_t packed_room;
	ZSTD_CCtx *zstd;

	struct vg_snapshot_counts counts, last; /* last: as it is written, without the block it is written in */
	struct vg_snapshot_header header;
	struct vg_snapshot_block block;
	__u8 zeros[VG_RECORD_ALIGN];
};

static void *take(const struct vg_snapshot_source *source, size_t bytes)
{
	return source->mem->alloc(source->mem->context, bytes);
}

static void give(const struct vg_snapshot_source *source, void *memory)
{
	if (memory)
		source->mem->free(source->mem->context, memory);
}

/* ---- blocks ---------------------------------------------------------------------------------------------------- */

__u32 vg_snapshot_crc(const struct vg_snapshot_block *block, __u64 identity, const struct iovec *vectors, int count)
{
	struct vg_snapshot_block head = *block;
	__u32 crc;

	head.crc = 0;
	crc = vg_crc32c(0, &identity, sizeof(identity));
	crc = vg_crc32c(crc, &head, sizeof(head));
	for (int i = 0; i < count; i++)
		crc = vg_crc32c(crc, vectors[i].iov_base, vectors[i].iov_len);
	return crc;
}

/* Put a header before what is in vectors[1 …]. */
static void finish_block(struct vg_snapshot_source *source, enum vg_snapshot_block_kind kind, __u32 records,
			 struct iovec *vectors, int *count)
{
	__u64 bytes = 0;

	for (int i = 1; i < *count; i++)
		bytes += vectors[i].iov_len;
	source->block = (struct vg_snapshot_block){
		.magic = VG_SNAPSHOT_BLOCK_MAGIC,
		.kind = (__u8)kind,
		.records = records,
		.stored_bytes = (__u32)bytes,
		.raw_bytes = (__u32)bytes,
		.number = source->counts.blocks++,
	};
	source->counts.records += records;
	source->counts.raw_bytes += kind == VG_SNAPSHOT_RECORDS ? bytes : 0;
	if (source->zstd && *count == 2 && kind == VG_SNAPSHOT_RECORDS && bytes <= source->room) {
		size_t packed = ZSTD_compressCCtx(source->zstd, source->packed, source->packed_room,
						  vectors[1].iov_base, bytes, ZSTD_LEVEL);

		if (!ZSTD_isError(packed) && packed < bytes) {
			vectors[1] = (struct iovec){ source->packed, packed };
			source->block.codec = VG_SNAPSHOT_ZSTD;
			source->block.stored_bytes = (__u32)packed;
		}
	}
	source->block.crc = vg_snapshot_crc(&source->block, source->header.identity, vectors + 1, *count - 1);
	vectors[0] = (struct iovec){ &source->block, sizeof(source->block) };
}

static void give_records(struct vg_snapshot_source *source, struct iovec *vectors, int *count)
{
	vectors[1] = (struct iovec){ source->records, source->filled };
	*count = 2;
	finish_block(source, VG_SNAPSHOT_RECORDS, source->count, vectors, count);
	source->filled = source->count = 0; /* the bytes stay where they are until the next call */
}

static void give_pin(struct vg_snapshot_source *source, struct iovec *vectors, int *count)
{
	const struct pin *pin = &source->pins[source->pins_given++];
	__u64 whole = pin->head_bytes + pin->length;

	vectors[1] = (struct iovec){ source->records + pin->head_at, pin->head_bytes };
	vectors[2] = (struct iovec){ (void *)pin->value, pin->length };
	vectors[3] = (struct iovec){ source->zeros, VG_ALIGN_UP(whole, (__u64)VG_RECORD_ALIGN) - whole };
	*count = vectors[3].iov_len ? 4 : 3;
	finish_block(source, VG_SNAPSHOT_RECORDS, 1, vectors, count);
}

static void drop_pins(struct vg_snapshot_source *source, __u32 from)
{
	for (__u32 i = from; i < source->pins_filled; i++)
		vg_block_put(source->pins[i].block);
	source->pins_filled = from;
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

static __u32 room_left(const struct vg_snapshot_source *source)
{
	return source->room - source->filled - source->pin_heads;
}

/* The head of a record whose value lies elsewhere: what vg_record_write makes of an empty value, with the lengths. */
static int add_pin(struct vg_snapshot_source *source, const struct vg_observed *observed, struct vg_block *block)
{
	struct vg_observed empty = *observed;
	struct vg_record_header header;
	__u64 head_bytes, whole;
	struct pin *pin;

	empty.entry.length = 0;
	head_bytes = vg_record_bytes(&empty);
	if (source->pins_filled == source->pins_room || room_left(source) < head_bytes)
		return -ENOBUFS;
	source->pin_heads += (__u32)head_bytes;
	pin = &source->pins[source->pins_filled];
	pin->head_at = source->room - source->pin_heads;
	vg_record_write(source->records + pin->head_at, &empty);
	memcpy(&header, source->records + pin->head_at, sizeof(header));
	pin->head_bytes = (__u32)head_bytes - header.padding;
	whole = VG_ALIGN_UP(pin->head_bytes + observed->entry.length, (__u64)VG_RECORD_ALIGN);
	header.length = (__u32)whole;
	header.padding = (__u8)(whole - pin->head_bytes - observed->entry.length);
	memcpy(source->records + pin->head_at, &header, sizeof(header));
	pin->block = block;
	pin->value = observed->entry.value;
	pin->length = observed->entry.length;
	vg_block_pin(block);
	source->pins_filled++;
	return 0;
}

static int add_key(void *context, const struct vg_cut_entry *entry)
{
	struct vg_snapshot_source *source = context;
	const struct vg_key key = { entry->key, entry->key_length, entry->hash };
	const struct vg_observed observed = { .kind = VG_OBSERVED_SET, .key = &key, .entry = entry->entry };
	__u64 bytes;

	source->counts.keys++;
	if (entry->block && entry->entry.length >= VG_SNAPSHOT_LARGE_BYTES)
		return add_pin(source, &observed, entry->block);
	bytes = vg_record_bytes(&observed);
	if (bytes > room_left(source))
		return -ENOBUFS;
	vg_record_write(source->records + source->filled, &observed);
	source->filled += (__u32)bytes;
	source->count++;
	return 0;
}

/* Twice the room, for a bucket that alone is larger than all there is. Nothing is in it. */
static int grow(struct vg_snapshot_source *source)
{
	__u32 room = source->room * 2;
	__u8 *records = room <= ROOM_MAX ? take(source, room) : NULL;
	struct pin *pins = take(source, source->pins_room * 2 * sizeof(*pins));
	size_t packed_room = source->zstd ? ZSTD_compressBound(room) : 0;
	__u8 *packed = packed_room ? take(source, packed_room) : NULL;

	if (!records || !pins || (packed_room && !packed)) {
		give(source, records);
		give(source, pins);
		give(source, packed);
		return -ENOMEM;
	}
	give(source, source->records);
	give(source, source->pins);
	give(source, source->packed);
	source->records = records;
	source->room = room;
	source->pins = pins;
	source->pins_room *= 2;
	source->packed = packed;
	source->packed_room = packed_room;
	return 0;
}

/* 1: the bucket's keys are in; 0: all keys are; -ENOBUFS: no room, and nothing of the bucket is in. */
static int add_bucket(struct vg_snapshot_source *source)
{
	__u32 filled = source->filled, count = source->count, pins = source->pins_filled, heads = source->pin_heads;
	__u64 keys = source->counts.keys;
	int result = vg_cut_walk(source->config.store, source->view, &source->position, add_key, source);

	if (result >= 0)
		return !result;
	drop_pins(source, pins);
	source->filled = filled;
	source->count = count;
	source->pin_heads = heads;
	source->counts.keys = keys;
	return result;
}

static int next_keys(struct vg_snapshot_source *source, struct iovec *vectors, int *count)
{
	int result = 1;

	for (int i = 0; i < BUCKETS_A_PIECE && result == 1 && source->filled < VG_SNAPSHOT_BLOCK_BYTES; i++) {
		result = add_bucket(source);
		if (result == -ENOBUFS && !source->filled && !source->pins_filled) {
			result = grow(source);
			if (result)
				return result;
			result = 1;
		}
	}
	if (result < 0 && result != -ENOBUFS)
		return result;
	if (!result) {
		source->phase = PHASE_HANDLES;
		source->slots = vg_cut_slots(source->config.store);
	}
	/* What is not yet worth a block waits for more, but not for the next phase, nor beside large values. */
	if (source->filled && (source->filled >= VG_SNAPSHOT_BLOCK_BYTES || result != 1 || source->pins_filled))
		give_records(source, vectors, count);
	return 1;
}

/* ---- handles --------------------------------------------------------------------------------------------------- */

static void add_record(struct vg_snapshot_source *source, const struct vg_observed *observed)
{
	__u64 bytes = vg_record_bytes(observed);

	assert(bytes <= room_left(source));
	vg_record_write(source->records + source->filled, observed);
	source->filled += (__u32)bytes;
	source->count++;
}

static bool all_zero(const __u8 *bytes, __u64 length)
{
	return !length || (!bytes[0] && !memcmp(bytes, bytes + 1, length - 1));
}

/* The next part of the handle at hand; a part of zeros is not written: the memory is cleared. */
static int add_part(struct vg_snapshot_source *source)
{
	static _Thread_local __u8 part[HANDLE_PART_BYTES];
	struct vg_observed observed = { .kind = VG_OBSERVED_WRITE,
					.handle = source->handle,
					.offset = source->slot_offset };
	__u64 left = source->handle_length - source->slot_offset;
	int error;

	left = left < HANDLE_PART_BYTES ? left : HANDLE_PART_BYTES;
	error = vg_cut_slot_read(source->config.store, source->view, source->slot, source->slot_offset, part, left);
	if (error)
		return error;
	observed.entry = (struct vg_entry){ .exists = true, .value = part, .length = left };
	if (!all_zero(part, left))
		add_record(source, &observed);
	source->slot_offset += left;
	if (source->slot_offset < source->handle_length)
		return 0;
	source->handle_length = source->slot_offset = 0;
	return vg_cut_pass(source->config.store, source->view, source->slot++);
}

static int begin_handle(struct vg_snapshot_source *source)
{
	struct vg_observed observed = { .kind = VG_OBSERVED_ALLOC };
	int error = vg_cut_slot(source->config.store, source->view, source->slot, &source->handle,
				&source->handle_length, &observed.flags);

	if (error)
		return error;
	if (!source->handle_length)
		return vg_cut_pass(source->config.store, source->view, source->slot++);
	observed.handle = source->handle;
	observed.entry.length = source->handle_length;
	add_record(source, &observed);
	if (observed.flags) {
		observed.kind = VG_OBSERVED_FLAGS;
		add_record(source, &observed);
	}
	source->counts.handles++;
	return 0;
}

static int next_handles(struct vg_snapshot_source *source, struct iovec *vectors, int *count)
{
	int error = 0;

	for (int i = 0; i < SLOTS_A_PIECE && !error && source->slot < source->slots &&
			source->filled < VG_SNAPSHOT_BLOCK_BYTES;
	     i++)
		error = source->handle_length ? add_part(source) : begin_handle(source);
	if (error)
		return error;
	if (source->slot == source->slots)
		source->phase = PHASE_LAST;
	if (source->filled && (source->filled >= VG_SNAPSHOT_BLOCK_BYTES || source->phase == PHASE_LAST))
		give_records(source, vectors, count);
	return 1;
}

/* ---- beginning, end, and what there is between ----------------------------------------------------------------- */

static int next_last(struct vg_snapshot_source *source, struct iovec *vectors, int *count)
{
	source->last = source->counts;
	vectors[1] = (struct iovec){ &source->last, sizeof(source->last) };
	*count = 2;
	finish_block(source, VG_SNAPSHOT_LAST, 0, vectors, count);
	source->phase = PHASE_DONE;
	return 0;
}

int vg_snapshot_source_next(struct vg_snapshot_source *source, struct iovec *vectors, int *count)
{
	*count = 0;
	if (source->pins_given < source->pins_filled) {
		give_pin(source, vectors, count);
		return 1;
	}
	drop_pins(source, 0);
	source->pins_given = source->pin_heads = 0;
	switch (source->phase) {
	case PHASE_HEADER:
		vectors[0] = (struct iovec){ &source->header, sizeof(source->header) };
		*count = 1;
		source->phase = PHASE_KEYS;
		return 1;
	case PHASE_KEYS:
		return next_keys(source, vectors, count);
	case PHASE_HANDLES:
		return next_handles(source, vectors, count);
	case PHASE_LAST:
		return next_last(source, vectors, count);
	case PHASE_DONE:
		break;
	}
	return 0;
}

static void make_header(struct vg_snapshot_source *source)
{
	source->header = (struct vg_snapshot_header){
		.magic = VG_SNAPSHOT_MAGIC,
		.version = VG_SNAPSHOT_VERSION,
		.node = source->config.node,
		.identity = source->config.identity,
		.log_sequence = source->config.log_sequence,
		.created_ms = source->config.now_ms,
	};
	source->header.crc = vg_crc32c(0, &source->header, offsetof(struct vg_snapshot_header, crc));
}

int vg_snapshot_source_new(struct vg_snapshot_source **ret_source, const struct vg_snapshot_source_config *config)
{
	const struct vg_mem *mem = vg_store_mem(config->store);
	struct vg_snapshot_source *source = mem->alloc(mem->context, sizeof(*source));
	int error = -ENOMEM;

	if (!source)
		return -ENOMEM;
	*source = (struct vg_snapshot_source){ .config = *config, .mem = mem, .room = ROOM_FIRST,
					       .pins_room = PINS_FIRST };
	source->records = take(source, source->room);
	source->pins = take(source, source->pins_room * sizeof(*source->pins));
	if (!source->records || !source->pins)
		goto fail;
	if (config->compress) {
		source->zstd = ZSTD_createCCtx();
		source->packed_room = ZSTD_compressBound(source->room);
		source->packed = take(source, source->packed_room);
		if (!source->zstd || !source->packed)
			goto fail;
	}
	error = vg_cut_open(config->store, true, config->now_ms, config->lease_until_ms, &source->view);
	if (error)
		goto fail;
	make_header(source);
	*ret_source = source;
	return 0;
fail:
	vg_snapshot_source_free(source);
	return error;
}

void vg_snapshot_source_free(struct vg_snapshot_source *source)
{
	if (!source)
		return;
	if (source->view)
		vg_cut_close(source->config.store, source->view);
	drop_pins(source, 0);
	ZSTD_freeCCtx(source->zstd);
	give(source, source->packed);
	give(source, source->records);
	give(source, source->pins);
	source->mem->free(source->mem->context, source);
}

const struct vg_snapshot_counts *vg_snapshot_source_counts(const struct vg_snapshot_source *source)
{
	return &source->counts;
}

__u32 vg_snapshot_source_permille(const struct vg_snapshot_source *source)
{
	if (source->phase < PHASE_HANDLES)
		return (__u32)(source->position * 900 >> 32);
	if (source->phase > PHASE_HANDLES || !source->slots)
		return 1000;
	return 900 + (__u32)(source->slot * 100ULL / source->slots);
}

__u64 vg_snapshot_source_view(const struct vg_snapshot_source *source)
{
	return source->view;
}
