/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From the bytes of a snapshot to records. Nothing in them is believed before it was checked. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "base/crc32c.h"
#include "pool/snapshot.h"

#define PROGRESS_BYTES (1u << 20) /* told after so many */

int vg_snapshot_header_check(const void *data, struct vg_snapshot_header *ret_header)
{
	struct vg_snapshot_header header;

	memcpy(&header, data, sizeof(header));
	if (header.magic != VG_SNAPSHOT_MAGIC)
		return -EILSEQ;
	if (header.version != VG_SNAPSHOT_VERSION)
		return -EPROTONOSUPPORT;
	if (header.crc != vg_crc32c(0, &header, offsetof(struct vg_snapshot_header, crc)) || header.reserved[0] ||
	    header.reserved[1] || header.reserved2)
		return -EILSEQ;
	*ret_header = header;
	return 0;
}

int vg_snapshot_block_check(const void *data, __u64 number, __u64 left, struct vg_snapshot_block *ret_block)
{
	struct vg_snapshot_block block;

	memcpy(&block, data, sizeof(block));
	if (block.magic != VG_SNAPSHOT_BLOCK_MAGIC || block.number != number || block.reserved ||
	    block.codec > VG_SNAPSHOT_ZSTD || block.stored_bytes > left || block.raw_bytes > VG_SNAPSHOT_RAW_MAX)
		return -EILSEQ;
	if (block.kind == VG_SNAPSHOT_LAST) {
		if (block.codec || block.stored_bytes != sizeof(struct vg_snapshot_counts) || block.records)
			return -EILSEQ;
	} else if (block.kind != VG_SNAPSHOT_RECORDS || !block.records) {
		return -EILSEQ;
	}
	if (block.codec == VG_SNAPSHOT_PLAIN && block.stored_bytes != block.raw_bytes)
		return -EILSEQ;
	*ret_block = block;
	return 0;
}

/* ---- one block ------------------------------------------------------------------------------------------------- */

/* A snapshot says what is there; what a log says of changes has no place in it. */
static bool belongs(const struct vg_record *record)
{
	return record->kind == VG_RECORD_SET || record->kind == VG_RECORD_ALLOC || record->kind == VG_RECORD_WRITE ||
	       record->kind == VG_RECORD_FLAGS;
}

static int read_records(const __u8 *data, const struct vg_snapshot_block *block, struct vg_snapshot_counts *counts,
			vg_snapshot_record_fn fn, void *context)
{
	__u32 at = 0, records = 0;
	int error = 0;

	for (; at < block->raw_bytes && !error; records++) {
		struct vg_record record = { 0 };

		if (!vg_record_take(data + at, block->raw_bytes - at, &record) || !belongs(&record))
			return -EILSEQ;
		counts->keys += record.kind == VG_RECORD_SET;
		counts->handles += record.kind == VG_RECORD_ALLOC;
		at += record.length;
		error = fn(context, &record);
	}
	if (!error && records != block->records)
		return -EILSEQ;
	counts->records += records;
	counts->raw_bytes += block->raw_bytes;
	counts->blocks++;
	return error;
}

static int read_packed(const void *data, const struct vg_snapshot_block *block, struct vg_snapshot_counts *counts,
		       vg_snapshot_record_fn fn, void *context)
{
	size_t unpacked;
	void *raw;
	int error;

	/* What is packed says its length itself; a lie costs no memory. */
	if (ZSTD_getFrameContentSize(data, block->stored_bytes) != block->raw_bytes)
		return -EILSEQ;
	raw = malloc(block->raw_bytes ? block->raw_bytes : 1);
	if (!raw)
		return -ENOMEM;
	unpacked = ZSTD_decompress(raw, block->raw_bytes, data, block->stored_bytes);
	if (ZSTD_isError(unpacked) || unpacked != block->raw_bytes)
		error = -EILSEQ;
	else
		error = read_records(raw, block, counts, fn, context);
	free(raw);
	return error;
}

int vg_snapshot_block_read(const void *data, const struct vg_snapshot_block *block, __u64 identity,
			   struct vg_snapshot_counts *counts, vg_snapshot_record_fn fn, void *context)
{
	const struct iovec body = { (__u8 *)data + sizeof(*block), block->stored_bytes };

