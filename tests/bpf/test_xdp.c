/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Every way a packet can leave xdp_ingress, by BPF_PROG_RUN on packets made here: verdict, reason, and for what is
 * passed up that not one byte was changed. The last test asserts that every reason there is has been met, but for those
 * of the other programs, which test_egress.c asserts.
 */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/bpf.h>

static struct fixture fixture;
static bool reasons_met[VG_REASON_MAX];
static const __u64 cluster_key[2] = { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL };

#define X(name, verdict, text) #name,
static const char *const reason_names[] = { VG_REASONS(X) };
#undef X

/* Run; the packet must leave with this verdict and reason, and unchanged if it is passed. */
static void expect(struct packet *packet, int verdict, enum vg_reason reason)
{
	struct packet before = *packet;
	enum vg_reason met = VG_REASON_MAX;
	int got = fixture_run(&fixture, packet, &met);

	if (met != reason)
		print_message("# met %s instead of %s\n", reason_names[met], reason_names[reason]);
	assert_int_equal(met, reason);
	assert_int_equal(got, verdict);
	assert_int_equal(packet->length, before.length);
	if (verdict == XDP_PASS)
		assert_memory_equal(packet->bytes, before.bytes, before.length);
	else
		assert_true(packet_checksums_right(packet));
	reasons_met[met] = true;
}

static void expect_request(const struct request *request, int verdict, enum vg_reason reason)
{
	struct packet packet;

	packet_build(&packet, request);
	expect(&packet, verdict, reason);
}

static int setup(void **state)
{
	fixture_open(&fixture, CLOCK_NS, 64 << 20);
	return 0;
}

static int teardown(void **state)
{
	fixture_close(&fixture);
	return 0;
}

#include "xdp_parse.h"
#include "xdp_quick.h"

/* ---- admission ---- */

static void test_xdp_admission(void **state)
{
	const struct request ping = { .opcode = VG_OP_PING };
	struct request tagged = { .opcode = VG_OP_PING, .cluster_key = cluster_key };
	struct vg_arena_header *arena = (void *)fixture.arena;
	char long_key[VG_XDP_KEY_MAX + 1] = { 0 };
	struct packet packet;

	fixture.local->lease_until_ns = CLOCK_NS;
	expect_request(&ping, XDP_PASS, VG_REASON_NO_LEASE);
	fixture.local->lease_until_ns = CLOCK_NS + 1;
	expect_request(&ping, XDP_TX, VG_REASON_PING);
	arena->layout_version++;
	expect_request(&ping, XDP_PASS, VG_REASON_NO_ARENA);
	arena->layout_version--;
	arena->magic ^= 1;
	expect_request(&ping, XDP_PASS, VG_REASON_NO_ARENA);
	arena->magic ^= 1;

	fixture.config->flags = VG_CONFIG_KEYED;
	memcpy(fixture.config->cluster_key, cluster_key, sizeof(cluster_key));
	expect_request(&ping, XDP_PASS, VG_REASON_BAD_TAG);
	expect_request(&tagged, XDP_TX, VG_REASON_PING);
	tagged.hops = 2; /* is not covered */
	expect_request(&tagged, XDP_TX, VG_REASON_PING);
	for (__u32 at = 8; at < 80; at += 8) { /* every word is covered, and the tag is compared whole */
		packet_build(&packet, &tagged);
		if (at == 40)
			continue; /* lengths: refused before the tag is looked at */
		packet.bytes[packet.header + at + (at == 64 ? 4 : 0)] ^= 1;
		packet_repair(&packet);
		expect(&packet, XDP_PASS, VG_REASON_BAD_TAG);
	}
	tagged = request_get(long_key, sizeof(long_key));
	tagged.cluster_key = cluster_key;
	expect_request(&tagged, XDP_PASS, VG_REASON_KEY_TOO_LONG);
	fixture.config->flags = 0;
}

