/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * XDP reads on one core while the store writes on the other: overwrites, deletions, cells used again, an index that
 * grows all the time, handles that come and go. Every value names its key and proves itself word by word, so a torn or
 * misplaced read shows; a key that always exists must never be said not to; a packet passed up must be as it was.
 */
#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <linux/bpf.h>

#define SECONDS 5
#define STABLE 16   /* keys that always exist and are overwritten all the time */
#define FLEETING 16 /* keys that come and go */
#define GROWING 400000
#define HANDLES 8
#define HANDLE_BYTES 512

static struct fixture fixture;
static __u32 grown;	      /* keys 0 … grown - 1 of the growing kind exist; written by the writer */
static __u64 handles[HANDLES]; /* 0: none; written by the writer */
static int stop;
static pthread_t writer;
static __u64 writes;

struct tally {
	__u64 hits, missing, busy, gone;
};

static __u64 word_of(__u64 key, __u64 version, __u32 index)
{
	__u64 state = key << 32 ^ version << 8 ^ index;

	return random_next(&state);
}

/* Word 0: key and version; the others follow from them and their place. */
static __u32 value_make(__u64 *value, __u64 key, __u64 version, __u32 words)
{
	value[0] = key << 32 | (version & 0xffffffff);
	for (__u32 i = 1; i < words; i++)
		value[i] = word_of(key, version & 0xffffffff, i);
	return words * 8;
}

