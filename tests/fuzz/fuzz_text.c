// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The text grammar: any bytes as a session on a cluster of two, whole or in pieces, with and without a password. Looked
 * for: crashes and what sanitizers find, memory that outlives its request, sessions that hang, a difference between
 * what came whole and what came in pieces.
 *
 * First byte: bit 0 a password is set, bit 1 the other node is down. A token the input has no way to know is put in for
 * every '@'.
 */
#include "../unit/fake_node.h"

#include <stdint.h>
#include <stdio.h>

#define INPUT_MAX 70000
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
		fake.node[n].settings.chunk_bytes = 4096;
	}
}

/* The input with tokens in it; how long it is. */
static size_t with_tokens(char *text, size_t capacity, const uint8_t *data, size_t length, __u64 handle)
{
	size_t filled = 0;

	for (size_t at = 0; at < length && filled + 17 < capacity; at++) {
		if (data[at] == '@')
			filled += (size_t)snprintf(text + filled, 17, "%llx", (unsigned long long)handle);
		else
			text[filled++] = (char)data[at];
	}
	return filled;
}

/* What the session answers in all, to `answers`. */
static size_t run(const char *text, size_t length, size_t step, __u8 *answers)
{
	struct fake_session *session = fake_session_open(&fake.node[0], VG_PROTOCOL_TEXT);
	size_t taken = 0;

	for (size_t at = 0; at < length && !session->session.finish; at += step) {
		expect(!fake_feed(session, text + at, step < length - at ? step : length - at));
		fake_run();
		expect(!session->session.paused);
		taken += fake_take(session, answers + taken, ANSWERS_MAX - taken);
	}
	expect(!session->out.failed);
	fake_session_close(session);
	return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	static char text[INPUT_MAX * 2];
	static __u8 answers[2][ANSWERS_MAX];
	static int runs;
	struct fake_node *node = &fake.node[0];
	size_t filled, answered[2];
	long memory_before;

	if (!length || length > INPUT_MAX)
		return 0;
	if (runs++ % RUNS_BETWEEN_CLEARS == 0)
		start_anew();
	snprintf(node->settings.password, sizeof(node->settings.password), "%s", *data & 1 ? "secret" : "");
	fake.node[1].fail_from = *data & 2 ? 1 : 0;
	memory_before = fake.memory_out;
	for (int pieces = 0; pieces < 2; pieces++) {
		__u64 handle;

		/* Both times from the same start: no keys, and one fresh allocation. */
		vg_store_clear(node->env.store);
		vg_store_clear(fake.node[1].env.store);
		if (vg_store_alloc(node->env.store, 100, &handle))
			return 0;
		filled = with_tokens(text, sizeof(text), data + 1, length - 1, handle);
		answered[pieces] = run(text, filled, pieces ? 1 + filled % 41 : filled, answers[pieces]);
		vg_store_release(node->env.store, handle);
	}
	/* Tokens differ between the runs, in digits and so in length; without them the answers are the same. */
	if (!memmem(data, length, "virgo_cloud_malloc", 18) && !memchr(data, '@', length)) {
		expect(answered[0] == answered[1]);
		expect(!memcmp(answers[0], answers[1], answered[0]));
	}
	expect(fake.memory_out == memory_before);
	return 0;
}