/* The budget is of this CPU and this tick: a new program has its own. */
static void test_xdp_budget(void **state)
{
	const struct request ping = { .opcode = VG_OP_PING };
	static struct vg_budget budget[CPUS_MAX];
	int map = bpf_map__fd(fixture.skeleton->maps.vg_budget);
	__u32 zero = 0;

	memset(budget, 0, sizeof(budget));
	assert_int_equal(bpf_map_update_elem(map, &zero, budget, BPF_ANY), 0);
	fixture.config->budget_per_ms = 2;
	for (int i = 0; i < libbpf_num_possible_cpus(); i++)
		budget[i].tick_ns = CLOCK_NS - 3 * 1000000;
	assert_int_equal(bpf_map_update_elem(map, &zero, budget, BPF_ANY), 0);
	for (int i = 0; i < libbpf_num_possible_cpus() * 6 + 1; i++) {
		struct packet packet;
		enum vg_reason reason;

		packet_build(&packet, &ping);
		fixture_run(&fixture, &packet, &reason);
		if (reason == VG_REASON_BUDGET) {
			assert_true(i >= 6);
			expect_request(&ping, XDP_PASS, VG_REASON_BUDGET);
			break;
		}
		assert_int_equal(reason, VG_REASON_PING);
	}
	assert_true(reasons_met[VG_REASON_BUDGET]);
	fixture.config->budget_per_ms = 0; /* the default, after a tick */
	memset(budget, 0, sizeof(budget));
	assert_int_equal(bpf_map_update_elem(map, &zero, budget, BPF_ANY), 0);
	expect_request(&ping, XDP_TX, VG_REASON_PING);
	assert_int_equal(bpf_map_lookup_elem(map, &zero, budget), 0);
	for (int i = 0; i < libbpf_num_possible_cpus(); i++)
		assert_true(budget[i].tokens <= 10 * VG_XDP_BUDGET_DEFAULT);
	fixture.config->budget_per_ms = ~0u;
	memset(budget, 0, sizeof(budget));
	assert_int_equal(bpf_map_update_elem(map, &zero, budget, BPF_ANY), 0);
}

/* ---- keys ---- */

static void test_xdp_get(void **state)
{
	char value[VG_XDP_VALUE_MAX + 1], name[32];
	struct packet packet;

	for (unsigned int i = 0; i < sizeof(value); i++)
		value[i] = (char)(i * 31 + 7);
	for (__u32 length = 0; length <= VG_XDP_VALUE_MAX; length += length < 140 ? 1 : 221) {
		for (int shape = 0; shape < 4; shape++) {
			struct request get = request_get(name, 0);
			const struct vg_wire_header *header;

			snprintf(name, sizeof(name), "key-of-%u", length);
			store_set(fixture.store, name, value, length, 0);
			get = request_get(name, (__u32)strlen(name));
			get.version = shape & 1 ? 6 : 4;
			get.vlan_tags = shape / 2;
			get.room = length > 16 ? length : 16; /* not one byte more */
			packet_build(&packet, &get);
			expect(&packet, XDP_TX, VG_REASON_HIT);
			header = packet_header(&packet);
			assert_int_equal(VG_BE32TOH(header->body_length), length);
			assert_memory_equal(header + 1, value, length);
		}
	}
	store_set(fixture.store, "large", value, VG_XDP_VALUE_MAX + 1, 0);
	struct request get = request_get("large", 5);
	get.room = 1200;
	expect_request(&get, XDP_PASS, VG_REASON_TOO_LONG);
	store_set(fixture.store, "roomy", value, 100, 0);
	get = request_get("roomy", 5);
	get.room = 99;
	expect_request(&get, XDP_PASS, VG_REASON_NO_ROOM);
}

