/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Snapshots: all keys and handles of one moment, as bytes. docs/durability.md shows the format byte by byte.
 *
 * The format is in include/virgo/snapshot.h; what is in blocks are records (record.h).
 *
 *   source   makes the bytes from a view, piece by piece: snapshot_source.c
 *   writer   puts a source's bytes into a file through a worker's ring: snapshot_write.c
 *   reader   checks bytes and hands out records: snapshot_read.c; loading a file at start: snapshot_load.c
 */
#ifndef VG_POOL_SNAPSHOT_H
#define VG_POOL_SNAPSHOT_H

#include "pool/durable.h"
#include "pool/record.h"
#include "pool/version.h"
#include "uring/io.h"
#include "virgo/snapshot.h"

#define VG_SNAPSHOT_BLOCK_BYTES 65536	    /* of records, about; a block with a large value is larger */
#define VG_SNAPSHOT_LARGE_BYTES 16384 /* a value from here on is written from where it lies, in a block of its own */
#define VG_SNAPSHOT_RAW_MAX VG_RECORD_BYTES_MAX

__u32 vg_snapshot_crc(const struct vg_snapshot_block *block, __u64 identity, const struct iovec *vectors, int count);

/* ---- source ---------------------------------------------------------------------------------------------------- */

struct vg_snapshot_source;
struct vg_snapshot_source_config {
	struct vg_store *store;
	__u64 now_ms;
	__u64 lease_until_ms; /* 0: none */
	__u64 identity;
	__u64 log_sequence;   /* asked before this call */
	__u16 node;
	bool compress;
};
/* Makes its cut now. -ENOMEM, -EBUSY (try again). Memory is of the heap tier. */
int vg_snapshot_source_new(struct vg_snapshot_source **ret_source, const struct vg_snapshot_source_config *config);
void vg_snapshot_source_free(struct vg_snapshot_source *source); /* accepts NULL */
/*
 * The next piece, as up to VG_SNAPSHOT_VECTORS vectors that stay until the next call; *ret_count may be 0: call again.
 * A call does a bounded amount of work, on any worker's thread. 1: there is more; 0: this was the last; negative: why
 * the view ended (version.h), or -ENOMEM.
 */
#define VG_SNAPSHOT_VECTORS 4
int vg_snapshot_source_next(struct vg_snapshot_source *source, struct iovec *ret_vectors, int *ret_count);
const struct vg_snapshot_counts *vg_snapshot_source_counts(const struct vg_snapshot_source *source);
__u32 vg_snapshot_source_permille(const struct vg_snapshot_source *source);
__u64 vg_snapshot_source_view(const struct vg_snapshot_source *source);

/* ---- writer ---------------------------------------------------------------------------------------------------- */

struct vg_snapshot_writer;
struct vg_snapshot_result {
	int error; /* 0: the file is complete and safe under its name */
	struct vg_snapshot_counts counts;
	__u64 file_bytes, log_sequence;
	char why[128];
};
typedef void (*vg_snapshot_done_fn)(void *context, const struct vg_snapshot_result *result);

struct vg_snapshot_writer_config {
	struct vg_snapshot_source_config source;
	struct vg_io *io;
	int directory_fd;     /* stays open until the end */
	const char *name;     /* in the directory; until the end ".tmp" follows it */
	__u64 pause_ns;	      /* between pieces, so that others have the worker meanwhile; 0: none */
	vg_snapshot_done_fn done; /* once, later, on this thread; the writer goes when it returns */
	void *context;
};
/* 0, or why it cannot begin (and `done` is not called): -EBUSY, -ENOMEM, what open(2) says. */
int vg_snapshot_writer_new(struct vg_snapshot_writer **ret_writer, const struct vg_snapshot_writer_config *config);
/* End soon; `done` comes with -ECANCELED. */
void vg_snapshot_writer_cancel(struct vg_snapshot_writer *writer);
/* The worker has ended, with its vg_io; `done` does not come. Accepts NULL. */
void vg_snapshot_writer_free(struct vg_snapshot_writer *writer);
/* Any thread, while the writer is there. */
__u32 vg_snapshot_writer_permille(const struct vg_snapshot_writer *writer);

/* ---- reader ---------------------------------------------------------------------------------------------------- */

/* Checks a header; 0, -EILSEQ (not a snapshot, or damaged), -EPROTONOSUPPORT (another version). */
int vg_snapshot_header_check(const void *data, struct vg_snapshot_header *ret_header);
/*
 * Checks the header of a block: what can be said before the rest is there. `left`: bytes that can still follow it.
 * -EILSEQ.
 */
int vg_snapshot_block_check(const void *data, __u64 number, __u64 left, struct vg_snapshot_block *ret_block);
/*
 * A whole block, header first: its records, one after the other. fn's error ends it. -EILSEQ: damaged; -ENOMEM: for
 * unpacking. `counts` is added to; for the last block it is compared.
 */
typedef int (*vg_snapshot_record_fn)(void *context, const struct vg_record *record);
int vg_snapshot_block_read(const void *data, const struct vg_snapshot_block *block, __u64 identity,
			   struct vg_snapshot_counts *counts, vg_snapshot_record_fn fn, void *context);

/* Read a whole file; all records go to fn. *ret_offset: where it was when it failed. As vg_snapshot_load else. */
int vg_snapshot_file_read(int fd, struct vg_snapshot_header *ret_header, struct vg_snapshot_counts *ret_counts,
			  vg_snapshot_record_fn fn, void *context, vg_progress_fn progress, void *progress_context,
			  __u64 *ret_offset);
/* The data directory's snapshot into an empty store: a vg_snapshot_load_fn (durable.h). */
int vg_snapshot_load(struct vg_store *store, int directory_fd, vg_progress_fn progress, void *context,
		     __u64 *ret_sequence, char *why, size_t why_bytes);

#endif