	if (vg_snapshot_crc(block, identity, &body, 1) != block->crc)
		return -EILSEQ;
	if (block->kind == VG_SNAPSHOT_LAST) {
		struct vg_snapshot_counts said;

		memcpy(&said, body.iov_base, sizeof(said));
		return memcmp(&said, counts, sizeof(said)) ? -EILSEQ : 0;
	}
	if (block->codec == VG_SNAPSHOT_ZSTD)
		return read_packed(body.iov_base, block, counts, fn, context);
	return read_records(body.iov_base, block, counts, fn, context);
}

/* ---- a whole file ---------------------------------------------------------------------------------------------- */

struct reading {
	int fd;
	__u64 at, size, told;
	__u8 *buffer;
	size_t room;
	vg_progress_fn progress;
	void *progress_context;
};

static int read_whole(struct reading *reading, void *to, size_t bytes)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t got = pread(reading->fd, (__u8 *)to + done, bytes - done, (off_t)(reading->at + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -EILSEQ;
		done += (size_t)got;
	}
	return 0;
}

static int make_room(struct reading *reading, size_t bytes)
{
	__u8 *buffer;

	if (bytes <= reading->room)
		return 0;
	buffer = realloc(reading->buffer, bytes);
	if (!buffer)
		return -ENOMEM;
	reading->buffer = buffer;
	reading->room = bytes;
	return 0;
}

static void tell(struct reading *reading)
{
	if (!reading->progress || (reading->at < reading->told + PROGRESS_BYTES && reading->at != reading->size))
		return;
	reading->told = reading->at;
	reading->progress(reading->progress_context, "snapshot", reading->at, reading->size);
}

static int read_block(struct reading *reading, __u64 identity, struct vg_snapshot_counts *counts,
		      vg_snapshot_record_fn fn, void *context, bool *ret_last)
{
	struct vg_snapshot_block block;
	__u64 left = reading->size - reading->at;
	int error;

	if (left < sizeof(block))
		return -EILSEQ;
	error = read_whole(reading, reading->buffer, sizeof(block));
	error = error ?: vg_snapshot_block_check(reading->buffer, counts->blocks, left - sizeof(block), &block);
	error = error ?: make_room(reading, sizeof(block) + block.stored_bytes);
	error = error ?: read_whole(reading, reading->buffer, sizeof(block) + block.stored_bytes);
	error = error ?: vg_snapshot_block_read(reading->buffer, &block, identity, counts, fn, context);
	if (error)
		return error;
	reading->at += sizeof(block) + block.stored_bytes;
	*ret_last = block.kind == VG_SNAPSHOT_LAST;
	tell(reading);
	return 0;
}

int vg_snapshot_file_read(int fd, struct vg_snapshot_header *ret_header, struct vg_snapshot_counts *ret_counts,
			  vg_snapshot_record_fn fn, void *context, vg_progress_fn progress, void *progress_context,
			  __u64 *ret_offset)
{
	struct reading reading = { .fd = fd, .progress = progress, .progress_context = progress_context };
	struct vg_snapshot_counts counts = { 0 };
	struct stat status;
	bool last = false;
	int error = fstat(fd, &status) ? -errno : make_room(&reading, 2 * VG_SNAPSHOT_BLOCK_BYTES);

	if (!error) {
		reading.size = (__u64)status.st_size;
		error = reading.size < sizeof(*ret_header) ? -EILSEQ : 0;
	}
	error = error ?: read_whole(&reading, reading.buffer, sizeof(*ret_header));
	error = error ?: vg_snapshot_header_check(reading.buffer, ret_header);
	if (!error)
		reading.at = sizeof(*ret_header);
	while (!error && !last)
		error = read_block(&reading, ret_header->identity, &counts, fn, context, &last);
	if (!error && reading.at != reading.size)
		error = -EILSEQ; /* there is something behind the end */
	free(reading.buffer);
	*ret_offset = reading.at;
	*ret_counts = counts;
	return error;
}
