/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bytes of the file pool over simulated I/O: a whole node, turned by hand, with short transfers, late completions and
 * failing disks. Clients pipeline random operations on files of their own and know every byte that must come back.
 *
 *   VG_SIM_SEED=n replays one run, VG_SIM_RUNS=n sets how many.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "bytes_fixture.h"

#define RUNS_DEFAULT 25
#define ROUNDS 6
#define SLOW_READS 250

/* ---- planning -------------------------------------------------------------------------------------------------- */

static void random_range(__u32 *ret_offset, __u32 *ret_length)
{
	*ret_length = 1 + (__u32)vg_sim_random(vg_sim_random(3) ? 3000 : WRITE_MAX);
	*ret_offset = (__u32)vg_sim_random(FILE_BYTES - *ret_length);
}

static struct expected *expect(struct client *client, __u8 opcode, __u32 offset, __u32 length)
{
	struct expected *expected = &client->expected[client->count++];

	*expected = (struct expected){ .sequence = client->sequence, .opcode = opcode, .offset = offset, .length = length };
	return expected;
}

static void plan_write(struct client *client)
{
	__u8 data[WRITE_MAX];
	__u32 offset, length;

	random_range(&offset, &length);
	for (__u32 i = 0; i < length; i++)
		data[i] = (__u8)vg_sim_random(256);
	memcpy(client->model + offset, data, length);
	request(client, VG_OP_FILE_WRITE, vg_sim_random(3) ? 0 : VG_FILE_DURABLE, client->file, offset, NULL, data, length);
	expect(client, VG_OP_FILE_WRITE, offset, length);
}

static void plan_append(struct client *client)
{
	char record[RECORD + 1];

	snprintf(record, sizeof(record), "%07d %07u %07d\n", client->number, client->appended++, client->number);
	request(client, VG_OP_FILE_WRITE, vg_sim_random(2) ? 0 : VG_FILE_DURABLE, client->log, 0, NULL, record, RECORD);
	expect(client, VG_OP_FILE_WRITE, VG_FILE_DATA_MAX, RECORD);
}

static void plan_hole(struct client *client)
{
	struct vg_file_range range;
	__u32 offset, length;

	random_range(&offset, &length);
	range = (struct vg_file_range){ VG_HTOBE64(offset), VG_HTOBE64(length) };
	memset(client->model + offset, 0, length);
	request(client, VG_OP_FILE_ALLOCATE, VG_FILE_KEEP_SIZE | VG_FILE_PUNCH_HOLE, client->file, 0, NULL, &range,
		sizeof(range));
	expect(client, VG_OP_FILE_ALLOCATE, offset, length);
}

static void plan_copy(struct client *client)
{
	struct vg_file_copy copy;
	__u32 from, to, length;

	random_range(&from, &length);
	to = (__u32)vg_sim_random(FILE_BYTES - length);
	if (from < to + length && to < from + length)
		return;
	copy = (struct vg_file_copy){ VG_HTOBE64(client->file), VG_HTOBE64(from), VG_HTOBE64(to), VG_HTOBE64(length) };
	memcpy(client->model + to, client->model + from, length);
	request(client, VG_OP_FILE_COPY, 0, client->file, 0, NULL, &copy, sizeof(copy));
	expect(client, VG_OP_FILE_COPY, to, length);
}

/* The last of a batch: a read sees the changes before it; a change that follows a read may come before it. */
static void plan_read(struct client *client)
{
	struct expected *expected;
	struct vg_file_span span;
	__u32 offset, length;

	random_range(&offset, &length);
	if (!vg_sim_random(8))
		offset = FILE_BYTES - length / 2; /* over the end */
	span = (struct vg_file_span){ .length = VG_HTOBE32(length) };
	request(client, VG_OP_FILE_READ, 0, client->file, offset, NULL, &span, sizeof(span));
	if (length > FILE_BYTES - offset)
		length = FILE_BYTES - offset;
	expected = expect(client, VG_OP_FILE_READ, offset, length);
	expected->body = malloc(length);
	assert_non_null(expected->body);
	memcpy(expected->body, client->model + offset, length);
}

