/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From an Ethernet frame to a VIRGO header: every way to be none of ours. A part of test_xdp.c, included by it alone.
 */

static void patch(struct packet *packet, const struct request *request, __u32 at, int bytes, __u64 value, bool repair)
{
	packet_build(packet, request);
	for (int i = 0; i < bytes; i++)
		packet->bytes[at + i] = (__u8)(value >> (8 * (bytes - 1 - i)));
	if (repair)
		packet_repair(packet);
}

static void test_xdp_link_and_network(void **state)
{
	const struct request v4 = { .opcode = VG_OP_PING }, v6 = { .opcode = VG_OP_PING, .version = 6 };
	struct packet packet;

	patch(&packet, &v4, 12, 2, 0x0806, false);
	expect(&packet, XDP_PASS, VG_REASON_NOT_IP);
	patch(&packet, &v4, 14, 1, 0x55, false);
	expect(&packet, XDP_PASS, VG_REASON_NOT_IP);
	patch(&packet, &v6, 14, 1, 0x40, false);
	expect(&packet, XDP_PASS, VG_REASON_NOT_IP);
	patch(&packet, &v4, 23, 1, 6, true);
	expect(&packet, XDP_PASS, VG_REASON_NOT_VIRGO);
	patch(&packet, &v6, 20, 1, 58, true);
	expect(&packet, XDP_PASS, VG_REASON_NOT_VIRGO);
	patch(&packet, &v4, 36, 2, PORT + 1, true);
	expect(&packet, XDP_PASS, VG_REASON_NOT_VIRGO);
	patch(&packet, &v4, 0, 1, 0x03, true); /* to a group */
	expect(&packet, XDP_PASS, VG_REASON_NOT_VIRGO);
	patch(&packet, &v4, 20, 2, 0x2000, true);
	expect(&packet, XDP_PASS, VG_REASON_FRAGMENT);
	patch(&packet, &v4, 20, 2, 0x0001, true);
	expect(&packet, XDP_PASS, VG_REASON_FRAGMENT);
	patch(&packet, &v6, 20, 1, 44, true);
	expect(&packet, XDP_PASS, VG_REASON_FRAGMENT);
	patch(&packet, &v4, 14, 1, 0x46, true);
	expect(&packet, XDP_PASS, VG_REASON_IP_OPTIONS);
	for (int i = 0; i < 4; i++) {
		patch(&packet, &v6, 20, 1, (const __u8[]){ 0, 43, 60, 135 }[i], true);
		expect(&packet, XDP_PASS, VG_REASON_IP_OPTIONS);
	}
	patch(&packet, &v4, 24, 2, 0x1234, false);
	expect(&packet, XDP_PASS, VG_REASON_IP_CHECKSUM);
}

/*
 * A host that routes must not answer for those behind it; a daemon that listens on all addresses has none in the
 * table.
 */
static void test_xdp_only_for_its_own_address(void **state)
{
	const struct request v4 = { .opcode = VG_OP_PING }, v6 = { .opcode = VG_OP_PING, .version = 6 };
	struct vg_node *self = &fixture.nodes[SELF],
		       own = { .flags = VG_NODE_HAS_V4, .address4 = VG_HTOBE32(0x0a000001) };
	struct packet packet;

	*self = own;
	packet_build(&packet, &v4);
	expect(&packet, XDP_TX, VG_REASON_PING);
	packet_build(&packet, &v6);
	expect(&packet, XDP_PASS, VG_REASON_NOT_VIRGO);
	self->address4 = VG_HTOBE32(0x0a000063);
	packet_build(&packet, &v4);
	expect(&packet, XDP_PASS, VG_REASON_NOT_VIRGO);
	self->address4 = 0;
	expect(&packet, XDP_TX, VG_REASON_PING);
	*self = (struct vg_node){ .flags = VG_NODE_HAS_V6, .address6 = { 0xfd, [15] = 1 } };
	packet_build(&packet, &v6);
	expect(&packet, XDP_TX, VG_REASON_PING);
	self->address6[15] = 9;
	packet_build(&packet, &v6);
	expect(&packet, XDP_PASS, VG_REASON_NOT_VIRGO);
	*self = (struct vg_node){ 0 };
}

