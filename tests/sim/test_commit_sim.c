/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A whole node with a log under `always`, over simulated I/O: writes that are short, late or fail, then a power cut that
 * takes back what was not synced, and a node started from what is left. Whatever a client was told is there.
 *
 *   VG_SIM_SEED=n replays one run (but for the threads that the kernel runs), VG_SIM_RUNS=n sets how many.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "node/world.h"
#include "pool/wal_private.h"
#include "uring/sim.h"
#include "virgo/hash.h"

#define RUNS_DEFAULT 25
#define CLIENTS 4
#define PIPELINE 5
#define TURNS 1500
#define TURNS_MAX 200000

static __u64 seed;
static __u32 address; /* the node looks whether it is free on the real machine: of this process alone */
static char folder[64], left[64];

#define check(condition)                                                     \
	do {                                                                 \
		if (!(condition))                                            \
			fail_msg("VG_SIM_SEED=%llu: %s", seed, #condition);  \
	} while (0)

/* ---- the node and its disk ------------------------------------------------------------------------------------- */

static struct vg_world *node_start(const char *directory)
{
	static struct vg_options_text text;
	struct vg_options *options = &text.values;
	struct vg_world *world;
	char why[512] = "";

	vg_options_default(&text);
	snprintf(options->listen, sizeof(options->listen), "127.%u.%u.%u:%u", address >> 16 & 255, address >> 8 & 255,
		 address & 255, VG_PORT_MEM);
	snprintf(options->bpf, sizeof(options->bpf), "off");
	snprintf(options->dir, sizeof(options->dir), "%s", directory);
	snprintf(options->appendfsync, sizeof(options->appendfsync), "always");
	options->cloud_file[0] = 0;
	options->workers = 1;
	options->connections = 32;
	options->arena_bytes = 8 << 20;
	options->heap_bytes = 16 << 20;
	options->log_segment_bytes = VG_WAL_SEGMENT_BYTES_MIN;
	if (vg_options_finish(options, why, sizeof(why)) ||
	    vg_world_new(&world, options, NULL, NULL, why, sizeof(why)))
		fail_msg("VG_SIM_SEED=%llu: %s", seed, why);
	vg_store_worker(world->store, 0);
	return world;
}

/* Clocks of the machine go on slowly while simulated time flies: what failed may be tried again at once. */
static void node_turn(struct vg_world *world)
{
	vg_lock_take(&world->wal->lock);
	world->wal->retry_ns = 0;
	vg_lock_give(&world->wal->lock);
	check(vg_worker_step(&world->workers[0], vg_sim_random(2)) >= 0);
}

static void remove_files(const char *directory)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;

	while (stream && (entry = readdir(stream)))
		(void)unlinkat(dirfd(stream), entry->d_name, 0);
	if (stream)
		closedir(stream);
	(void)rmdir(directory);
}

static void copy_file(int from_directory, int to_directory, const char *name)
{
	int from = openat(from_directory, name, O_RDONLY), to = openat(to_directory, name, O_CREAT | O_WRONLY, 0600);
	static char buffer[65536];
	ssize_t got;

	while ((got = read(from, buffer, sizeof(buffer))) > 0)
		check(write(to, buffer, (size_t)got) == got);
	close(from);
	close(to);
}

/* What a power cut would leave, in another directory: the node still has the first one open. */
static void copy_what_is_left(void)
{
	DIR *stream = opendir(folder);
	struct dirent *entry;
	int to;

	remove_files(left);
	check(!mkdir(left, 0700));
	to = open(left, O_RDONLY | O_DIRECTORY);
	while ((entry = readdir(stream)))
		if (!strncmp(entry->d_name, "log-", 4))
			copy_file(dirfd(stream), to, entry->d_name);
	closedir(stream);
	close(to);
}

/* ---- clients --------------------------------------------------------------------------------------------------- */

struct client {
	int fd; /* -1: not connected */
	__u64 sent, acknowledged, refused, broken;
	__u64 waiting[PIPELINE]; /* numbers in flight, oldest first */
	int in_flight;
	char line[256];
	size_t length;
};

static void client_connect(struct client *client)
{
	struct sockaddr_in node = { .sin_family = AF_INET, .sin_port = htons(VG_PORT_MEM),
				    .sin_addr.s_addr = htonl(address) };

	client->fd = vg_sim_connect((struct sockaddr *)&node, sizeof(node));
	client->in_flight = 0;
	client->length = 0;
}

static void client_line(struct client *client)
{
	check(client->in_flight > 0);
	if (client->line[0] == '+')
		client->acknowledged = client->waiting[0];
	else
		check(!strncmp(client->line, "-MISCONF Errors writing to the log: ", 36));
	client->refused += client->line[0] == '-';
	memmove(client->waiting, client->waiting + 1, sizeof(client->waiting[0]) * (PIPELINE - 1));
	client->in_flight--;
}

static void client_read(struct client *client)
{
	char byte;
	ssize_t got;

	while ((got = vg_sim_read(client->fd, &byte, 1)) == 1) {
		check(client->length < sizeof(client->line));
		client->line[client->length++] = byte;
		if (byte != '\n')
			continue;
		client->line[client->length - 1] = 0;
		client->length = 0;
		client_line(client);
	}
	if (got == -EAGAIN)
		return;
	/* What was under way may have been done or not. */
	vg_sim_close(client->fd);
	client->fd = -1;
	client->broken++;
}

