/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The daemon and XDP over one arena, each asked the same: where XDP answers, the daemon must answer the same to the
 * byte (but for the load stamp, which is each one's own, and the tag over it); what XDP sends on, the daemon must not
 * have answered itself. 100,000 packets from a seed that is printed; VG_SEED repeats a run, VG_PACKETS makes it longer.
 */
#include "memcache_packet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <linux/bpf.h>

#include "../unit/fake_node.h"

#define KEYS 600
#define HANDLES 64
#define OTHER_NODE 2

static struct fixture fixture;
static struct fake_node *node;
static __u64 random_state, sequence, handles[HANDLES];
static const __u64 cluster_key[2] = { 3, 4 };

struct tally {
	int answered[VG_OP_MAX][VG_STATUS_MAX], steered, passed;
};

static __u32 draw(__u32 below)
{
	return (__u32)(random_next(&random_state) % below);
}

/* Key number n: always the same bytes; lengths 0 … 135, some with a {tag}, some binary. */
static __u32 key_make(__u8 *key, __u32 number)
{
	__u64 state = number;
	__u32 length = number % 7 ? number % 40 : number % 136;

	for (__u32 i = 0; i < length; i++)
		key[i] = number % 3 ? (__u8)('a' + random_next(&state) % 26) : (__u8)random_next(&state);
	if (length > 8 && number % 5 == 0) {
		key[length / 4] = '{';
		key[length / 2] = '}';
	}
	return length;
}

static void key_store(__u32 number)
{
	__u8 bytes[VG_KEY_MAX], value[VG_CELL_MAX + 1000];
	struct vg_key key = { bytes, key_make(bytes, number), 0 };
	__u32 length = number % 11 == 0 ? draw(sizeof(value)) : draw(1400) >> draw(8);
	__u64 expire_ms = draw(4) ? 0 : NOW_MS + 1 + draw(60);

	for (__u32 i = 0; i < length; i++)
		value[i] = (__u8)random_next(&random_state);
	key.hash = vg_hash64(bytes, key.length);
	assert_int_equal(vg_store_set(fixture.store, &key, NOW_MS, value, length, expire_ms), 0);
}

static void handle_store(__u32 index)
{
	__u8 data[VG_CELL_MAX];
	__u32 length = 1 + draw(draw(8) ? 1500 : 6000);

	if (handles[index])
		vg_store_release(fixture.store, handles[index]); /* the old name is asked for again, and must be gone */
	if (draw(4) == 0)
		return;
	assert_int_equal(vg_store_alloc(fixture.store, length, &handles[index]), 0);
	for (__u32 i = 0; i < sizeof(data); i++)
		data[i] = (__u8)random_next(&random_state);
	assert_int_equal(vg_store_handle_write(fixture.store, handles[index], 0, data,
					       length < sizeof(data) ? length : sizeof(data)), 0);
}

/* ---- requests ---- */

/* Sequences grow, as a client's do: the same one twice would be answered from memory. */
static void request_draw(struct request *request, __u8 *key)
{
	static const __u8 opcodes[] = { VG_OP_GET, VG_OP_GET, VG_OP_GET, VG_OP_GET, VG_OP_HANDLE_GET, VG_OP_HANDLE_GET,
					VG_OP_PING, 0 };
	__u32 number = draw(KEYS);

	*request = request_get(key, key_make(key, number));
	request->sequence = ++sequence;
	request->opcode = opcodes[draw(sizeof(opcodes))] ?: (__u8)(1 + draw(VG_OP_MAX - 1));
	request->version = draw(2) ? 6 : 4;
	request->vlan_tags = (int)draw(3);
	request->room = draw(4) ? 1352 : draw(1352) >> draw(6);
	request->epoch = (const __u32[]){ 0, EPOCH, EPOCH, EPOCH + 1 }[draw(4)];
	if (draw(20) == 0)
		request->partition = (__u16)draw(65536);
	if (draw(20) == 0)
		request->ident = random_next(&random_state);
	if (draw(20) == 0)
		request->flags = (__u16)(draw(VG_FLAGS_KNOWN + 1) & ~(VG_FLAG_TAGGED | (draw(8) ? VG_FLAG_REPLY : 0)));
	if (request->opcode == VG_OP_SET)
		request->body_length = draw(900);
	if (request->opcode == VG_OP_PING || (request->opcode >= VG_OP_HANDLE_GET && draw(20)))
		request->key_length = request->partition = 0;
	if (request->opcode >= VG_OP_HANDLE_GET && request->opcode <= VG_OP_HANDLE_FREE) {
		request->ident = draw(10) ? handles[draw(HANDLES)] : random_next(&random_state) >> draw(20);
		request->argument = (__u64)draw(draw(4) ? 300 : 6000) << 32 | draw(draw(8) ? 1000 : 6000);
		if (request->opcode == VG_OP_HANDLE_FREE)
			request->opcode = VG_OP_HANDLE_GET; /* handles are freed by the test, which then knows it */
	}
	if (node->cluster.key && draw(20))
		request->cluster_key = cluster_key;
}

/* Now and then a byte is not what the sender meant. */
static void packet_draw(struct packet *packet)
{
	struct request request;
	__u8 key[256];

	request_draw(&request, key);
	if (80 + VG_ALIGN_UP(request.key_length, 8u) + request.body_length > VG_DATAGRAM_MAX)
		request.body_length = 0;
	packet_build(packet, &request);
	if (draw(10) == 0) {
		packet->bytes[packet->header + draw(packet->length - packet->header)] ^= (__u8)(1 << draw(8));
		packet_repair(packet);
	}
}

/* ---- the daemon's answer ---- */

/* As the worker hands a datagram to the service; false: it would not, or the service did not answer. */
static bool daemon_answers(const struct packet *packet)
{
	const struct vg_wire_header *header = (const void *)(packet->bytes + packet->header);
	__u32 length = packet->length - packet->header;
	struct vg_datagram datagram = { .header = header, .length = length, .key = (const __u8 *)(header + 1) };

	fake.datagrams = 0;
	if (vg_wire_check(header) != VG_WIRE_OK || vg_wire_length(header) > length)
		return false;
	datagram.body = datagram.key + vg_wire_key_padded(header);
	datagram.proven = node->cluster.key && header->flags & VG_HTOBE16(VG_FLAG_TAGGED) &&
			  header->tag == vg_wire_tag(node->cluster.key, header);
	vg_service_mem.datagram(&node->env, &datagram);
	return fake.datagrams == 1;
}

static void expect_same(struct packet *packet, struct tally *tally)
{
	struct vg_wire_header ours = *packet_header(packet), theirs;

	assert_true(packet_checksums_right(packet));
	assert_true(fake.datagram_length >= sizeof(theirs));
	memcpy(&theirs, fake.datagram, sizeof(theirs));
	assert_memory_equal(&ours, &theirs, offsetof(struct vg_wire_header, load));
	assert_int_equal(fake.datagram_length, sizeof(theirs) + VG_BE32TOH(theirs.body_length));
	assert_memory_equal(packet_header(packet) + 1, fake.datagram + sizeof(theirs), VG_BE32TOH(theirs.body_length));
	if (node->cluster.key)
		assert_true(ours.tag == vg_wire_tag(cluster_key, &ours));
	else
		assert_true(!ours.tag);
	tally->answered[ours.opcode][ours.status]++;
}

static void ask_both(struct packet *packet, struct tally *tally)
{
	struct packet before = *packet;
	int verdict = packet_run_quickly(fixture.program, packet);
	bool answered = daemon_answers(&before);

	if (verdict == XDP_PASS) {
		assert_memory_equal(packet->bytes, before.bytes, before.length);
		tally->passed++;
	} else if (packet_header(packet)->flags & VG_HTOBE16(VG_FLAG_REPLY)) {
		assert_int_equal(verdict, XDP_TX);
		assert_true(answered);
		expect_same(packet, tally);
	} else {
		/* Steered: the daemon says it is not its own, or objects to the request, which the owner would too. */
		assert_true(!answered || ((struct vg_wire_header *)fake.datagram)->status != VG_STATUS_OK);
		tally->steered++;
	}
}

static void run(__u32 packets)
{
	struct tally tally = { 0 };
	struct packet packet;

	for (__u32 i = 0; i < packets; i++) {
		if (draw(16) == 0)
			key_store(draw(KEYS) & ~1u); /* odd ones mostly do not exist */
		if (draw(64) == 0)
			handle_store(draw(HANDLES));
		packet_draw(&packet);
		ask_both(&packet, &tally);
	}
	print_message(
		"# %u packets: %d passed, %d steered; GET: %d ok, %d not found; HANDLE_GET: %d ok, %d gone; PING: %d\n",
		packets, tally.passed, tally.steered, tally.answered[VG_OP_GET][VG_STATUS_OK],
		tally.answered[VG_OP_GET][VG_STATUS_NOT_FOUND], tally.answered[VG_OP_HANDLE_GET][VG_STATUS_OK],
		tally.answered[VG_OP_HANDLE_GET][VG_STATUS_GONE], tally.answered[VG_OP_PING][VG_STATUS_OK]);
	assert_true(tally.answered[VG_OP_GET][VG_STATUS_OK] > 100);
	assert_true(tally.answered[VG_OP_GET][VG_STATUS_NOT_FOUND] > 100);
	assert_true(tally.answered[VG_OP_HANDLE_GET][VG_STATUS_OK] > 100);
	assert_true(tally.answered[VG_OP_HANDLE_GET][VG_STATUS_GONE] > 100);
	assert_true(tally.steered > 100 && tally.passed > 100);
}

static __u32 packets_wanted(void)
{
	const char *text = getenv("VG_PACKETS");

	return text ? (__u32)strtoul(text, NULL, 0) : 100000;
}

/* ---- memcached's get ---- */

/* Key number n of those that memcached may name: printable, from one byte to more than XDP reads. */
static __u32 mc_key_make(char *key, __u32 number)
{
	__u32 length = 1 + number % (number % 5 ? 30 : 140);

	memset(key, 'a' + (char)(number % 26), length);
	snprintf(key, 8, "%u", number);
	key[strlen(key)] = number % 3 ? '{' : '-';
	key[length - 1] = number % 4 ? '}' : '~';
	key[length] = '\0';
	return length;
}

static __u32 mc_line_draw(char line[VG_DATAGRAM_MAX])
{
	static const char *const verbs[] = { "gets ", "get  ", "get", "set ", " get " };
	static const char *const ends[] = { "\n", "\r", "\r\r\n", " x\r\n", "\t\r\n", "", "\r\nget x\r\n" };
	__u32 blanks = draw(3) ? draw(1200) >> draw(8) : 0, bytes;
	char key[256];

	mc_key_make(key, draw(KEYS));
	bytes = (__u32)snprintf(line, VG_DATAGRAM_MAX, "%s%s", draw(16) ? "get " : verbs[draw(5)], key);
	memset(line + bytes, ' ', blanks);
	bytes += blanks;
	bytes += (__u32)snprintf(line + bytes, 20, "%s", draw(10) ? "\r\n" : ends[draw(7)]);
	if (draw(4) == 0) {
		__u32 behind = draw(VG_DATAGRAM_MAX - 8 - bytes);

		memset(line + bytes, 'z', behind);
		bytes += behind;
	}
	if (draw(20) == 0)
		line[draw(bytes)] ^= (char)(1 << draw(8));
	return bytes;
}

/* True: XDP answered, and the daemon the same. */
static bool mc_ask_both(struct packet *packet)
{
	static const struct sockaddr_in stranger = { .sin_family = AF_INET, .sin_addr.s_addr = VG_HTOBE32(0xc0a80001) };
	struct packet before = *packet;
	struct vg_datagram datagram = { .protocol = VG_PROTOCOL_MEMCACHE, .data = before.bytes + before.header,
					.length = before.length - before.header,
					.peer = (const struct sockaddr *)&stranger, .peer_length = sizeof(stranger) };

	if (packet_run_quickly(fixture.program, packet) == XDP_PASS) {
		assert_int_equal(packet->length, before.length);
		assert_memory_equal(packet->bytes, before.bytes, before.length);
		return false;
	}
	assert_true(packet_checksums_right(packet));
	fake.datagrams = 0;
	vg_service_mem.datagram(&node->env, &datagram);
	assert_int_equal(fake.datagrams, 1);
	assert_int_equal(mc_length(packet), fake.datagram_length);
	assert_memory_equal(packet->bytes + packet->header, fake.datagram, fake.datagram_length);
	return true;
}

static void test_differential_memcache(void **state)
{
	static char value[VG_CELL_MAX + 1000];
	__u32 answered = 0, hits = 0, packets = packets_wanted() / 4;
	char key[256], line[VG_DATAGRAM_MAX];
	struct packet packet;

	fixture.config->port_memcache = VG_HTOBE16(MC_PORT);
	memset(value, 'v', sizeof(value));
	for (__u32 i = 0; i < packets; i++) {
		if (i < KEYS / 2 || draw(16) == 0) {
			mc_key_make(key, draw(KEYS) & ~1u);
			mc_store(fixture.store, key, value, draw(11) ? draw(1200) >> draw(10) : draw(sizeof(value)),
				 draw(2) ? 0 : (__u32)random_next(&random_state), draw(4) ? 0 : NOW_MS + 1 + draw(60));
		}
		mc_build(&packet, draw(2) ? 6 : 4, (int)draw(3), line, mc_line_draw(line));
		if (!mc_ask_both(&packet))
			continue;
		answered++;
		hits += packet.bytes[packet.header + 8] == 'V';
	}
	print_message("# %u packets of memcached's: %u answered, %u of them with a value\n", packets, answered, hits);
	assert_true(hits > packets / 50 && answered - hits > packets / 50);
	fixture.config->port_memcache = 0;
}

static void test_differential_open_cluster(void **state)
{
	run(packets_wanted() / 2);
}

static void test_differential_keyed_cluster(void **state)
{
	fixture.config->flags = VG_CONFIG_KEYED;
	memcpy(fixture.config->cluster_key, cluster_key, sizeof(cluster_key));
	node->cluster.key = cluster_key;
	run(packets_wanted() / 2);
}

/* Two nodes share the partitions; the service stands on the store in the arena that XDP reads. */
static int setup(void **state)
{
	const char *seed = getenv("VG_SEED");

	random_state = seed ? strtoull(seed, NULL, 0) : (__u64)time(NULL);
	print_message("# VG_SEED=%llu\n", random_state);
	fixture_open(&fixture, CLOCK_NS, 64 << 20);
	node = fake_start(SELF, OTHER_NODE + 1, NULL);
	vg_store_free(node->env.store);
	munmap(node->arena, FAKE_ARENA_BYTES);
	node->env.store = fixture.store;
	vg_store_worker(fixture.store, SELF);
	node->cluster.epoch = EPOCH;
	node->clock = (struct vg_clock){ .monotonic_ns = CLOCK_NS, .unix_ns = CLOCK_NS + UNIX_OFFSET_NS };
	for (int i = 0; i < VG_PARTITIONS; i++) {
		node->cluster.owner[i] = i % 8 == 0 ? OTHER_NODE : i % 1001 == 0 ? VG_NODE_NONE : SELF;
		fixture.owners[i].node = node->cluster.owner[i];
	}
	fixture.nodes[OTHER_NODE] = (struct vg_node){ .flags = VG_NODE_HAS_V4 | VG_NODE_HAS_V6 | VG_NODE_HAS_MAC,
						      .ifindex = 1, .port_mem = VG_HTOBE16(PORT) };
	for (__u32 i = 0; i < HANDLES; i++)
		handle_store(i);
	for (__u32 i = 0; i < KEYS; i += 2)
		key_store(i);
	return 0;
}

static int teardown(void **state)
{
	vg_service_mem.deinit(&node->env);
	vg_out_pool_deinit(&node->chunks);
	fixture_close(&fixture);
	return 0;
}

static void test_differential_skipped(void **state)
{
	print_message("# %s\n", bpf_unavailable());
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_differential_open_cluster), cmocka_unit_test(test_differential_memcache),
		cmocka_unit_test(test_differential_keyed_cluster),
	};
	const struct CMUnitTest skipped[] = { cmocka_unit_test(test_differential_skipped) };

	if (bpf_unavailable())
		return cmocka_run_group_tests_name("differential", skipped, NULL, NULL);
	return cmocka_run_group_tests_name("differential", tests, setup, teardown);
}