static bool value_proves_itself(const __u8 *bytes, __u32 length, __u64 key)
{
	__u64 word, version;

	if (length < 8 || length % 8)
		return false;
	memcpy(&word, bytes, 8);
	version = word & 0xffffffff;
	if (word >> 32 != key)
		return false;
	for (__u32 i = 1; i < length / 8; i++) {
		memcpy(&word, bytes + 8 * i, 8);
		if (word != word_of(key, version, i))
			return false;
	}
	return true;
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static int key_name(char *name, char kind, __u32 index)
{
	return snprintf(name, 32, "%c-key-%u", kind, index);
}

/* Keys of all kinds have one number space: the kind is in the upper bits. */
static __u64 key_number(char kind, __u32 index)
{
	return (__u64)(kind & 0x1f) << 24 | index;
}

static void write_key(char kind, __u32 index, __u64 version, __u32 words)
{
	__u64 value[VG_XDP_VALUE_MAX / 8];
	char name[32];
	struct vg_key key = { name, (__u32)key_name(name, kind, index), 0 };

	key.hash = vg_hash64(name, key.length);
	if (vg_store_set(fixture.store, &key, NOW_MS, value, value_make(value, key_number(kind, index), version, words),
			 0))
		abort();
}

static void delete_key(char kind, __u32 index)
{
	char name[32];
	struct vg_key key = { name, (__u32)key_name(name, kind, index), 0 };

	key.hash = vg_hash64(name, key.length);
	vg_store_delete(fixture.store, &key, NOW_MS);
}

static void write_handle(__u32 index, __u64 version)
{
	__u64 data[HANDLE_BYTES / 8], handle = handles[index];

	value_make(data, key_number('h', index), version, HANDLE_BYTES / 8);
	if (handle && version % 8 == 0) {
		__atomic_store_n(&handles[index], 0, __ATOMIC_RELEASE);
		if (vg_store_release(fixture.store, handle))
			abort();
		return;
	}
	if (!handle && vg_store_alloc(fixture.store, HANDLE_BYTES, &handle))
		abort();
	if (vg_store_handle_write(fixture.store, handle, 0, data, sizeof(data)))
		abort();
	__atomic_store_n(&handles[index], handle, __ATOMIC_RELEASE);
}

static void *write_all_the_time(void *argument)
{
	__u64 random = 2, version = 2;

	pin_to(1);
	vg_store_worker(fixture.store, 1);
	for (; !__atomic_load_n(&stop, __ATOMIC_RELAXED); version++) {
		__u64 draw = random_next(&random);
		__u32 words = 1 + (__u32)(draw >> 40) % 128;

		write_key('s', (__u32)draw % STABLE, version, words);
		if (draw >> 32 & 1)
			write_key('f', (__u32)(draw >> 8) % FLEETING, version, words);
		else
			delete_key('f', (__u32)(draw >> 8) % FLEETING);
		write_handle((__u32)(draw >> 16) % HANDLES, version);
		if (grown < GROWING) {
			write_key('g', grown, version, 1 + words % 4);
			__atomic_store_n(&grown, grown + 1, __ATOMIC_RELEASE);
		}
		__atomic_store_n(&writes, version, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* What is passed up brings the request it was; only padding may be lost, and then the checksum is made to fit. */
static void expect_request_intact(struct packet *packet, struct packet *before)
{
	__u32 request_end = before->header + (__u32)vg_wire_length(packet_header(before));

	assert_int_equal(packet->length, before->length);
	assert_true(packet_checksums_right(packet));
	assert_memory_equal(packet->bytes, before->bytes, before->udp + 6);
	assert_memory_equal(packet->bytes + before->header, before->bytes + before->header,
			    request_end - before->header);
}

/* Also after a failure, or it would write to memory that is gone. */
static void writer_stop(void)
{
	if (!writer)
		return;
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(writer, NULL);
	writer = 0;
}

static void read_key(char kind, __u32 index, struct tally *tally)
{
	struct packet packet, before;
	const struct vg_wire_header *header;
	struct request get;
	char name[32];

	get = request_get(name, (__u32)key_name(name, kind, index));
	get = request_get(name, get.key_length);
	get.room = VG_XDP_VALUE_MAX;
	get.version = index % 2 ? 6 : 4;
	packet_build(&packet, &get);
	before = packet;
	if (packet_run_quickly(fixture.program, &packet) == XDP_PASS) {
		expect_request_intact(&packet, &before);
		tally->busy++;
		return;
	}
	header = packet_header(&packet);
	if (header->status == VG_STATUS_NOT_FOUND) {
		assert_int_equal(kind, 'f');
		tally->missing++;
		return;
	}
	assert_int_equal(header->status, VG_STATUS_OK);
	assert_true(value_proves_itself((const __u8 *)(header + 1), VG_BE32TOH(header->body_length),
					key_number(kind, index)));
	tally->hits++;
}

static void read_handle(__u32 index, struct tally *tally)
{
	struct request get = { .opcode = VG_OP_HANDLE_GET, .argument = HANDLE_BYTES, .room = HANDLE_BYTES,
			       .ident = __atomic_load_n(&handles[index], __ATOMIC_ACQUIRE) };
	const struct vg_wire_header *header;
	struct packet packet, before;

	if (!get.ident)
		return;
	packet_build(&packet, &get);
	before = packet;
	if (packet_run_quickly(fixture.program, &packet) == XDP_PASS) {
		expect_request_intact(&packet, &before);
		tally->busy++;
		return;
	}
	header = packet_header(&packet);
	if (header->status == VG_STATUS_GONE) {
		tally->gone++;
		return;
	}
	assert_int_equal(header->status, VG_STATUS_OK);
	assert_true(value_proves_itself((const __u8 *)(header + 1), HANDLE_BYTES, key_number('h', index)));
	tally->hits++;
}

static __u64 seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec;
}

static void test_race_no_torn_read(void **state)
{
	const struct vg_arena_header *arena = (void *)fixture.arena;
	__u64 control = arena->index_control, random = 1, end;
	struct tally keys = { 0 }, spans = { 0 };

	for (__u32 i = 0; i < STABLE; i++)
		write_key('s', i, 1, 8);
	pin_to(0);
	assert_int_equal(pthread_create(&writer, NULL, write_all_the_time, NULL), 0);
	for (end = seconds_now() + SECONDS; seconds_now() < end;) {
		for (int i = 0; i < 100; i++) {
			__u64 draw = random_next(&random);
			__u32 there = __atomic_load_n(&grown, __ATOMIC_ACQUIRE);

			read_key('s', (__u32)draw % STABLE, &keys);
			read_key('f', (__u32)(draw >> 16) % FLEETING, &keys);
			if (there)
				read_key('g', draw & 1 ? there - 1 : (__u32)(draw >> 8) % there, &keys);
			read_handle((__u32)(draw >> 32) % HANDLES, &spans);
		}
	}
	writer_stop();
	print_message("# %llu writes; keys: %llu hits, %llu not there, %llu passed; handles: %llu hits, %llu gone, "
		      "%llu passed\n",
		      writes, keys.hits, keys.missing, keys.busy, spans.hits, spans.gone, spans.busy);
	assert_true(keys.hits > 10000 && spans.hits > 1000 && keys.missing > 100);
	assert_true(writes > 10000);
	assert_true(arena->index_control > control);
}

static int setup(void **state)
{
	fixture_open(&fixture, CLOCK_NS, 256 << 20);
	return 0;
}

static int teardown(void **state)
{
	writer_stop();
	fixture_close(&fixture);
	return 0;
}

static void test_race_skipped(void **state)
{
	print_message("# %s\n", bpf_unavailable() ?: "one processor");
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_race_no_torn_read, setup, teardown) };
	const struct CMUnitTest skipped[] = { cmocka_unit_test(test_race_skipped) };

	if (bpf_unavailable() || libbpf_num_possible_cpus() < 2)
		return cmocka_run_group_tests_name("race", skipped, NULL, NULL);
	return cmocka_run_group_tests_name("race", tests, NULL, NULL);
}
