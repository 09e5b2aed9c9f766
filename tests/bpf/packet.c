/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packets as a client would send them, byte by byte, and checksums computed independently of the programs under test.
 */
#include <stdio.h>
#include <string.h>

#include "fixture.h"

static const __u8 node_mac[6] = { 2, 0, 0, 0, 0, 1 }, client_mac[6] = { 2, 0, 0, 0, 0, 2 };
static const __u8 node4[4] = { 10, 0, 0, 1 }, client4[4] = { 10, 0, 0, 2 };
static const __u8 node6[16] = { 0xfd, [15] = 1 }, client6[16] = { 0xfd, [15] = 2 };

static void put16(__u8 *at, __u32 value)
{
	at[0] = (__u8)(value >> 8);
	at[1] = (__u8)value;
}

static __u32 get16(const __u8 *at)
{
	return (__u32)at[0] << 8 | at[1];
}

static __u64 sum16(const __u8 *at, __u32 length)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < length; i++)
		sum += i % 2 ? at[i] : (__u64)at[i] << 8;
	return sum;
}

static __u16 fold(__u64 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

static int version_of(const struct packet *packet)
{
	return packet->bytes[packet->network] >> 4;
}

static void link_put(struct packet *packet, const struct request *request)
{
	__u8 *at = packet->bytes;

	memcpy(at, node_mac, 6);
	memcpy(at + 6, client_mac, 6);
	at += 12;
	for (int i = 0; i < request->vlan_tags; i++, at += 4) {
		put16(at, i + 1 < request->vlan_tags ? 0x88a8 : 0x8100);
		put16(at + 2, 100 + i);
	}
	put16(at, request->version == 6 ? 0x86dd : 0x0800);
	packet->network = (__u32)(at + 2 - packet->bytes);
}

static void network_put(struct packet *packet, const struct request *request)
{
	__u8 *at = packet->bytes + packet->network;

	if (request->version == 6) {
		at[0] = 0x60;
		at[6] = 17;
		at[7] = 33;
		memcpy(at + 8, client6, 16);
		memcpy(at + 24, node6, 16);
		packet->udp = packet->network + 40;
	} else {
		at[0] = 0x45;
		put16(at + 4, 0x1234);
		put16(at + 6, 0x4000); /* do not fragment */
		at[8] = 33;
		at[9] = 17;
		memcpy(at + 12, client4, 4);
		memcpy(at + 16, node4, 4);
		packet->udp = packet->network + 20;
	}
	put16(packet->bytes + packet->udp, CLIENT_PORT);
	put16(packet->bytes + packet->udp + 2, PORT);
	packet->header = packet->udp + 8;
}

struct vg_wire_header *packet_header(struct packet *packet)
{
	return (struct vg_wire_header *)(packet->bytes + packet->header);
}

void packet_build(struct packet *packet, const struct request *request)
{
	__u32 padded = (__u32)VG_ALIGN_UP(request->key_length, 8u), behind = padded + request->body_length;
	struct vg_wire_header header = {
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = request->opcode,
		.flags = VG_HTOBE16((__u16)(request->flags | (request->cluster_key ? VG_FLAG_TAGGED : 0))),
		.hops = request->hops,
		.client = VG_HTOBE64(0x1122334455667788ULL),
		.sequence = VG_HTOBE64(request->sequence),
		.source_node = VG_HTOBE16(request->source_node ?: VG_NODE_NONE),
		.partition = VG_HTOBE16(request->partition),
		.epoch = VG_HTOBE32(request->epoch),
		.ident = VG_HTOBE64(request->ident),
		.key_length = VG_HTOBE32(request->key_length),
		.body_length = VG_HTOBE32(request->body_length),
		.argument = VG_HTOBE64(request->argument),
	};
	__u8 *at;

	memset(packet, 0, sizeof(*packet));
	link_put(packet, request);
	network_put(packet, request);
	at = packet->bytes + packet->header;
	memcpy(at, &header, sizeof(header));
	if (request->key_length)
		memcpy(at + sizeof(header), request->key, request->key_length);
	if (request->cluster_key) {
		at[offsetof(struct vg_wire_header, hops)] = 0;
		header.tag = VG_HTOBE64(vg_siphash24(request->cluster_key, at, sizeof(header) + padded));
		at[offsetof(struct vg_wire_header, hops)] = request->hops;
		memcpy(at + offsetof(struct vg_wire_header, tag), &header.tag, 8);
	}
	if (behind < request->room)
		behind = request->room;
	packet->length = packet->header + (__u32)sizeof(header) + behind;
	packet_repair(packet);
}

static __u16 udp_checksum(const struct packet *packet)
{
	const __u8 *network = packet->bytes + packet->network, *udp = packet->bytes + packet->udp;
	__u32 length = get16(udp + 4);
	__u64 sum = version_of(packet) == 6 ? sum16(network + 8, 32) : sum16(network + 12, 8);

	return fold(sum + 17 + length + sum16(udp, length));
}

void packet_repair(struct packet *packet)
{
	__u8 *network = packet->bytes + packet->network, *udp = packet->bytes + packet->udp;
	__u16 checksum;

	put16(udp + 4, packet->length - packet->udp);
	if (version_of(packet) == 6) {
		put16(network + 4, packet->length - packet->udp);
	} else {
		put16(network + 2, packet->length - packet->network);
		put16(network + 10, 0);
		put16(network + 10, (__u16)~fold(sum16(network, 20)));
	}
	put16(udp + 6, 0);
	checksum = (__u16)~udp_checksum(packet);
	put16(udp + 6, checksum ?: 0xffff);
}

bool packet_checksums_right(const struct packet *packet)
{
	const __u8 *network = packet->bytes + packet->network, *udp = packet->bytes + packet->udp;

	if (version_of(packet) == 4 && fold(sum16(network, 20)) != 0xffff)
		return false;
	if (version_of(packet) == 4 && !get16(udp + 6))
		return true;
	return udp_checksum(packet) == 0xffff;
}

struct request request_get(const void *key, __u32 length)
{
	return (struct request){
		.opcode = VG_OP_GET, .key = key, .key_length = length, .ident = vg_hash64(key, length),
		.partition = vg_partition_of(key, length), .room = 256,
	};
}