static void test_xdp_get_refusals(void **state)
{
	static char heap[VG_CELL_MAX + 100], long_key[VG_XDP_KEY_MAX + 1];
	struct request get;
	struct packet packet;

	store_set(fixture.store, "heap", heap, sizeof(heap), 0);
	get = request_get("heap", 4);
	expect_request(&get, XDP_PASS, VG_REASON_IN_HEAP);
	get = request_get(long_key, sizeof(long_key));
	expect_request(&get, XDP_PASS, VG_REASON_KEY_TOO_LONG);
	get = request_get("body", 4);
	get.body_length = 8;
	expect_request(&get, XDP_PASS, VG_REASON_BAD_HEADER);
	get = request_get("pad", 3);
	packet_build(&packet, &get);
	packet.bytes[packet.header + 80 + 3] = 1;
	packet_repair(&packet);
	expect(&packet, XDP_PASS, VG_REASON_BAD_HEADER);
	get = request_get("absent", 6);
	get.epoch = EPOCH + 1;
	expect_request(&get, XDP_PASS, VG_REASON_STALE_EPOCH);
	get.epoch = EPOCH;
	expect_request(&get, XDP_TX, VG_REASON_NOT_FOUND);
	get.opcode = VG_OP_SET;
	expect_request(&get, XDP_PASS, VG_REASON_NOT_A_READ);
	for (int opcode = VG_OP_HANDLE_ALLOC; opcode < VG_OP_MAX; opcode++) {
		if (opcode == VG_OP_MGET)
			continue;
		const struct request other = { .opcode = (__u8)opcode, .ident = opcode == VG_OP_HANDLE_FREE ?
						       vg_handle_make(SELF, 1, 1) : 0 };

		expect_request(&other, XDP_PASS, VG_REASON_NOT_A_READ);
	}
}

/*
 * NOT_FOUND is said only under the key's own hash and partition: which makes XDP's functions answerable for every
 * length.
 */
static void test_xdp_hash_and_partition(void **state)
{
	static const char *const tags[] = { "{a}b",
					    "a{bc}d",
					    "a{}b",
					    "{",
					    "}",
					    "{{a}}",
					    "a{b",
					    "}{a}",
					    "{a}{b}",
					    "x{}{y}",
					    "a{b}c}d",
					    "{}{}",
					    "aaaaaaaaaaaaaaaaaaaaa{bbbbbbbbbbbbbbbbbbbbbbbbbb}cccccc" };
	__u64 random = 1;
	char key[VG_XDP_KEY_MAX];

	for (__u32 length = 0; length <= VG_XDP_KEY_MAX; length++) {
		struct request get;

		for (__u32 i = 0; i < length; i++)
			key[i] = (char)random_next(&random);
		get = request_get(key, length);
		expect_request(&get, XDP_TX, VG_REASON_NOT_FOUND);
		get.version = 6;
		expect_request(&get, XDP_TX, VG_REASON_NOT_FOUND);
		get.ident ^= 1ULL << (length % 64);
		expect_request(&get, XDP_PASS, VG_REASON_HASH_MISMATCH);
		get.ident ^= 1ULL << (length % 64);
		get.partition ^= 1u << (length % 14);
		expect_request(&get, XDP_PASS, VG_REASON_HASH_MISMATCH);
	}
	for (unsigned int i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
		struct request get = request_get(tags[i], (__u32)strlen(tags[i]));

		expect_request(&get, XDP_TX, VG_REASON_NOT_FOUND);
	}
}

static void test_xdp_deadlines(void **state)
{
	static const struct {
		__s64 after_ms;
		enum vg_reason reason;
	} cases[] = {
		{ 1, VG_REASON_NEAR_EXPIRY }, { VG_EXPIRY_DOUBT_MS, VG_REASON_NEAR_EXPIRY },
		{ VG_EXPIRY_DOUBT_MS + 1, VG_REASON_HIT }, { 1 << 30, VG_REASON_HIT },
	};
	struct request get = request_get("mortal", 6);
	__u64 offset_ns = fixture.local->unix_offset_ns;

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		store_set(fixture.store, "mortal", "value", 5, NOW_MS + (__u64)cases[i].after_ms);
		expect_request(&get, cases[i].reason == VG_REASON_HIT ? XDP_TX : XDP_PASS, cases[i].reason);
	}
	store_set(fixture.store, "mortal", "value", 5, NOW_MS + 1000);
	fixture.local->unix_offset_ns = offset_ns + 999 * 1000000ULL;
	expect_request(&get, XDP_PASS, VG_REASON_NEAR_EXPIRY);
	fixture.local->unix_offset_ns = offset_ns + 1000 * 1000000ULL;
	expect_request(&get, XDP_TX, VG_REASON_EXPIRED);
	fixture.local->unix_offset_ns = offset_ns;
}