static void plan_batch(struct client *client)
{
	int changes = (int)vg_sim_random(BATCH_MAX - 4);

	client->count = client->answered = 0;
	while (changes--) {
		switch (vg_sim_random(8)) {
		case 0:
			plan_hole(client);
			break;
		case 1:
			plan_copy(client);
			break;
		case 2:
		case 3:
			plan_append(client);
			break;
		case 4:
			request(client, VG_OP_FILE_SYNC, vg_sim_random(2) ? VG_FILE_DATA_ONLY : 0, client->file, 0, NULL,
				NULL, 0);
			expect(client, VG_OP_FILE_SYNC, 0, 0);
			break;
		default:
			plan_write(client);
		}
	}
	for (changes = 1 + (int)vg_sim_random(4); changes; changes--)
		plan_read(client);
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static void check_answer(struct client *client, bool failing, const __u8 *body, __u32 length)
{
	const struct vg_wire_header *header = &client->header;
	struct expected *expected = client->expected;
	__u64 error = VG_BE64TOH(header->argument);

	while (expected < client->expected + client->count && expected->sequence != VG_BE64TOH(header->sequence))
		expected++;
	check(expected < client->expected + client->count && !expected->answered);
	check(header->opcode == expected->opcode);
	expected->answered = true;
	client->answered++;
	if (header->status) {
		check(failing && header->status == VG_STATUS_ERRNO && (error == EIO || error == ENOSPC));
		check(length >= 4 && !memcmp(body, error == EIO ? "EIO:" : "ENOS", 4));
		client->failed++;
	} else if (expected->opcode == VG_OP_FILE_READ) {
		check(length == expected->length);
		check(failing || !memcmp(body, expected->body, length));
	} else if (expected->opcode == VG_OP_FILE_WRITE) {
		check(error == expected->length || (failing && error < expected->length && error));
		check(expected->offset == VG_FILE_DATA_MAX ? VG_BE64TOH(header->ident) % RECORD == 0 :
							     VG_BE64TOH(header->ident) == expected->offset);
	} else if (expected->opcode == VG_OP_FILE_COPY) {
		check(error == expected->length);
	}
	free(expected->body);
	expected->body = NULL;
}

static void client_turn(struct client *client, bool failing)
{
	const __u8 *body;
	__u32 length;

	move_bytes(client);
	while (next_answer(client, &body, &length)) {
		check_answer(client, failing, body, length);
		drop_answer(client, length);
	}
}

/* Each record is whole, and those of each client are there once, in their order. */
static void check_log(const struct client *client, int clients)
{
	__u32 next[CLIENTS_MAX] = { 0 };
	char record[RECORD + 1] = "";
	int fd = openat(root_fd, "log", O_RDONLY), number, again;
	unsigned int count;

	check(fd >= 0);
	while (read(fd, record, RECORD) == RECORD) {
		check(sscanf(record, "%d %u %d\n", &number, &count, &again) == 3 && number == again && number < clients);
		check(count == next[number]++);
	}
	close(fd);
	for (int i = 0; i < clients; i++)
		check(next[i] == client[i].appended);
	unlinkat(root_fd, "log", 0);
}

/* ---- runs ------------------------------------------------------------------------------------------------------ */

static void run_rounds(struct vg_world *world, struct client *client, int clients, bool failing)
{
	for (int round = 0; round < ROUNDS; round++) {
		int running = clients, turns;

		for (int i = 0; i < clients; i++)
			plan_batch(&client[i]);
		for (turns = 0; running && turns < TURNS_MAX; turns++) {
			check(vg_worker_step(&world->workers[0], vg_sim_random(2)) >= 0);
			running = 0;
			for (int i = 0; i < clients; i++) {
				client_turn(&client[i], failing);
				running += client[i].answered < client[i].count;
			}
		}
		check(!running);
	}
}

static void each_seed(void (*run)(void))
{
	const char *one = getenv("VG_SIM_SEED"), *count = getenv("VG_SIM_RUNS");
	__u64 first = one ? strtoull(one, NULL, 0) : 1, runs = one ? 1 : count ? strtoull(count, NULL, 0) : RUNS_DEFAULT;

	for (seed = first; seed < first + runs; seed++)
		run();
}

static void run_model(void)
{
	int clients = 0;
	struct vg_world *world;

	vg_sim_start(seed, &vg_sim_all_faults);
	world = node_start();
	for (int i = 1 + (int)vg_sim_random(CLIENTS_MAX); i; i--, clients++)
		client_start(world, &the_clients[clients], clients);
	run_rounds(world, the_clients, clients, false);
	check_log(the_clients, clients);
	world_end(world, the_clients, clients);
}

static void test_bytes_model(void **state)
{
	each_seed(run_model);
}

static int failed_in_all;

/* A disk that fails: each request is answered all the same, with the error's name, and the node goes on. */
static void run_failing(void)
{
	struct vg_sim_faults faults = vg_sim_all_faults;
	struct vg_world *world;

	vg_sim_start(seed, &vg_sim_no_faults);
	world = node_start();
	for (int i = 0; i < 2; i++)
		client_start(world, &the_clients[i], i);
	faults.io_error = 60;
	faults.no_space = 60;
	vg_sim_set_faults(&faults);
	run_rounds(world, the_clients, 2, true);
	vg_sim_set_faults(&vg_sim_no_faults);
	for (int i = 0; i < 2; i++) {
		failed_in_all += the_clients[i].failed;
		request(&the_clients[i], VG_OP_FILE_WRITE, 0, the_clients[i].file, 0, NULL, the_clients[i].model, FILE_BYTES);
		ask(world, &the_clients[i]);
	}
	world_end(world, the_clients, 2);
	unlinkat(root_fd, "log", 0);
}

static void test_bytes_failing_disk(void **state)
{
	failed_in_all = 0;
	each_seed(run_failing);
	assert_true(failed_in_all);
}

/* ---- group commit ---------------------------------------------------------------------------------------------- */

static __u64 open_again(struct vg_world *world, struct client *client, const char *name)
{
	request(client, VG_OP_FILE_OPEN, 0, 0, (__u64)(VG_FILE_O_READ | VG_FILE_O_WRITE) << 32, name, NULL, 0);
	return ask(world, client);
}

/* The answer of one SYNC: 0 or an errno. */
static int sync_once(struct vg_world *world, struct client *client, __u64 file)
{
	__u8 start[128];
	__u32 length;

	request(client, VG_OP_FILE_SYNC, 0, file, 0, NULL, NULL, 0);
	return answer_of(world, client, &length, start);
}

static void test_bytes_group_commit(void **state)
{
	struct client *client = &the_clients[0];
	__u64 before_syncs, before_groups, other;
	struct vg_world *world;

	seed = 1;
	vg_sim_start(seed, &vg_sim_no_faults);
	world = node_start();
	client_start(world, client, 0);
	before_syncs = pool_of(world)->counts.syncs;
	before_groups = pool_of(world)->counts.group_syncs;
	client->count = client->answered = 0;
	for (int i = 0; i < BATCH_MAX; i++) {
		request(client, VG_OP_FILE_WRITE, VG_FILE_DURABLE, client->file, (__u64)i * 100, NULL, "durable", 7);
		expect(client, VG_OP_FILE_WRITE, (__u32)i * 100, 7);
	}
	while (client->answered < client->count) {
		check(vg_worker_step(&world->workers[0], false) >= 0);
		client_turn(client, false);
	}
	check(pool_of(world)->counts.syncs - before_syncs == BATCH_MAX);
	check(pool_of(world)->counts.group_syncs - before_groups < BATCH_MAX);

	/* A failed sync is told to all who have the file open and synced it before, once each. */
	other = open_again(world, client, "file-0");
	check(!sync_once(world, client, client->file) && !sync_once(world, client, other));
	vg_sim_fail_file(1, EIO);
	check(sync_once(world, client, client->file) == EIO);
	check(!sync_once(world, client, client->file));
	check(sync_once(world, client, other) == EIO);
	check(!sync_once(world, client, other));
	world_end(world, client, 1);
	unlinkat(root_fd, "log", 0);
}

/* Pages that their only writer writes over go past the page cache; others see them all the same. */
static void test_bytes_durable_pages(void **state)
{
	struct client *client = &the_clients[0];
	struct vg_world *world;
	__u8 page[8192];
	__u64 other, groups;
	int fd;

	seed = 1;
	vg_sim_start(seed, &vg_sim_no_faults);
	world = node_start();
	client_start(world, client, 0);
	other = open_again(world, client, "file-0");
	fd = openat(root_fd, "file-0", O_RDONLY);
	check(fd >= 0);
	groups = pool_of(world)->counts.group_syncs;
	for (int i = 0; i < 8; i++) {
		struct vg_file_span span = { .length = VG_HTOBE32(sizeof(page)) };
		const __u8 *body;
		__u32 length;

		if (i == 4)
			vg_sim_fail_file(1, EINVAL); /* the file system takes no such writes after all */
		memset(page, 'a' + i, sizeof(page));
		request(client, VG_OP_FILE_WRITE, VG_FILE_DURABLE, client->file, (__u64)i * 4096, NULL, page, sizeof(page));
		ask(world, client);
		check(VG_BE64TOH(client->header.argument) == sizeof(page));
		check(pread(fd, page, sizeof(page), i * 4096) == sizeof(page) && page[0] == 'a' + i && page[8191] == 'a' + i);
		request(client, VG_OP_FILE_READ, 0, other, (__u64)i * 4096, NULL, &span, sizeof(span));
		while (!next_answer(client, &body, &length)) {
			move_bytes(client);
			check(vg_worker_step(&world->workers[0], false) >= 0);
		}
		check(!client->header.status && length == sizeof(page) && body[4095] == 'a' + i);
		drop_answer(client, length);
		/* Where the first one could not be opened so, all went with the group. */
		if (i == 0 && pool_of(world)->counts.group_syncs > groups)
			break;
		check(pool_of(world)->counts.group_syncs - groups == (i < 4 ? 0u : (__u32)i - 3));
	}
	close(fd);
	world_end(world, client, 1);
	unlinkat(root_fd, "log", 0);
}

/* Who does not read what it has asked for holds no more than its share, and nobody else up. */
static void test_bytes_slow_reader(void **state)
{
	struct client *slow = &the_clients[0], *quick = &the_clients[1];
	struct vg_file_span span = { .length = VG_HTOBE32(FILE_BYTES) };
	struct vg_world *world;
	const __u8 *body;
	__u32 length;

	seed = 1;
	vg_sim_start(seed, &vg_sim_no_faults);
	world = node_start();
	client_start(world, slow, 0);
	client_start(world, quick, 1);
	for (int i = 0; i < SLOW_READS; i++)
		request(slow, VG_OP_FILE_READ, 0, slow->file, 0, NULL, &span, sizeof(span));
	check(vg_sim_write(slow->fd, slow->out.data, slow->out.length) == (ssize_t)slow->out.length);
	slow->sent = slow->out.length = 0;
	for (int i = 0; i < 50; i++) {
		request(quick, VG_OP_FILE_WRITE, 0, quick->file, 0, NULL, quick->model, FILE_BYTES);
		ask(world, quick);
		check(pool_of(world)->bytes <= VG_FILE_LINK_BYTES_MAX + FILE_BYTES);
	}
	check(pool_of(world)->bytes); /* it still holds something: it was slow indeed */
	for (int i = 0; i < SLOW_READS; i++) {
		for (int turns = 0; !next_answer(slow, &body, &length); turns++) {
			check(turns < TURNS_MAX);
			move_bytes(slow);
			check(vg_worker_step(&world->workers[0], vg_sim_random(2)) >= 0);
		}
		check(!slow->header.status && length == FILE_BYTES);
		drop_answer(slow, length);
	}
	world_end(world, the_clients, 2);
	unlinkat(root_fd, "log", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_model),
		cmocka_unit_test(test_bytes_failing_disk),
		cmocka_unit_test(test_bytes_group_commit),
		cmocka_unit_test(test_bytes_durable_pages),
		cmocka_unit_test(test_bytes_slow_reader),
	};

	return cmocka_run_group_tests_name("bytes_sim", tests, set_up, tear_down);
}
