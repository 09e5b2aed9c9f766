/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The programs that let everything go on: tc_egress, which stamps what this node sends, and xdp_pass. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <linux/bpf.h>

#include "tc_egress.skel.h"
#include "xdp_pass.skel.h"

static bool reasons_met[VG_REASON_MAX];
static const __u64 cluster_key[2] = { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL };

static void test_xdp_pass(void **state)
{
	struct xdp_pass *skeleton = xdp_pass__open_and_load();
	const struct request ping = { .opcode = VG_OP_PING };
	struct packet packet;
	enum vg_reason reason;

	assert_non_null(skeleton);
	packet_build(&packet, &ping);
	assert_int_equal(packet_run(bpf_program__fd(skeleton->progs.vg_xdp_pass),
				    bpf_map__fd(skeleton->maps.vg_counter), &packet, &reason), XDP_PASS);
	assert_int_equal(reason, VG_REASON_PEER_PASS);
	reasons_met[reason] = true;
	xdp_pass__destroy(skeleton);
}

struct egress {
	struct tc_egress *skeleton;
	struct vg_config *config;
	struct vg_local *local;
};

static void egress_open(struct egress *egress)
{
	egress->skeleton = tc_egress__open();
	assert_non_null(egress->skeleton);
	egress->skeleton->rodata->cfg_fixed_clock_ns = CLOCK_NS;
	assert_int_equal(tc_egress__load(egress->skeleton), 0);
	egress->config = map_open(egress->skeleton->maps.vg_config, sizeof(struct vg_config));
	egress->local = map_open(egress->skeleton->maps.vg_local, sizeof(struct vg_local));
	*egress->config =
		(struct vg_config){ .node = SELF, .port_mem = VG_HTOBE16(PORT), .ports_other = { VG_HTOBE16(10000), VG_HTOBE16(60000) } };
	*egress->local = (struct vg_local){ .lease_until_ns = CLOCK_NS + 1, .in_flight = 9, .service_ns = 8,
					    .run_queue_delay_ns = 7, .memory_free_permille = 6,
					    .other = { { 19, 18 } } };
}

static void egress_close(struct egress *egress)
{
	munmap(egress->config, 4096);
	munmap(egress->local, 4096);
	tc_egress__destroy(egress->skeleton);
}

static void egress_expect(const struct egress *egress, struct packet *packet, enum vg_reason reason)
{
	struct packet before = *packet;
	enum vg_reason met;

	assert_int_equal(packet_run(bpf_program__fd(egress->skeleton->progs.vg_tc_egress),
				    bpf_map__fd(egress->skeleton->maps.vg_counter), packet, &met), -1);
	assert_int_equal(met, reason);
	reasons_met[met] = true;
	assert_int_equal(packet->length, before.length);
	if (met == VG_REASON_EGRESS_STAMPED) {
		const struct vg_load_stamp *load = &packet_header(packet)->load;

		assert_true(packet_checksums_right(packet));
		bool is_cpu = !memcmp(packet->bytes + packet->udp, "\x27\x10", 2);

		assert_int_equal(VG_BE32TOH(load->in_flight), is_cpu ? 19 : 9);
		assert_int_equal(VG_BE32TOH(load->service_ns), is_cpu ? 18 : 8);
		assert_int_equal(VG_BE32TOH(load->run_queue_delay_ns), 7);
		assert_int_equal(VG_BE16TOH(load->memory_free_permille), 6);
	} else {
		assert_memory_equal(packet->bytes, before.bytes, before.length);
	}
}