static void client_turn(struct client *client, int number)
{
	char command[128];
	int length;

	if (client->fd < 0) {
		client_connect(client);
		return;
	}
	while (client->in_flight < PIPELINE && vg_sim_random(3)) {
		client->waiting[client->in_flight] = ++client->sent;
		length = snprintf(command, sizeof(command), "SET client%d %llu\r\n", number, client->sent);
		if (vg_sim_write(client->fd, command, (size_t)length) != length)
			break;
		client->in_flight++;
	}
	client_read(client);
}

/* ---- runs ------------------------------------------------------------------------------------------------------ */

static __u64 stored(struct vg_world *world, int number)
{
	static __u8 buffer[VG_CELL_MAX + 1];
	struct vg_block *block;
	struct vg_key key;
	char name[32];
	ssize_t length;

	key.data = name;
	key.length = (__u32)snprintf(name, sizeof(name), "client%d", number);
	key.hash = vg_hash64(name, key.length);
	length = vg_store_get(world->store, &key, 1, buffer, VG_CELL_MAX, &block, NULL);
	buffer[length > 0 ? length : 0] = 0;
	return strtoull((char *)buffer, NULL, 10);
}

static struct {
	__u64 acknowledged, refused, broken, files;
} all;

/* `fail`: which file operation fails, 0: those that chance chooses. */
static void run_once(__u64 fail, int error, int turns)
{
	struct vg_sim_faults faults = vg_sim_all_faults;
	struct client clients[CLIENTS] = { 0 };
	struct vg_world *world;

	remove_files(folder);
	check(!mkdir(folder, 0700));
	vg_sim_start(seed, &faults);
	world = node_start(folder);
	if (fail) {
		vg_sim_fail_file(fail, error);
	} else {
		faults.io_error = 10;
		faults.no_space = 10;
		vg_sim_set_faults(&faults);
	}
	for (int i = 0; i < CLIENTS; i++)
		clients[i].fd = -1;
	for (int turn = 0; turn < turns; turn++) {
		for (int i = 0; i < CLIENTS; i++)
			client_turn(&clients[i], i);
		node_turn(world);
	}
	all.files += vg_sim_files_done();
	vg_sim_power_cut();
	copy_what_is_left();
	for (int i = 0; i < CLIENTS; i++)
		if (clients[i].fd >= 0)
			vg_sim_close(clients[i].fd);
	vg_sim_set_faults(&vg_sim_no_faults);
	for (int turn = 0; vg_conn_pool_used(world->workers[0].conns); turn++) {
		check(turn < TURNS_MAX);
		node_turn(world);
	}
	vg_world_free(world);
	world = node_start(left);
	for (int i = 0; i < CLIENTS; i++) {
		__u64 number = stored(world, i);

		if (number < clients[i].acknowledged || number > clients[i].sent)
			fail_msg("VG_SIM_SEED=%llu fail=%llu: client %d has %llu, acknowledged %llu, sent %llu", seed, fail,
				 i, number, clients[i].acknowledged, clients[i].sent);
		all.acknowledged += clients[i].acknowledged;
		all.refused += clients[i].refused;
		all.broken += clients[i].broken;
	}
	vg_world_free(world);
	vg_sim_end();
}

static void test_commit_survives_every_seed(void **state)
{
	const char *one = getenv("VG_SIM_SEED"), *count = getenv("VG_SIM_RUNS");
	__u64 first = one ? strtoull(one, NULL, 0) : 1, runs = one ? 1 : count ? strtoull(count, NULL, 0) : RUNS_DEFAULT;

	for (seed = first; seed < first + runs; seed++)
		run_once(0, 0, TURNS);
	/* It did happen: some were told so, and some heard nothing more. */
	if (!one) {
		assert_true(all.acknowledged > 100 * runs);
		assert_true(all.refused > 0 && all.broken > 0);
	}
	printf("# %llu acknowledged, %llu refused, %llu connections ended, %llu file operations\n", all.acknowledged,
	       all.refused, all.broken, all.files);
}

static void test_commit_survives_the_failure_of_every_operation(void **state)
{
	for (__u64 nth = 1; nth <= 40; nth++) {
		seed = 1000 + nth;
		run_once(nth, nth & 1 ? ENOSPC : EIO, 250);
	}
}

static int set_up(void **state)
{
	const char *base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";

	vg_log_configure(VG_LOG_ERROR, VG_LOG_STDERR);
	address = 127u << 24 | 2u << 16 | ((__u32)getpid() & 0xffff);
	snprintf(folder, sizeof(folder), "%s/vg-commit-%d", base, getpid());
	snprintf(left, sizeof(left), "%s/vg-commit-%d-left", base, getpid());
	return 0;
}

static int tear_down(void **state)
{
	remove_files(folder);
	remove_files(left);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commit_survives_every_seed),
		cmocka_unit_test(test_commit_survives_the_failure_of_every_operation),
	};

	return cmocka_run_group_tests_name("commit_sim", tests, set_up, tear_down);
}
