/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records: how changes lie in the write-ahead log. A record is a header, what its kind has, and zeros up to a multiple
 * of 8 bytes; its checksum (CRC-32C) covers all behind itself. Integers are little-endian. docs/durability.md shows the
 * format byte by byte.
 *
 *   SET          [deadline] [version, client flags, marks] key value    in brackets: there if `flags` says so
 *   DELETE       key
 *   DEADLINE     deadline key                                             0: none any more
 *   CLEAR        -                                                        all keys
 *   ALLOC        handle length                                            cleared memory
 *   WRITE        handle offset bytes
 *   FLAGS        handle flags
 *   RELEASE      handle
 *   TRANSACTION  records of the kinds above, without checksums of their own: all or none
 *   SEGMENT      the first of a file: magic, version, node, identity of the log, number of the segment
 *   BATCH        the first of what was written at once: the number up to which changes were on stable storage then
 *
 * Changes are numbered from 1, without gaps: record after record, file after file. SEGMENT and BATCH have the number of
 * the change that follows.
 */
#ifndef VG_POOL_RECORD_H
#define VG_POOL_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "pool/store.h"

#define VG_RECORD_ALIGN 8
#define VG_RECORD_BYTES_MAX (3u << 30) /* of one record, header included */
#define VG_SEGMENT_MAGIC 0x474f4c4f47524956ULL /* "VIRGOLOG" */
#define VG_SEGMENT_VERSION 1

enum vg_record_kind {
	VG_RECORD_SET = 1,
	VG_RECORD_DELETE,
	VG_RECORD_DEADLINE,
	VG_RECORD_CLEAR,
	VG_RECORD_ALLOC,
	VG_RECORD_WRITE,
	VG_RECORD_FLAGS,
	VG_RECORD_RELEASE,
	VG_RECORD_TRANSACTION,
	VG_RECORD_SEGMENT,
	VG_RECORD_BATCH,
	VG_RECORD_MAX
};
const char *vg_record_kind_text(unsigned int kind); /* "set"; "?" for what is none */

#define VG_RECORD_DEADLINED 1 /* SET has a deadline */
#define VG_RECORD_META 2      /* SET has version, client flags and marks */

struct vg_record_header {
	__u32 crc;
	__u32 length;	  /* of the whole record, a multiple of 8 */
	__u64 sequence;
	__u8 kind;
	__u8 flags;
	__u8 padding;	  /* zero bytes at the end, 0 … 7 */
	__u8 reserved;	  /* zero */
	__u32 key_length;
};
_Static_assert(sizeof(struct vg_record_header) == 24, "the format on disk");

/* A record taken apart. Pointers are into the bytes it was read from. */
struct vg_record {
	__u8 kind;
	__u32 length;	    /* of the whole record */
	__u64 sequence;
	const void *key;
	__u32 key_length;
	const void *value;  /* SET, WRITE: the bytes; TRANSACTION: the records inside */
	__u64 value_length; /* their length; ALLOC: of the allocation */
	__u64 expire_ms;
	__u64 version;
	__u32 client_flags, marks;
	__u64 handle, offset;
	__u32 flags;	    /* FLAGS */
	__u64 durable;	    /* BATCH */
	__u64 identity;	    /* SEGMENT: of the log */
	__u32 number, node; /* SEGMENT */
};

enum vg_record_verdict {
	VG_RECORD_OK,
	VG_RECORD_MORE, /* ret_record->length bytes are needed, or a header's worth when it is 0 */
	VG_RECORD_END,	/* zeros: nothing was written here */
	VG_RECORD_BAD,
};
/*
 * The record at `data`, of which `available` bytes are there. OK says that the checksum is right and every length lies
 * within the record, also of records inside. Any bytes may be given.
 */
enum vg_record_verdict vg_record_read(const void *data, size_t available, struct vg_record *ret_record);
/* The next of a transaction's records, from *at (0 first); false: that was the last. */
bool vg_record_next(const struct vg_record *transaction, size_t *at, struct vg_record *ret_record);

/*
 * The record at the front of bytes that have a checksum of their own (a snapshot's block): its own is not looked at,
 * nor may it be a transaction. Any bytes may be given; false: it is none.
 */
bool vg_record_take(const void *data, size_t available, struct vg_record *ret_record);

/* Bytes that the change takes as a record; 0: it has none (EXPIRED, CLEARED, BEGIN, END). */
__u64 vg_record_bytes(const struct vg_observed *observed);
/* Write it, without checksum and number. `to` is 8-byte aligned and has room for so many. */
void vg_record_write(void *to, const struct vg_observed *observed);
/* The head of a transaction whose records lie behind it, `bytes` in all. */
void vg_record_write_transaction(void *to, __u64 bytes);
#define VG_RECORD_BATCH_BYTES 32
#define VG_RECORD_SEGMENT_BYTES 56
void vg_record_write_batch(void *to, __u64 sequence, __u64 durable);
void vg_record_write_segment(void *to, __u64 sequence, __u64 identity, __u32 number, __u32 node);
/*
 * Give the record its number and checksum: of what lies behind the header first, without its number, so that the time
 * between knowing the number and being whole is short.
 */
__u32 vg_record_body_crc(const void *record);
void vg_record_seal(void *record, __u32 body_crc, __u64 sequence);

/*
 * Do to the store what the record says, transactions too. 0, or a negative errno of the store. Before workers start, by
 * a thread that is worker 0; handles as vg_store_handle_restore says. Doing records again that the store has seen
 * already does no harm as long as all later ones follow.
 */
int vg_record_apply(struct vg_store *store, const struct vg_record *record);

#endif
