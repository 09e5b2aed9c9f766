/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * memcached's get over UDP, answered by XDP in the text that the daemon would say, or passed up as it came. Part of
 * test_xdp.c; test_differential.c asks the daemon itself.
 */
#include "memcache_packet.h"

static void mc_expect(struct packet *packet, enum vg_reason reason, const char *text)
{
	struct packet before = *packet;
	enum vg_reason met = VG_REASON_MAX;
	int verdict = fixture_run(&fixture, packet, &met);

	if (met != reason)
		print_message("# met %s instead of %s\n", reason_names[met], reason_names[reason]);
	assert_int_equal(met, reason);
	reasons_met[met] = true;
	assert_int_equal(packet->length, before.length);
	if (!text) {
		assert_int_equal(verdict, XDP_PASS);
		assert_memory_equal(packet->bytes, before.bytes, before.length);
		return;
	}
	assert_int_equal(verdict, XDP_TX);
	assert_true(packet_checksums_right(packet));
	assert_memory_equal(packet->bytes, before.bytes + 6, 6);
	assert_memory_equal(packet->bytes + 6, before.bytes, 6);
	assert_memory_equal(packet->bytes + packet->udp, before.bytes + before.udp + 2, 2);
	assert_memory_equal(packet->bytes + packet->udp + 2, before.bytes + before.udp, 2);
	assert_int_equal(mc_length(packet), 8 + strlen(text));
	assert_memory_equal(packet->bytes + packet->header, before.bytes + before.header, 8);
	assert_memory_equal(packet->bytes + packet->header + 8, text, strlen(text));
}

static void mc_ask(const char *line, enum vg_reason reason, const char *text)
{
	struct packet packet;

	for (int version = 4; version <= 6; version += 2) {
		mc_build(&packet, version, 0, line, (__u32)strlen(line));
		mc_expect(&packet, reason, text);
	}
}

/* Each value with a line that is long enough to the byte, and with one that lacks a byte. */
static void mc_value(const char *key, const char *value, __u32 length, __u32 client_flags, int shape)
{
	char text[VG_DATAGRAM_MAX], line[VG_DATAGRAM_MAX];
	struct packet packet;
	int head, bytes, asked;

	mc_store(fixture.store, key, value, length, client_flags, shape % 2 ? NOW_MS + 100000 : 0);
	head = snprintf(text, sizeof(text), "VALUE %s %u %u\r\n", key, client_flags, length);
	memcpy(text + head, value, length);
	bytes = head + (int)length + 7;
	memcpy(text + bytes - 7, "\r\nEND\r\n", 8);
	memset(line, ' ', sizeof(line));
	asked = snprintf(line, sizeof(line), "get %s", key);
	line[asked] = ' ';
	if (shape % 3) { /* blanks before the line end, or anything behind it */
		memcpy(line + bytes - 2, "\r\n", 2);
	} else {
		memset(line + asked, 'x', sizeof(line) - (size_t)asked);
		memcpy(line + asked, "\r\n", 2);
	}
	mc_build(&packet, shape & 1 ? 6 : 4, shape / 2, line, (__u32)bytes);
	mc_expect(&packet, VG_REASON_MEMCACHE_HIT, text);
	if (shape % 3)
		memcpy(line + bytes - 3, "\r\n", 2);
	mc_build(&packet, shape & 1 ? 6 : 4, shape / 2, line, (__u32)bytes - 1);
	mc_expect(&packet, VG_REASON_NO_ROOM, NULL);
}