/* The bucket of a key, as a writer would find it. */
static struct vg_bucket *bucket_of(const char *key)
{
	const struct vg_arena_header *arena = (void *)fixture.arena;
	__u32 bucket = vg_index_bucket(arena->index_control, vg_hash64(key, strlen(key)));

	return (struct vg_bucket *)(fixture.arena + arena->index_offset) + bucket;
}

static void test_xdp_writer_in_bucket(void **state)
{
	struct request get = request_get("locked", 6);

	store_set(fixture.store, "locked", "value", 5, 0);
	bucket_of("locked")->sequence++;
	expect_request(&get, XDP_PASS, VG_REASON_BEING_WRITTEN);
	bucket_of("locked")->sequence++;
	expect_request(&get, XDP_TX, VG_REASON_HIT);
}

/* Three lines are followed, and the fourth is not; items there are the daemon's. */
static void test_xdp_chain(void **state)
{
	struct vg_bucket *line = bucket_of("chained"), *spare;
	struct request get = request_get("chained", 7);
	struct vg_bucket before = *line;

	spare = (struct vg_bucket *)(fixture.arena + (64 << 20) + 4096);
	memset(spare, 0, 4 * sizeof(*spare));
	*line = (struct vg_bucket){ .sequence = before.sequence, .next = (__u32)((__u8 *)spare - fixture.arena) };
	expect_request(&get, XDP_TX, VG_REASON_NOT_FOUND);
	spare[0].next = line->next + 64;
	expect_request(&get, XDP_TX, VG_REASON_NOT_FOUND);
	spare[1].next = line->next + 128;
	expect_request(&get, XDP_PASS, VG_REASON_CHAIN);
	*line = before;
}

/* A use is noted in the slot's word: that there was one, and how often up to three times. The item stays as it is. */
static void test_xdp_use_is_noted(void **state)
{
	struct request get = request_get("touched", 7);
	struct vg_bucket *bucket;
	struct vg_item *item, before;
	__u32 *word = NULL;

	store_set(fixture.store, "touched", "value", 5, NOW_MS + 100000);
	bucket = bucket_of("touched");
	for (int i = 0; i < VG_BUCKET_SLOTS; i++)
		if (bucket->tag[i] == vg_index_tag(get.ident))
			word = &bucket->cell[i];
	assert_non_null(word);
	assert_int_equal(*word & ~VG_CELL_OFFSET, 0);
	item = (struct vg_item *)(fixture.arena + (*word & VG_CELL_OFFSET));
	before = *item;
	for (__u32 use = 1; use < 6; use++) {
		expect_request(&get, XDP_TX, VG_REASON_HIT);
		assert_int_equal(*word & ~VG_CELL_OFFSET, VG_CELL_USED | (use < 3 ? use : 3));
	}
	assert_memory_equal(item, &before, sizeof(before));
	assert_true(item->flags & VG_ITEM_DEADLINE);
	assert_int_equal(vg_load64(item + 1), NOW_MS + 100000);
}

/* ---- handles ---- */

