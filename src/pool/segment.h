/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The files of the write-ahead log as they are found: which there are, their records in order, and what it means when
 * one is not right. Start-up and `virgo check-log` read the log with this.
 */
#ifndef VG_POOL_SEGMENT_H
#define VG_POOL_SEGMENT_H

#include "pool/record.h"

#define VG_SEGMENT_NAME_BYTES 24
#define VG_SEGMENT_NUMBER_MAX 4000000000u

void vg_segment_name(__u32 number, char name[VG_SEGMENT_NAME_BYTES]);
/* The number of a segment's file name; 0: it is none. */
__u32 vg_segment_number(const char *name);
/* All segments of a directory, ascending; the caller frees them. */
int vg_segments_list(int directory_fd, __u32 **ret_numbers, __u32 *ret_count);

/* ---- one file -------------------------------------------------------------------------------------------------- */

struct vg_segment_reader {
	int fd;
	__u64 size;	   /* of the file */
	__u64 at;	   /* where the next record begins */
	__u8 *buffer;
	__u64 base;	   /* of the buffer in the file */
	size_t length, capacity;
};
int vg_segment_open(struct vg_segment_reader *ret_reader, int directory_fd, const char *name);
void vg_segment_close(struct vg_segment_reader *reader);
/* The record at reader->at, which moves behind it when it is whole. Zeros up to the end are VG_RECORD_END. */
int vg_segment_read(struct vg_segment_reader *reader, struct vg_record *ret_record,
		    enum vg_record_verdict *ret_verdict);
/* The next BATCH or SEGMENT at or behind reader->at, which moves behind it. -ENOENT. */
int vg_segment_seek(struct vg_segment_reader *reader, struct vg_record *ret_record);

/* ---- all of them ----------------------------------------------------------------------------------------------- */

enum vg_walk_end {
	VG_WALK_WHOLE,	 /* every record was right */
	VG_WALK_TORN,	 /* what is behind was never said to be safe: it was being written when everything ended */
	VG_WALK_CORRUPT, /* what is not right had been safe: the storage lost it, or somebody changed it */
	VG_WALK_MISSING, /* changes are missing before the first record of a file */
};
const char *vg_walk_end_text(enum vg_walk_end end);

struct vg_walk_result {
	enum vg_walk_end end;
	__u32 segment;	/* WHOLE: the last; else the one that is not right, … */
	__u64 offset;	/* … and where in it */
	__u64 expected;	/* the number of the change that should be there */
	__u64 identity;	/* of the log, 0: there is none */
	__u64 records, bytes;
};
struct vg_walk {
	int directory_fd;
	__u64 after; /* changes up to this one are not needed: a snapshot has them */
	/* For every record that is right. Not 0 ends the walk with that. */
	int (*record)(void *context, __u32 segment, __u64 offset, const struct vg_record *record);
	void *context;
};
/* 0, a negative errno of reading the directory or a file (see *ret_result), or what `record` said. */
int vg_segments_walk(const struct vg_walk *walk, struct vg_walk_result *ret_result);

#endif
