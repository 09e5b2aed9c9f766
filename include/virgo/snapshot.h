/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A snapshot as a file: all keys and handles of one moment. docs/durability.md shows it byte by byte.
 *
 *   header | block … | last block
 *
 * A block is a header and records one after the other, perhaps compressed; its checksum (CRC-32C) covers both, and
 * blocks are numbered and name their file, so that no piece can be missing, doubled or of another file unnoticed. The
 * last block holds counts. Integers are little-endian.
 */
#ifndef VIRGO_SNAPSHOT_H
#define VIRGO_SNAPSHOT_H

#include "types.h"

#define VG_SNAPSHOT_MAGIC 0x50414e534f475256ULL /* "VRGOSNAP" */
#define VG_SNAPSHOT_VERSION 1
#define VG_SNAPSHOT_BLOCK_MAGIC 0x4b4c4256u /* "VBLK" */

struct vg_snapshot_header {
	__u64 magic;
	__u32 version;
	__u32 node;	    /* whose handles these are */
	__u64 identity;	    /* drawn at random: blocks of this file name it */
	__u64 log_sequence; /* every change of the log up to this one is in here */
	__u64 created_ms;   /* the moment, Unix milliseconds */
	__u64 reserved[2];
	__u32 reserved2;
	__u32 crc;	    /* of all before */
};
VG_ASSERT_SIZE(struct vg_snapshot_header, 64);

enum vg_snapshot_block_kind { VG_SNAPSHOT_RECORDS = 1, VG_SNAPSHOT_LAST = 2 };
enum vg_snapshot_codec { VG_SNAPSHOT_PLAIN = 0, VG_SNAPSHOT_ZSTD = 1 };

struct vg_snapshot_block {
	__u32 magic;
	__u32 crc; /* of the header with zero here, of the identity, and of what is stored */
	__u8 kind, codec;
	__u16 reserved;
	__u32 records;
	__u32 stored_bytes; /* behind this header */
	__u32 raw_bytes;    /* of the records */
	__u64 number;	    /* from 0 */
};
VG_ASSERT_SIZE(struct vg_snapshot_block, 32);

struct vg_snapshot_counts { /* what the last block holds */
	__u64 keys, handles, records, raw_bytes, blocks;
};

#endif