static void test_xdp_handles(void **state)
{
	struct request get = { .opcode = VG_OP_HANDLE_GET, .room = 1100 };
	__u8 data[2000], *body;
	struct packet packet;
	__u64 handle, large;

	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (__u8)(i * 7 + 1);
	assert_int_equal(vg_store_alloc(fixture.store, sizeof(data), &handle), 0);
	assert_int_equal(vg_store_alloc(fixture.store, VG_CELL_MAX + 1, &large), 0);
	assert_int_equal(vg_store_handle_write(fixture.store, handle, 0, data, sizeof(data)), 0);
	get.ident = handle;
	for (__u32 length = 1; length <= VG_XDP_VALUE_MAX; length += 31)
		for (__u32 offset = 0; offset < 24; offset += 5) {
			get.argument = (__u64)offset << 32 | length;
			get.version = length & 1 ? 4 : 6;
			packet_build(&packet, &get);
			expect(&packet, XDP_TX, VG_REASON_HANDLE_HIT);
			body = packet.bytes + packet.header + 80;
			assert_memory_equal(body, data + offset, length);
			assert_int_equal(body[length], 0); /* nothing of the arena behind what was asked for */
		}
	get.argument = (__u64)1990 << 32 | 11;
	expect_request(&get, XDP_PASS, VG_REASON_HANDLE_RANGE);
	get.argument = 0;
	expect_request(&get, XDP_PASS, VG_REASON_HANDLE_RANGE);
	get.argument = 0xffffffff00000001ULL;
	expect_request(&get, XDP_PASS, VG_REASON_HANDLE_RANGE);
	get.argument = VG_XDP_VALUE_MAX + 1;
	expect_request(&get, XDP_PASS, VG_REASON_TOO_LONG);
	get.argument = 100;
	get.room = 99;
	expect_request(&get, XDP_PASS, VG_REASON_NO_ROOM);
	get.room = 100;
	expect_request(&get, XDP_TX, VG_REASON_HANDLE_HIT);
	get.ident = vg_handle_make(SELF, vg_handle_generation(handle) + 1, vg_handle_slot_index(handle));
	expect_request(&get, XDP_TX, VG_REASON_HANDLE_GONE);
	get.ident = vg_handle_make(SELF, 1, (1u << 28) - 1);
	expect_request(&get, XDP_PASS, VG_REASON_HANDLE_RANGE);
	get.ident = vg_handle_make(VG_NODES_MAX, 1, 1);
	expect_request(&get, XDP_PASS, VG_REASON_HANDLE_RANGE);
	get.ident = large;
	expect_request(&get, XDP_PASS, VG_REASON_IN_HEAP);
	get.ident = handle;
	assert_int_equal(vg_store_release(fixture.store, handle), 0);
	expect_request(&get, XDP_TX, VG_REASON_HANDLE_GONE);
}

/* ---- answers to the byte ---- */

static void test_xdp_answer_golden(void **state)
{
	static const __u8 expected[] = {
		/* Ethernet, IPv4, UDP: turned round */
		2,
		0,
		0,
		0,
		0,
		2,
		2,
		0,
		0,
		0,
		0,
		1,
		0x08,
		0x00,
		0x45,
		0x00,
		0x00,
		0x75,
		0x12,
		0x34,
		0x40,
		0x00,
		0x40,
		0x11,
		0x14,
		0x42,
		10,
		0,
		0,
		1,
		10,
		0,
		0,
		2,
		0x75,
		0x30,
		0x9c,
		0x40,
		0x00,
		0x61,
		0x00,
		0x00,
		/* VIRGO: magic, version, GET, REPLY, hops, OK; client; sequence */
		0x56,
		0x47,
		1,
		2,
		0x00,
		0x01,
		0,
		0,
		0x11,
		0x22,
		0x33,
		0x44,
		0x55,
		0x66,
		0x77,
		0x88,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		42,
		/* node 1, partition 15495 ("a"), epoch 5; hash; key and body length; argument */
		0,
		1,
		0x3c,
		0x87,
		0,
		0,
		0,
		5,
		0xd2,
		0x4e,
		0xc4,
		0xf1,
		0xa9,
		0x8c,
		0x6e,
		0x5b,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		3,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		/* load: 3 in flight, 4 ns, 5 ns, 600 permille; no tag */
		0,
		0,
		0,
		3,
		0,
		0,
		0,
		4,
		0,
		0,
		0,
		5,
		0x02,
		0x58,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		/* the value, and padding left from the request */
		'x',
		'y',
		'z',
		0,
		0,
		0,
		0,
		0,
		0,
	};
	struct request get = request_get("a", 1);
	struct packet packet;

	store_set(fixture.store, "a", "xyz", 3, 0);
	get.room = 9;
	get.sequence = 42;
	packet_build(&packet, &get);
	expect(&packet, XDP_TX, VG_REASON_HIT);
	assert_int_equal(packet.length, sizeof(expected));
	assert_memory_equal(packet.bytes, expected, sizeof(expected));
}

