/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is refused of operations on bytes, each with its errno, and small files put and fetched as a whole. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "bytes_fixture.h"

static void refused(struct vg_world *world, struct client *client, int error)
{
	__u8 start[128];
	__u32 length;
	int answered = answer_of(world, client, &length, start);

	if (answered != error)
		fail_msg("operation %d answered %d, not %d", client->header.opcode, answered, error);
}

static void read_refused(struct vg_world *world, struct client *client, __u64 file, __u64 offset, __u32 length,
			 __u32 reserved, int error)
{
	struct vg_file_span span = { VG_HTOBE32(length), VG_HTOBE32(reserved) };

	request(client, VG_OP_FILE_READ, 0, file, offset, NULL, &span, sizeof(span));
	refused(world, client, error);
}

static void range_refused(struct vg_world *world, struct client *client, __u16 flags, __u64 offset, __u64 length,
			  int error)
{
	struct vg_file_range range = { VG_HTOBE64(offset), VG_HTOBE64(length) };

	request(client, VG_OP_FILE_ALLOCATE, flags, client->file, 0, NULL, &range, sizeof(range));
	refused(world, client, error);
}

static void copy_refused(struct vg_world *world, struct client *client, __u64 to, __u64 from_offset, __u64 to_offset,
			 __u64 length, int error)
{
	struct vg_file_copy copy = { VG_HTOBE64(to), VG_HTOBE64(from_offset), VG_HTOBE64(to_offset), VG_HTOBE64(length) };

	request(client, VG_OP_FILE_COPY, 0, client->file, 0, NULL, &copy, sizeof(copy));
	refused(world, client, error);
}

static void test_bytes_refusals(void **state)
{
	struct client *client = &the_clients[0];
	struct vg_world *world;
	__u64 direct;

	seed = 1;
	vg_sim_start(seed, &vg_sim_all_faults);
	world = node_start();
	client_start(world, client, 0);
	request(client, VG_OP_FILE_OPEN, 0, 0, (__u64)(VG_FILE_O_READ | VG_FILE_O_WRITE | VG_FILE_O_DIRECT) << 32, "file-0",
		NULL, 0);
	direct = ask(world, client);

	read_refused(world, client, client->file, 0, VG_FILE_DATA_MAX + 1, 0, EINVAL);
	read_refused(world, client, client->file, 1ull << 63, 10, 0, EINVAL);
	read_refused(world, client, client->file, VG_FILE_DATA_MAX, 10, 1, EINVAL);
	read_refused(world, client, client->file, 0, 0, 0, 0);
	read_refused(world, client, client->file + 1, 0, 10, 0, EBADF);
	read_refused(world, client, client->log, 0, 10, 0, EBADF);
	read_refused(world, client, direct, 0, 100, 0, EINVAL);
	read_refused(world, client, direct, 512, 4096, 0, EINVAL);
	read_refused(world, client, direct, 4096, 4096, 0, 0);

	request(client, VG_OP_FILE_WRITE, 0, client->file, ~0ull, NULL, "x", 1);
	refused(world, client, EINVAL);
	request(client, VG_OP_FILE_WRITE, 0, direct, 0, NULL, "x", 1);
	refused(world, client, EINVAL);
	request(client, VG_OP_FILE_WRITE, VG_FILE_DURABLE, client->file, 0, NULL, NULL, 0);
	refused(world, client, 0);

	range_refused(world, client, 0, 0, 0, EINVAL);
	range_refused(world, client, 0, 1ull << 62, 1ull << 62, EINVAL);
	range_refused(world, client, VG_FILE_PUNCH_HOLE, 0, 4096, EOPNOTSUPP);

	request(client, VG_OP_FILE_SEEK, VG_FILE_SEEK_DATA | VG_FILE_SEEK_HOLE, client->file, 0, NULL, NULL, 0);
	refused(world, client, EINVAL);
	request(client, VG_OP_FILE_SEEK, VG_FILE_SEEK_DATA, client->file, FILE_BYTES, NULL, NULL, 0);
	refused(world, client, ENXIO);
	request(client, VG_OP_FILE_SEEK, VG_FILE_SEEK_HOLE, client->file, 0, NULL, NULL, 0);
	refused(world, client, 0);
	check(VG_BE64TOH(client->header.argument) == FILE_BYTES);

	copy_refused(world, client, client->file + 1, 0, 0, 10, EBADF);
	copy_refused(world, client, client->log, 0, 0, 10, EBADF);
	copy_refused(world, client, client->file, 0, 1ull << 63, 10, EINVAL);
	copy_refused(world, client, client->file, 0, 5, 10, EINVAL); /* over itself */
	copy_refused(world, client, client->file, 0, 0, 0, 0);
	world_end(world, client, 1);
	unlinkat(root_fd, "log", 0);
}

