// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The snapshot's reader: any bytes as a file, and as blocks whose checksums and numbers are right, so that what is in
 * them is met as well. What is read is applied to a store: looked for are crashes and what sanitizers find.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/crc32c.h"
#include "pool/snapshot.h"

#define NOW_MS 1700000000000ULL
#define ARENA_BYTES (8u << 20)
#define HEAP_BYTES (64u << 20)
#define RUNS_BETWEEN_CLEARS 500

static struct vg_store *store_make(void)
{
	struct vg_store_config config = {
		.arena_bytes = ARENA_BYTES,
		.heap_bytes = HEAP_BYTES,
		.node = 7,
		.workers = 1,
		.instance = 1,
		.now_ms = NOW_MS,
	};
	struct vg_store *store;

	config.arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (config.arena == MAP_FAILED || vg_store_new(&store, &config, NULL))
		abort();
	vg_store_worker(store, 0);
	return store;
}

static int apply(void *context, const struct vg_record *record)
{
	int error;

	/* A well-made lie about lengths may ask for more memory than there is: that is an error, not a crash. */
	error = vg_record_apply(context, record);
	return error == -ENOMEM || error == -ESTALE || error == -ELOOP ? 0 : error;
}

/* The bytes become what checksums and numbers ask for. */
static void repair(__u8 *data, size_t length)
{
	struct vg_snapshot_header header;
	size_t at = sizeof(header);

	if (length < sizeof(header))
		return;
	memcpy(&header, data, sizeof(header));
	header.magic = VG_SNAPSHOT_MAGIC;
	header.version = VG_SNAPSHOT_VERSION;
	header.crc = vg_crc32c(0, &header, offsetof(struct vg_snapshot_header, crc));
	memcpy(data, &header, sizeof(header));
	for (__u64 number = 0; length - at >= sizeof(struct vg_snapshot_block); number++) {
		struct vg_snapshot_block block;
		struct iovec body;

		memcpy(&block, data + at, sizeof(block));
		block.magic = VG_SNAPSHOT_BLOCK_MAGIC;
		block.number = number;
		if (block.stored_bytes > length - at - sizeof(block))
			block.stored_bytes = (__u32)(length - at - sizeof(block));
		if (!block.codec)
			block.raw_bytes = block.stored_bytes;
		body = (struct iovec){ data + at + sizeof(block), block.stored_bytes };
		block.crc = vg_snapshot_crc(&block, header.identity, &body, 1);
		memcpy(data + at, &block, sizeof(block));
		at += sizeof(block) + block.stored_bytes;
	}
}

static void read_all(struct vg_store *store, const __u8 *data, size_t length)
{
	struct vg_snapshot_counts counts = { 0 };
	struct vg_snapshot_header header;
	struct vg_snapshot_block block;
	size_t at = sizeof(header);

	if (length < sizeof(header) || vg_snapshot_header_check(data, &header))
		return;
	while (length - at >= sizeof(block) &&
	       !vg_snapshot_block_check(data + at, counts.blocks, length - at - sizeof(block), &block) &&
	       !vg_snapshot_block_read(data + at, &block, header.identity, &counts, apply, store) &&
	       block.kind != VG_SNAPSHOT_LAST)
		at += sizeof(block) + block.stored_bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	static struct vg_store *store;
	static int runs;
	__u8 *copy;

	if (!store)
		store = store_make();
	if (!length)
		return 0;
	copy = malloc(length);
	if (!copy)
		abort();
	memcpy(copy, data + 1, length - 1);
	if (data[0] & 1)
		repair(copy, length - 1);
	read_all(store, copy, length - 1);
	free(copy);
	if (++runs % RUNS_BETWEEN_CLEARS == 0)
		vg_store_clear(store);
	return 0;
}
