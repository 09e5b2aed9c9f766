/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of the client through a wire that does what wires do: bytes one by one, connections that end anywhere, and
 * bytes that nobody sent. A real node is at the other end.
 */
#include "client_file.h"

#include <sys/eventfd.h>

#define PAIRS_MAX 64

enum mood { FAITHFUL, SLOW, BREAKS, LIES };

static struct wire {
	pthread_t thread;
	int listener, stop;
	uint16_t port;
	_Atomic enum mood mood;
	__u64 random;
	unsigned int broken, lies;
	struct {
		int fd[2]; /* the client's, the node's; -1: none */
		long left; /* bytes until it breaks */
	} pair[PAIRS_MAX];
} wire;

static void close_pair(int at)
{
	for (int side = 0; side < 2; side++) {
		(void)close(wire.pair[at].fd[side]);
		wire.pair[at].fd[side] = -1;
	}
}

static void send_all(int fd, const uint8_t *data, size_t length)
{
	while (length) {
		ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		data += sent;
		length -= (size_t)sent;
	}
}

static void forward(int at, int side)
{
	static uint8_t data[65536];
	const enum mood mood = wire.mood;
	size_t most = mood == SLOW ? 1 + vg_prng_next(&wire.random) % 5000 : sizeof(data);
	ssize_t got = recv(wire.pair[at].fd[side], data, most, 0);

	if (got <= 0) {
		close_pair(at);
		return;
	}
	if (mood == BREAKS && (wire.pair[at].left -= got) < 0) {
		/* Some of it still arrives. */
		send_all(wire.pair[at].fd[!side], data, (size_t)got / 2);
		wire.broken++;
		close_pair(at);
		return;
	}
	if (mood == LIES && side == 1 && vg_prng_next(&wire.random) % 20 == 0) {
		data[vg_prng_next(&wire.random) % (__u64)got] = (uint8_t)vg_prng_next(&wire.random);
		wire.lies++;
	}
	for (ssize_t sent = 0; sent < got;) {
		ssize_t part = mood == SLOW ? 1 + (ssize_t)(vg_prng_next(&wire.random) % 500) : got;

		part = part < got - sent ? part : got - sent;
		send_all(wire.pair[at].fd[!side], data + sent, (size_t)part);
		sent += part;
	}
}

static void accept_pair(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				       .sin_port = htons(cluster->file_port) };
	int fd = accept(wire.listener, NULL, NULL), other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	for (int i = 0; i < PAIRS_MAX; i++) {
		if (wire.pair[i].fd[0] >= 0)
			continue;
		wire.pair[i].fd[0] = fd;
		wire.pair[i].fd[1] = other;
		/* Long enough for the longest answer, or in the middle of a short one. */
		wire.pair[i].left = (long)(vg_prng_next(&wire.random) % (wire.random & 1 ? 4000000 : 20000));
		if (connect(other, (struct sockaddr *)&address, sizeof(address)))
			close_pair(i);
		return;
	}
	(void)close(fd);
	(void)close(other);
}

static void *run_wire(void *context)
{
	(void)context;
	for (;;) {
		struct pollfd polled[2 + 2 * PAIRS_MAX] = { { wire.stop, POLLIN, 0 }, { wire.listener, POLLIN, 0 } };

		for (int i = 0; i < 2 * PAIRS_MAX; i++)
			polled[2 + i] = (struct pollfd){ wire.pair[i / 2].fd[i % 2], POLLIN, 0 };
		(void)poll(polled, 2 + 2 * PAIRS_MAX, -1);
		if (polled[0].revents)
			return NULL;
		if (polled[1].revents)
			accept_pair();
		for (int i = 0; i < 2 * PAIRS_MAX; i++)
			if (polled[2 + i].revents && wire.pair[i / 2].fd[i % 2] == polled[2 + i].fd)
				forward(i / 2, i % 2);
	}
}