static void test_xdp_memcache_values(void **state)
{
	static const __u32 lengths[] = { 0, 1, 7, 8, 9, 10, 63, 99, 100, 101, 512, 999, 1000, 1001, VG_XDP_VALUE_MAX };
	static const __u32 keys[] = { 1, 2, 7, 8, 9, 31, 32, 33, 100, 127, VG_XDP_KEY_MAX };
	static const __u32 flags[] = { 0, 9, 10, 4294967295u };
	char key[VG_XDP_KEY_MAX + 1], value[VG_XDP_VALUE_MAX];

	for (unsigned int i = 0; i < sizeof(value); i++)
		value[i] = (char)('!' + i * 31 % 90);
	fixture.config->port_memcache = VG_HTOBE16(MC_PORT);
	for (unsigned int i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (unsigned int j = 0; j < sizeof(keys) / sizeof(keys[0]); j++) {
			memset(key, 'k', sizeof(key));
			key[0] = '\xe4'; /* what is not ASCII may stand in keys */
			key[keys[j]] = '\0';
			mc_value(key, value, lengths[i], flags[(i + j) % 4], (int)((i + j) % 6));
		}
	fixture.config->port_memcache = 0;
}

static void test_xdp_memcache_lines(void **state)
{
	static const char *const good[] = { "get k\r\n", "get k\n...........", "get k \r\n", "get k         \n",
					    "get k\r\nset k 0 0 1\r\nx\r\n" };
	static const char *const other[] = { "gets k\r\n", "get  k\r\n", " get k\r\n", "get k k\r\n", "get k\r\r\n",
					     "get k      ", "get k\x7f\r\n", "get k\tl\r\n", "set k 0 0 1\r\nx\r\n",
					     "get   \r\n", "GET k\r\n", "get k\rx\n", "get k          \r" };
	char line[VG_XDP_KEY_MAX + 8] = "get ";
	struct packet packet;

	fixture.config->port_memcache = VG_HTOBE16(MC_PORT);
	for (unsigned int i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		mc_ask(good[i], VG_REASON_MEMCACHE_MISS, "END\r\n");
	for (unsigned int i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		mc_ask(other[i], VG_REASON_NOT_MEMCACHE, NULL);
	mc_ask("get k", VG_REASON_TRUNCATED, NULL);
	memset(line + 4, 'k', VG_XDP_KEY_MAX + 1);
	memcpy(line + 4 + VG_XDP_KEY_MAX + 1, "\r\n", 3);
	mc_ask(line, VG_REASON_KEY_TOO_LONG, NULL);
	for (int at = 2; at < 8; at++) { /* the frame's header: datagram 0 of 1 */
		mc_build(&packet, 4, 0, good[0], (__u32)strlen(good[0]));
		packet.bytes[packet.header + at] ^= 2;
		packet_repair(&packet);
		mc_expect(&packet, VG_REASON_NOT_MEMCACHE, NULL);
	}
	fixture.config->port_memcache = 0;
	mc_ask(good[0], VG_REASON_NOT_VIRGO, NULL);
}

static void test_xdp_memcache_refusals(void **state)
{
	static char heap[VG_CELL_MAX + 100], value[VG_XDP_VALUE_MAX + 1];
	struct vg_arena_header *arena = (void *)fixture.arena;
	struct vg_partition_owner *owner = &fixture.owners[vg_partition_of("mc-a", 4)];
	static const char line[] = "get mc-a                              \r\n", text[] = "VALUE mc-a 0 5\r\nfirst\r\nEND\r\n";
	struct packet packet;

	fixture.config->port_memcache = VG_HTOBE16(MC_PORT);
	mc_store(fixture.store, "mc-a", "first", 5, 0, 0);
	mc_ask(line, VG_REASON_MEMCACHE_HIT, text);
	fixture.local->lease_until_ns = CLOCK_NS;
	mc_ask(line, VG_REASON_NO_LEASE, NULL);
	fixture.local->lease_until_ns = CLOCK_NS + 1;
	arena->layout_version++;
	mc_ask(line, VG_REASON_NO_ARENA, NULL);
	arena->layout_version--;
	fixture.config->flags = VG_CONFIG_KEYED;
	mc_ask(line, VG_REASON_BAD_TAG, NULL);
	fixture.config->flags = 0;
	owner->node = SELF + 1;
	mc_ask(line, VG_REASON_BAD_PARTITION, NULL);
	owner->node = SELF;
	bucket_of("mc-a")->sequence++;
	mc_ask(line, VG_REASON_BEING_WRITTEN, NULL);
	bucket_of("mc-a")->sequence++;
	mc_build(&packet, 4, 0, line, (__u32)strlen(line));
	packet.bytes[0] |= 1; /* to a group */
	mc_expect(&packet, VG_REASON_NOT_VIRGO, NULL);
	mc_ask(line, VG_REASON_MEMCACHE_HIT, text);

	store_set(fixture.store, "mc-heap", heap, sizeof(heap), 0);
	store_set(fixture.store, "mc-long", value, sizeof(value), 0);
	mc_ask("get mc-heap\r\n", VG_REASON_IN_HEAP, NULL);
	mc_ask("get mc-long\r\n", VG_REASON_TOO_LONG, NULL);
	store_set(fixture.store, "mc-mortal", "x", 1, NOW_MS + 1);
	mc_ask("get mc-mortal\r\n", VG_REASON_NEAR_EXPIRY, NULL);
	fixture.local->unix_offset_ns += 1000 * 1000000ULL;
	mc_ask("get mc-mortal\r\n", VG_REASON_EXPIRED, "END\r\n");
	fixture.local->unix_offset_ns -= 1000 * 1000000ULL;
	fixture.config->port_memcache = 0;
}
