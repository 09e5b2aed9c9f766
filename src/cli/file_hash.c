/* SPDX-License-Identifier: GPL-3.0-or-later */
#define XXH_INLINE_ALL
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "cli/file.h"

#define READ_BYTES (4u << 20)

struct file_hash {
	XXH3_state_t state;
};

struct file_hash *file_hash_new(void)
{
	struct file_hash *hash = aligned_alloc(64, (sizeof(*hash) + 63) / 64 * 64); /* the state asks for that */

	if (hash)
		(void)XXH3_64bits_reset(&hash->state);
	return hash;
}

void file_hash_free(struct file_hash *hash)
{
	free(hash);
}

void file_hash_add(void *hash, const void *data, size_t length)
{
	(void)XXH3_64bits_update(&((struct file_hash *)hash)->state, data, length);
}

__u64 file_hash_value(const struct file_hash *hash)
{
	return XXH3_64bits_digest(&hash->state);
}

__u64 file_hash_of(const void *data, size_t length)
{
	return XXH3_64bits(data, length);
}

int file_hash_read(struct virgo *virgo, struct file_end *handle, __u64 length, struct file_hash *hash)
{
	char *buffer = malloc(READ_BYTES);
	int error = buffer ? 0 : -ENOMEM;

	for (__u64 at = 0; at < length && !error;) {
		size_t part = length - at < READ_BYTES ? (size_t)(length - at) : READ_BYTES;
		ssize_t got = handle->file ? virgo_pread(virgo, handle->file, buffer, part, at)
					   : file_read_here(handle, buffer, part, at);

		if (got > 0) {
			file_hash_add(hash, buffer, (size_t)got);
			at += (__u64)got;
		} else {
			error = got ? (int)got : -ENODATA;
		}
	}
	free(buffer);
	return error;
}

int file_hash_known(struct virgo *virgo, struct file_place place, const struct virgo_file_stat *stat, __u64 *ret_value)
{
	uint64_t value, size;
	int64_t modified_ns;
	char text[80];

	if (file_get_note(virgo, place, FILE_HASH_NOTE, text, sizeof(text)) ||
	    sscanf(text, "%" SCNx64 " %" SCNu64 " %" SCNd64, &value, &size, &modified_ns) != 3 ||
	    size != stat->size || modified_ns != stat->modified_ns)
		return -ENODATA;
	*ret_value = value;
	return 0;
}

int file_hash_file(struct virgo *virgo, struct file_place place, const struct virgo_file_stat *stat, __u64 *ret_value)
{
	struct file_end handle;
	struct file_hash *hash;
	int error = file_hash_known(virgo, place, stat, ret_value);

	if (error != -ENODATA)
		return error;
	error = file_open(virgo, place, O_RDONLY, 0, 0, &handle);
	if (error)
		return error;
	hash = file_hash_new();
	error = hash ? file_hash_read(virgo, &handle, stat->size, hash) : -ENOMEM;
	if (!error)
		*ret_value = file_hash_value(hash);
	file_hash_free(hash);
	(void)file_close(virgo, &handle);
	return error;
}

int file_hash_note(struct virgo *virgo, struct file_place place, __u64 size, int64_t modified_ns, __u64 value)
{
	char text[80];

	(void)snprintf(text, sizeof(text), "%016" PRIx64 " %" PRIu64 " %" PRId64, (uint64_t)value, (uint64_t)size,
		       modified_ns);
	return file_set_note(virgo, place, FILE_HASH_NOTE, text);
}