static void test_tc_egress(void **state)
{
	struct request get = request_get("egress-key", 10);
	struct egress egress;
	struct packet packet;

	egress_open(&egress);
	get.source_node = SELF;
	for (int shape = 0; shape < 6; shape++) {
		get.version = shape & 1 ? 6 : 4;
		get.vlan_tags = shape / 2;
		packet_build(&packet, &get);
		egress_expect(&egress, &packet, VG_REASON_EGRESS_STAMPED);
		egress_expect(&egress, &packet, VG_REASON_EGRESS_STAMPED); /* again: the difference is nothing */
	}
	get.version = get.vlan_tags = 0;
	packet_build(&packet, &get);
	memset(packet.bytes + packet.udp + 6, 0, 2); /* no UDP checksum: there is none afterwards */
	egress_expect(&egress, &packet, VG_REASON_EGRESS_STAMPED);
	assert_memory_equal(packet.bytes + packet.udp + 6, "\0", 2);

	packet_build(&packet, &get); /* our port as the source, of another service */
	memcpy(packet.bytes + packet.udp, ((const __u8[]){ 0xea, 0x60, 0x12, 0x34 }), 4);
	packet_repair(&packet);
	egress_expect(&egress, &packet, VG_REASON_EGRESS_STAMPED);
	memcpy(packet.bytes + packet.udp, ((const __u8[]){ 0x27, 0x10, 0x12, 0x34 }), 4);
	packet_repair(&packet);
	egress_expect(&egress, &packet, VG_REASON_EGRESS_STAMPED); /* the CPU pool's, with its own load */
	memcpy(packet.bytes + packet.udp, ((const __u8[]){ 0x12, 0x33, 0x12, 0x34 }), 4);
	packet_repair(&packet);
	egress_expect(&egress, &packet, VG_REASON_EGRESS_OTHER);
	get.source_node = SELF + 1;
	packet_build(&packet, &get);
	egress_expect(&egress, &packet, VG_REASON_EGRESS_OTHER);
	get.source_node = SELF;
	packet_build(&packet, &get);
	egress.local->lease_until_ns = CLOCK_NS;
	egress_expect(&egress, &packet, VG_REASON_EGRESS_NO_LEASE);
	egress.local->lease_until_ns = ~0ULL;

	egress.config->flags = VG_CONFIG_KEYED;
	memcpy(egress.config->cluster_key, cluster_key, sizeof(cluster_key));
	get.cluster_key = cluster_key;
	packet_build(&packet, &get);
	egress_expect(&egress, &packet, VG_REASON_EGRESS_STAMPED);
	assert_true(packet_header(&packet)->tag == vg_wire_tag(cluster_key, packet_header(&packet)));
	egress_close(&egress);
}

/* Where the stack sends an answer is noted for XDP; where it sends a request is not. */
static void test_tc_egress_notes_clients(void **state)
{
	struct vg_ip_address node4 = { { [10] = 0xff, 0xff, 10, 0, 0, 1 } }, node6 = { { 0xfd, [15] = 1 } };
	struct request get = request_get("egress-key", 10);
	struct vg_neighbour noted;
	struct egress egress;
	struct packet packet;
	int map;

	egress_open(&egress);
	map = bpf_map__fd(egress.skeleton->maps.vg_neighbour);
	get.source_node = SELF;
	for (int shape = 0; shape < 2; shape++) {
		const struct vg_ip_address *address = shape ? &node6 : &node4;

		get.version = shape ? 6 : 4;
		get.flags = 0;
		packet_build(&packet, &get);
		egress_expect(&egress, &packet, VG_REASON_EGRESS_STAMPED);
		assert_int_not_equal(bpf_map_lookup_elem(map, address, &noted), 0);
		get.flags = VG_FLAG_REPLY;
		packet_build(&packet, &get);
		egress_expect(&egress, &packet, VG_REASON_EGRESS_STAMPED);
		assert_int_equal(bpf_map_lookup_elem(map, address, &noted), 0);
		assert_memory_equal(noted.mac, packet.bytes, 6);
		assert_true(noted.seen_ns == CLOCK_NS);
	}
	egress_close(&egress);
}

static void test_egress_every_reason_was_met(void **state)
{
	for (int reason = 0; reason < VG_REASON_MAX; reason++)
		assert_int_equal(reasons_met[reason], reason_is_of_others((enum vg_reason)reason));
}

static void test_egress_skipped(void **state)
{
	print_message("# %s\n", bpf_unavailable());
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xdp_pass), cmocka_unit_test(test_tc_egress),
		cmocka_unit_test(test_tc_egress_notes_clients), cmocka_unit_test(test_egress_every_reason_was_met),
	};
	const struct CMUnitTest skipped[] = { cmocka_unit_test(test_egress_skipped) };

	if (bpf_unavailable())
		return cmocka_run_group_tests_name("egress", skipped, NULL, NULL);
	return cmocka_run_group_tests_name("egress", tests, NULL, NULL);
}