static int put(struct vg_world *world, struct client *client, __u32 flags, const char *name, const char *text)
{
	__u8 start[128];
	__u32 length;
	int error;

	request(client, VG_OP_FILE_PUT, 0, 0, (__u64)flags << 32 | 0640, name, text, (__u32)strlen(text));
	error = answer_of(world, client, &length, start);
	check(error || length == sizeof(struct vg_file_stat));
	return error;
}

/* What FETCH answers: an error (negative), or the bytes behind the stat. */
static int fetch(struct vg_world *world, struct client *client, const char *name, char text[64])
{
	__u8 start[128];
	__u32 length;
	int error;

	request(client, VG_OP_FILE_FETCH, 0, 0, 0, name, NULL, 0);
	error = answer_of(world, client, &length, start);
	if (error)
		return -error;
	check(length >= sizeof(struct vg_file_stat) && length < sizeof(struct vg_file_stat) + 48);
	memcpy(text, start + sizeof(struct vg_file_stat), length - sizeof(struct vg_file_stat));
	return (int)(length - sizeof(struct vg_file_stat));
}

static void whole_files(void)
{
	const __u32 create = VG_FILE_O_WRITE | VG_FILE_O_CREATE;
	struct client *client = &the_clients[0];
	struct vg_world *world;
	char text[64];

	vg_sim_start(seed, &vg_sim_all_faults);
	world = node_start();
	client_start(world, client, 0);
	check(fetch(world, client, "small", text) == -ENOENT);
	check(put(world, client, VG_FILE_O_WRITE, "small", "none") == ENOENT);
	check(!put(world, client, create | VG_FILE_O_EXCLUSIVE, "small", "first contents"));
	check(put(world, client, create | VG_FILE_O_EXCLUSIVE, "small", "again") == EEXIST);
	check(fetch(world, client, "small", text) == 14 && !memcmp(text, "first contents", 14));
	check(!put(world, client, create, "small", "FIRST"));
	check(fetch(world, client, "small", text) == 14 && !memcmp(text, "FIRST contents", 14));
	check(!put(world, client, create | VG_FILE_O_TRUNCATE, "small", "short"));
	check(fetch(world, client, "small", text) == 5 && !memcmp(text, "short", 5));
	check(!put(world, client, create | VG_FILE_O_TRUNCATE | VG_FILE_O_SYNC, "small", ""));
	check(fetch(world, client, "small", text) == 0);
	check(put(world, client, create | VG_FILE_O_DIRECT, "small", "x") == EINVAL);
	check(put(world, client, create | VG_FILE_O_APPEND, "small", "x") == EINVAL);
	check(mkfifoat(root_fd, "fifo", 0600) == 0 && mkdirat(root_fd, "folder", 0700) == 0);
	check(fetch(world, client, "folder", text) == -EISDIR && fetch(world, client, "fifo", text) == -EPERM);
	check(put(world, client, create, "folder", "x") == EISDIR && put(world, client, create, "fifo", "x") == EPERM);
	world_end(world, client, 1);
	unlinkat(root_fd, "small", 0);
	unlinkat(root_fd, "fifo", 0);
	unlinkat(root_fd, "folder", AT_REMOVEDIR);
	unlinkat(root_fd, "log", 0);
}

static void test_bytes_whole_files(void **state)
{
	for (seed = 1; seed <= 10; seed++)
		whole_files();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_refusals),
		cmocka_unit_test(test_bytes_whole_files),
	};

	return cmocka_run_group_tests_name("bytes_refusals_sim", tests, set_up, tear_down);
}