static void test_xdp_answer_is_tagged(void **state)
{
	struct request get = request_get("tagged", 6);
	const struct vg_wire_header *header;
	struct packet packet;

	store_set(fixture.store, "tagged", "value", 5, 0);
	fixture.config->flags = VG_CONFIG_KEYED;
	memcpy(fixture.config->cluster_key, cluster_key, sizeof(cluster_key));
	get.cluster_key = cluster_key;
	packet_build(&packet, &get);
	expect(&packet, XDP_TX, VG_REASON_HIT);
	header = packet_header(&packet);
	assert_int_equal(VG_BE16TOH(header->flags), VG_FLAG_REPLY | VG_FLAG_TAGGED);
	assert_true(header->tag == vg_wire_tag(cluster_key, header));
	fixture.config->flags = 0;
}

#include "xdp_steering.h"
#include "xdp_many.h"
#include "xdp_memcache.h"
#include "xdp_load.h"

static void test_every_reason_was_met(void **state)
{
	int missing = 0;

	for (int reason = 0; reason < VG_REASON_MAX; reason++)
		if (!reasons_met[reason] && !reason_is_of_others((enum vg_reason)reason)) {
			print_message("# never met: %s\n", reason_names[reason]);
			missing++;
		}
	assert_int_equal(missing, 0);
}

static void test_bpf(void **state)
{
	print_message("# %s\n", bpf_unavailable());
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xdp_link_and_network), cmocka_unit_test(test_xdp_only_for_its_own_address),
		cmocka_unit_test(test_xdp_lengths), cmocka_unit_test(test_xdp_vlan),
		cmocka_unit_test(test_xdp_header_fields),
		cmocka_unit_test(test_xdp_admission), cmocka_unit_test(test_xdp_budget),
		cmocka_unit_test(test_xdp_get), cmocka_unit_test(test_xdp_get_refusals),
		cmocka_unit_test(test_xdp_many), cmocka_unit_test(test_xdp_many_refusals),
		cmocka_unit_test(test_xdp_memcache_values), cmocka_unit_test(test_xdp_memcache_lines),
		cmocka_unit_test(test_xdp_memcache_refusals),
		cmocka_unit_test(test_xdp_short_cut_shapes), cmocka_unit_test(test_xdp_short_cut_refusals),
		cmocka_unit_test(test_xdp_hash_and_partition), cmocka_unit_test(test_xdp_deadlines),
		cmocka_unit_test(test_xdp_writer_in_bucket), cmocka_unit_test(test_xdp_chain),
		cmocka_unit_test(test_xdp_use_is_noted), cmocka_unit_test(test_xdp_handles),
		cmocka_unit_test(test_xdp_answer_golden), cmocka_unit_test(test_xdp_answer_is_tagged),
		cmocka_unit_test(test_xdp_steering), cmocka_unit_test(test_xdp_steered_here),
		cmocka_unit_test(test_xdp_stamps_by_address), cmocka_unit_test(test_xdp_stamps_by_tag),
		cmocka_unit_test(test_xdp_jobs_go_to_the_best_node),
		cmocka_unit_test(test_xdp_jobs_without_a_place_stay),
		cmocka_unit_test(test_every_reason_was_met),
	};
	const struct CMUnitTest skipped[] = { cmocka_unit_test(test_bpf) };

	if (bpf_unavailable())
		return cmocka_run_group_tests_name("bpf", skipped, NULL, NULL);
	return cmocka_run_group_tests_name("xdp", tests, setup, teardown);
}
