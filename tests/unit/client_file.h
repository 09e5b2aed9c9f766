/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of the client's files have in common: a cluster for all tests of a program, a client for each. */
#ifndef VG_TESTS_CLIENT_FILE_H
#define VG_TESTS_CLIENT_FILE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/uio.h>
#include <time.h>

#include "base/prng.h"
#include "real_node.h"

#define TIMEOUT_MS 20000

static struct real_cluster *cluster;
static struct virgo *v;
static __u64 seed = 0x5eed;

static inline int stop(void **state)
{
	(void)state;
	real_stop(cluster);
	return 0;
}

static inline int connect_client(void **state)
{
	(void)state;
	v = real_client(cluster, TIMEOUT_MS, NULL);
	return 0;
}

static inline int disconnect_client(void **state)
{
	(void)state;
	virgo_disconnect(v);
	return 0;
}

static inline uint64_t draw(uint64_t below)
{
	return vg_prng_next(&seed) % below;
}

static inline void fill(uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		data[i] = (uint8_t)vg_prng_next(&seed);
}

static inline void put_text(const char *path, const char *text)
{
	assert_int_equal(virgo_file_put(v, path, text, strlen(text), 0, 0644), 0);
}

static inline void expect_text(const char *path, const char *text)
{
	void *data;
	size_t length;

	assert_int_equal(virgo_file_get(v, path, &data, &length, NULL), 0);
	assert_string_equal(data, text);
	assert_int_equal(length, strlen(text));
	free(data);
}

static inline void make(const char *path, int flags, struct virgo_file **ret_file)
{
	assert_int_equal(virgo_open(v, path, flags | O_CREAT, 0644, ret_file), 0);
}

/* As if the network had: at once, with what is in it. */
static inline void cut(struct virgo *client)
{
	struct pollfd polled[64];
	int timeout_ms, count = virgo_descriptors(client, polled, 64, &timeout_ms);

	for (int i = 0; i < count; i++) {
		int type = 0;
		socklen_t length = sizeof(type);

		(void)getsockopt(polled[i].fd, SOL_SOCKET, SO_TYPE, &type, &length);
		if (type == SOCK_STREAM)
			(void)shutdown(polled[i].fd, SHUT_RDWR);
	}
}

/* ---- against memory ---------------------------------------------------------------------------------------------- */

#define MODEL_BYTES (6u << 20)

static inline void compare(struct virgo_file *file, const uint8_t *model, uint64_t size, uint8_t *scratch)
{
	assert_int_equal(virgo_pread(v, file, scratch, MODEL_BYTES, 0), size);
	assert_memory_equal(scratch, model, size);
}

/* Random reads, writes and truncations of any length, with connections lost in the middle, compared with memory. */
static inline void random_operations(const char *path, struct virgo_file *file, unsigned int operations)
{
	uint8_t *model = calloc(1, MODEL_BYTES), *data = malloc(MODEL_BYTES), *scratch = malloc(MODEL_BYTES);
	uint64_t size = 0;

	assert_true(model && data && scratch);
	fill(data, MODEL_BYTES);
	for (unsigned int i = 0; i < operations; i++) {
		uint64_t at = draw(MODEL_BYTES), length = draw(4) ? draw(9000) : draw(MODEL_BYTES);
		uint64_t until = at + length < MODEL_BYTES ? at + length : MODEL_BYTES, expected;

		length = until - at;
		if (draw(10) == 0)
			cut(v);
		switch (draw(8)) {
		case 0:
			if (at < size)
				memset(model + at, 0, size - at);
			assert_int_equal(draw(2) ? virgo_ftruncate(v, file, at) : virgo_truncate(v, path, at), 0);
			size = at;
			break;
		case 1:
		case 2:
		case 3:
			memcpy(model + at, data + draw(1000), length < MODEL_BYTES - 1000 ? length : (length = MODEL_BYTES - 1000));
			assert_int_equal(virgo_pwrite(v, file, model + at, length, at), length);
			size = length && at + length > size ? at + length : size;
			break;
		default:
			expected = at >= size ? 0 : size - at < length ? size - at : length;
			assert_int_equal(virgo_pread(v, file, scratch, length, at), expected);
			assert_memory_equal(scratch, model + at, expected);
		}
	}
	compare(file, model, size, scratch);
	free(model);
	free(data);
	free(scratch);
}

/* ---- watches ----------------------------------------------------------------------------------------------------- */

struct seen {
	unsigned int created, deleted, lost;
	char name[64];
};

static inline void note_event(void *context, uint32_t mask, uint32_t cookie, const char *name)
{
	struct seen *seen = context;

	(void)cookie;
	seen->created += (mask & IN_CREATE) != 0;
	seen->deleted += (mask & IN_DELETE) != 0;
	seen->lost += (mask & IN_Q_OVERFLOW) != 0;
	(void)snprintf(seen->name, sizeof(seen->name), "%s", name);
}

static inline bool soon(const unsigned int *count, unsigned int least)
{
	for (int i = 0; i < 1000 && *count < least; i++) {
		(void)virgo_poll(v);
		(void)usleep(10000);
	}
	return *count >= least;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, connect_client, disconnect_client)

#endif