static void test_xdp_lengths(void **state)
{
	const struct request v4 = { .opcode = VG_OP_PING }, v6 = { .opcode = VG_OP_PING, .version = 6 };
	const struct request jumbo = { .opcode = VG_OP_PING, .room = VG_DATAGRAM_MAX - 79 };
	struct packet packet;

	patch(&packet, &v4, 14, 1, 0x44, false); /* a header shorter than a header */
	expect(&packet, XDP_PASS, VG_REASON_TRUNCATED);
	patch(&packet, &v4, 38, 2, 8 + 80 + 1, false); /* UDP longer than IP */
	expect(&packet, XDP_PASS, VG_REASON_TRUNCATED);
	patch(&packet, &v6, 18, 2, 8 + 80 + 1, false);
	expect(&packet, XDP_PASS, VG_REASON_TRUNCATED);
	for (__u32 cut = 15; cut < 122; cut++) { /* the frame ends before what it promises */
		packet_build(&packet, &v4);
		packet.length = cut;
		expect(&packet, XDP_PASS, VG_REASON_TRUNCATED);
	}
	for (__u32 cut = 15; cut < 142; cut++) {
		packet_build(&packet, &v6);
		packet.length = cut;
		expect(&packet, XDP_PASS, VG_REASON_TRUNCATED);
	}
	packet_build(&packet, &v4); /* honest, but shorter than a header */
	packet.length--;
	packet_repair(&packet);
	expect(&packet, XDP_PASS, VG_REASON_TRUNCATED);
	packet_build(&packet, &v4); /* padded by Ethernet: the frame may be longer than the datagram */
	packet.length += 7;
	expect(&packet, XDP_TX, VG_REASON_PING);
	expect_request(&jumbo, XDP_PASS, VG_REASON_TOO_LONG);
	expect_request(&(struct request){ .opcode = VG_OP_PING, .room = VG_DATAGRAM_MAX - 80 }, XDP_TX, VG_REASON_PING);
	expect_request(&(struct request){ .opcode = VG_OP_PING, .version = 6, .vlan_tags = 2,
					  .room = VG_DATAGRAM_MAX - 80 }, XDP_TX, VG_REASON_PING);
	packet_build(&packet, &v4); /* a key that is not there */
	packet_header(&packet)->key_length = VG_HTOBE32(1);
	packet_repair(&packet);
	expect(&packet, XDP_PASS, VG_REASON_TRUNCATED);
}

static void test_xdp_vlan(void **state)
{
	for (int tags = 0; tags <= 3; tags++) {
		const struct request v4 = { .opcode = VG_OP_PING, .vlan_tags = tags };
		const struct request v6 = { .opcode = VG_OP_PING, .vlan_tags = tags, .version = 6 };

		expect_request(&v4, tags < 3 ? XDP_TX : XDP_PASS, tags < 3 ? VG_REASON_PING : VG_REASON_VLAN_STACK);
		expect_request(&v6, tags < 3 ? XDP_TX : XDP_PASS, tags < 3 ? VG_REASON_PING : VG_REASON_VLAN_STACK);
	}
}

static void test_xdp_header_fields(void **state)
{
	const struct request ping = { .opcode = VG_OP_PING };
	static const struct {
		__u32 at, value;
		enum vg_reason reason;
	} hostile[] = {
		{ 0, 0, VG_REASON_BAD_MAGIC },
		{ 1, 0, VG_REASON_BAD_MAGIC },
		{ 2, 2, VG_REASON_BAD_VERSION },
		{ 2, 0, VG_REASON_BAD_VERSION },
		{ 3, 0, VG_REASON_BAD_HEADER },
		{ 3, VG_OP_MAX, VG_REASON_BAD_HEADER },
		{ 3, 255, VG_REASON_BAD_HEADER },
		{ 4, 0x80, VG_REASON_BAD_HEADER },
		{ 4, 0x01, VG_REASON_BAD_HEADER },
		{ 7, 1, VG_REASON_BAD_HEADER },
		{ 7, 255, VG_REASON_BAD_HEADER },
		{ 40, 1, VG_REASON_BAD_HEADER },
		{ 44, 0xff, VG_REASON_BAD_HEADER },
		{ 70, 1, VG_REASON_BAD_HEADER },
		{ 5, VG_FLAG_REPLY, VG_REASON_IS_REPLY },
	};
	struct packet packet;

	for (unsigned int i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		packet_build(&packet, &ping);
		packet.bytes[packet.header + hostile[i].at] = (__u8)hostile[i].value;
		packet_repair(&packet);
		expect(&packet, XDP_PASS, hostile[i].reason);
	}
}