static int start_wire(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);

	(void)state;
	cluster = real_start(1);
	wire.random = 0xcab1e;
	for (int i = 0; i < PAIRS_MAX; i++)
		wire.pair[i].fd[0] = wire.pair[i].fd[1] = -1;
	wire.stop = eventfd(0, EFD_CLOEXEC);
	wire.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert(bind(wire.listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	assert(getsockname(wire.listener, (struct sockaddr *)&address, &length) == 0);
	assert(listen(wire.listener, 16) == 0);
	wire.port = ntohs(address.sin_port);
	return pthread_create(&wire.thread, NULL, run_wire, NULL);
}

static int stop_wire(void **state)
{
	uint64_t one = 1;

	assert(write(wire.stop, &one, sizeof(one)) == sizeof(one));
	(void)pthread_join(wire.thread, NULL);
	for (int i = 0; i < PAIRS_MAX; i++)
		if (wire.pair[i].fd[0] >= 0)
			close_pair(i);
	(void)close(wire.listener);
	(void)close(wire.stop);
	return stop(state);
}

static struct virgo *client_by_wire(unsigned int timeout_ms)
{
	const struct virgo_options options = { .size = sizeof(options),
					       .nodes = cluster->nodes,
					       .file_port = wire.port,
					       .timeout_ms = timeout_ms,
					       .key_file = "" };
	struct virgo *client;

	assert_int_equal(virgo_connect(&client, &options, NULL, 0), 0);
	return client;
}

static void test_wire_slow(void **state)
{
	struct virgo_file *file;

	(void)state;
	wire.mood = SLOW;
	v = client_by_wire(TIMEOUT_MS);
	make("slow", O_RDWR, &file);
	random_operations("slow", file, 15);
	assert_int_equal(virgo_close(v, file), 0);
	virgo_disconnect(v);
}

/* Wherever a connection ends: everything is done, and done once. */
static void test_wire_breaks(void **state)
{
	struct virgo_file_stat stat;
	struct virgo_file *file, *log;
	unsigned int lines = 0;
	char path[32];

	(void)state;
	wire.mood = BREAKS;
	v = client_by_wire(TIMEOUT_MS);
	make("breaks", O_RDWR, &file);
	make("log", O_WRONLY | O_APPEND, &log);
	for (unsigned int i = 0; i < 6; i++) {
		random_operations("breaks", file, 3);
		assert_int_equal(virgo_ftruncate(v, file, 0), 0);
		for (unsigned int j = 0; j < 20; j++, lines++) {
			static const char line[3000] = "append";

			(void)snprintf(path, sizeof(path), "made%u", lines);
			assert_int_equal(virgo_write(v, log, line, sizeof(line)), sizeof(line));
			assert_int_equal(virgo_file_put(v, path, line, sizeof(line), O_EXCL, 0600), 0);
			assert_int_equal(virgo_rename(v, path, "moved", 0), 0);
			assert_int_equal(virgo_unlink(v, "moved"), 0);
		}
	}
	assert_int_equal(virgo_fstat(v, log, &stat), 0);
	assert_int_equal(stat.size, lines * 3000);
	assert_int_equal(virgo_close(v, log), 0);
	assert_int_equal(virgo_close(v, file), 0);
	virgo_disconnect(v);
	assert_true(wire.broken > 20);
}

static int ignore_name(void *context, const char *name, const struct virgo_file_stat *stat)
{
	(void)stat;
	*(size_t *)context += strlen(name);
	return 0;
}

/* What is not true may come out, but nothing breaks, and everything ends. */
static void test_wire_lies(void **state)
{
	static char buffer[200000];
	uint64_t until = (uint64_t)time(NULL) + 2;
	unsigned int done = 0;

	(void)state;
	wire.mood = LIES;
	while ((uint64_t)time(NULL) < until) {
		struct virgo *client = client_by_wire(50);
		struct virgo_file *file = NULL;
		struct virgo_statfs room;
		size_t length;
		void *data;

		for (int i = 0; i < 10; i++, done++) {
			(void)virgo_mkdir(client, "lies", 0755);
			(void)virgo_list(client, "", ignore_name, &length);
			(void)virgo_statfs(client, &room);
			(void)virgo_readlink(client, "lies", buffer, sizeof(buffer));
			(void)virgo_getxattr(client, "lies", "user.x", buffer, sizeof(buffer));
			if (!virgo_file_get(client, "slow", &data, &length, NULL))
				free(data);
			if (virgo_open(client, "slow", O_RDWR, 0, &file))
				continue;
			(void)virgo_pread(client, file, buffer, sizeof(buffer), draw(1000000));
			(void)virgo_pwrite(client, file, buffer, draw(sizeof(buffer)), draw(1000000));
			(void)virgo_lock(client, file, 1, F_GETLK, &(struct flock){ .l_type = F_WRLCK });
			(void)virgo_close(client, file);
		}
		virgo_disconnect(client);
	}
	assert_true(wire.lies > 2);
	assert_true(done >= 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_slow),
		cmocka_unit_test(test_wire_breaks),
		cmocka_unit_test(test_wire_lies),
	};

	return cmocka_run_group_tests_name("client_file_wire", tests, start_wire, stop_wire);
}
