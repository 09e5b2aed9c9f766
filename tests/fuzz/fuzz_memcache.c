// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * memcached's protocol: any bytes as a session on a cluster of two, whole or in pieces, or as a datagram. Looked for:
 * crashes and what sanitizers find, memory that outlives its request, sessions that hang, an answer longer than an
 * unproven datagram, a difference between what came whole and what came in pieces.
 *
 * First byte: bit 0 a password is set, bit 1 the other node is down, bit 2 as a datagram, bit 3 values of 64 bytes at
 * most.
 */
#include "../unit/fake_node.h"

#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>

#define INPUT_MAX 20000
#define RUNS_BETWEEN_CLEARS 2000
#define ANSWERS_MAX (8u << 20)

static void expect(bool holds)
{
	if (!holds)
		abort();
}

static void start_anew(void)
{
	for (__u16 n = 0; n < 2; n++) {
		if (fake.node[n].env.store)
			fake_stop(&fake.node[n]);
		fake_start(n, 2, NULL);
	}
}

static size_t run(const uint8_t *data, size_t length, size_t step, __u8 *answers)
{
	struct fake_session *session = fake_session_open(&fake.node[0], VG_PROTOCOL_MEMCACHE);
	size_t taken = 0;

	for (size_t at = 0; at < length && !session->session.finish; at += step) {
		if (fake_feed(session, data + at, step < length - at ? step : length - at))
			break;
		fake_run();
		expect(!session->session.paused);
		taken += fake_take(session, answers + taken, ANSWERS_MAX - taken);
	}
	expect(!session->out.failed);
	taken += fake_take(session, answers + taken, ANSWERS_MAX - taken);
	fake_session_close(session);
	return taken;
}

static void as_datagram(const uint8_t *data, size_t length)
{
	const struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = 0x0100a8c0 };
	struct vg_datagram datagram = { .protocol = VG_PROTOCOL_MEMCACHE, .data = data, .length = length,
					.peer = (const struct sockaddr *)&from, .peer_length = sizeof(from) };

	if (length > 2048)
		return;
	fake.datagrams = 0;
	vg_service_mem.datagram(&fake.node[0].env, &datagram);
	expect(fake.datagrams <= 1);
	expect(!fake.datagrams || fake.datagram_length <= length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	static __u8 answers[2][ANSWERS_MAX];
	static int runs;
	struct fake_node *node = &fake.node[0];
	size_t answered[2];
	long memory_before;

	if (!length || length > INPUT_MAX)
		return 0;
	if (runs++ % RUNS_BETWEEN_CLEARS == 0)
		start_anew();
	snprintf(node->settings.password, sizeof(node->settings.password), "%s", *data & 1 ? "secret" : "");
	fake.node[1].fail_from = *data & 2 ? 1 : 0;
	for (int n = 0; n < 2; n++)
		fake.node[n].settings.value_bytes_max = *data & 8 ? 64 : VG_VALUE_MAX;
	memory_before = fake.memory_out;
	if (*data & 4) {
		as_datagram(data + 1, length - 1);
	} else {
		for (int pieces = 0; pieces < 2; pieces++) {
			vg_store_clear(node->env.store);
			vg_store_clear(fake.node[1].env.store);
			answered[pieces] = run(data + 1, length - 1, pieces ? 1 + length % 41 : length, answers[pieces]);
		}
		/* Unique numbers and counts differ; and a line without an end is too long only while it has none. */
		if (!memmem(data, length, "gets", 4) && !memmem(data, length, "gats", 4) && !memmem(data, length, "stat", 4) &&
		    !memmem(data, length, " c", 2) && !memmem(data, length, "me ", 3) && !memmem(data, length, "ma", 2) &&
		    length < 2000) {
			expect(answered[0] == answered[1]);
			expect(!memcmp(answers[0], answers[1], answered[0]));
		}
	}
	expect(fake.memory_out == memory_before);
	return 0;
}
