// SPDX-License-Identifier: GPL-3.0-or-later
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <string.h>

#include "../load/keys.h"
#include "frame.h"

#define DATAGRAM_BYTES (VG_TRAFFIC_FRAME - VG_TRAFFIC_UDP_END)
#define CLIENT 0x62656e6368ULL /* "bench" */

static __u16 checksum(const void *data, int length)
{
	const __u8 *at = data;
	__u32 sum = 0;

	for (int i = 0; i < length; i += 2)
		sum += (__u32)at[i] | (__u32)at[i + 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

static void request_header(struct vg_wire_header *header, __u8 opcode, __u16 flags)
{
	*header = (struct vg_wire_header){
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = opcode,
		.flags = VG_HTOBE16(flags),
		.client = VG_HTOBE64(CLIENT),
		.source_node = VG_HTOBE16(VG_NODE_NONE),
		.key_length = opcode == VG_OP_PING ? 0 : VG_HTOBE32(VG_BENCH_KEY_BYTES),
	};
}

void vg_frame_head(const struct vg_frame_ends *ends, __u8 opcode, __u16 flags,
		   __u8 ret_head[VG_TRAFFIC_HEAD_WORDS * 8])
{
	struct ethhdr ethernet = { .h_proto = htons(ETH_P_IP) };
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP, .frag_off = htons(0x4000),
			    .tot_len = htons(VG_TRAFFIC_FRAME - sizeof(ethernet)),
			    .saddr = ends->address_from, .daddr = ends->address_to };
	struct udphdr udp = { .source = htons(ends->port_from), .dest = htons(ends->port_to),
			      .len = htons(DATAGRAM_BYTES + sizeof(udp)) }; /* no checksum: legal with IPv4 */
	struct vg_wire_header header;

	memcpy(ethernet.h_dest, ends->mac_to, 6);
	memcpy(ethernet.h_source, ends->mac_from, 6);
	ip.check = checksum(&ip, sizeof(ip));
	request_header(&header, opcode, flags);
	memset(ret_head, 0, VG_TRAFFIC_HEAD_WORDS * 8);
	memcpy(ret_head, &ethernet, sizeof(ethernet));
	memcpy(ret_head + 14, &ip, sizeof(ip));
	memcpy(ret_head + 34, &udp, sizeof(udp));
	memcpy(ret_head + VG_TRAFFIC_UDP_END, &header, sizeof(header));
	if (opcode != VG_OP_PING)
		vg_bench_key(0, (char *)ret_head + VG_TRAFFIC_UDP_END + sizeof(header));
}

/* The CRC of key n without its reduction to a partition. */
static __u16 crc_of(__u32 number)
{
	char key[VG_BENCH_KEY_BYTES];
	__u16 crc = 0;

	vg_bench_key(number, key);
	for (int i = 0; i < VG_BENCH_KEY_BYTES; i++)
		crc = vg_crc16_step(crc, (__u8)key[i]);
	return crc;
}

void vg_frame_crc(__u16 ret_crc[3][256])
{
	for (__u32 byte = 0; byte < 256; byte++) {
		ret_crc[0][byte] = crc_of(byte); /* carries what all keys have in common */
		ret_crc[1][byte] = crc_of(byte << 8) ^ crc_of(0);
		ret_crc[2][byte] = crc_of(byte << 16) ^ crc_of(0);
	}
}

void vg_frame_datagram(__u32 number, __u64 sequence, __u8 *ret_datagram)
{
	struct vg_wire_header header;
	char key[VG_BENCH_KEY_BYTES];

	vg_bench_key(number, key);
	request_header(&header, VG_OP_GET, 0);
	header.sequence = VG_HTOBE64(sequence);
	header.ident = VG_HTOBE64(vg_hash64(key, sizeof(key)));
	header.partition = VG_HTOBE16(vg_partition_of(key, sizeof(key)));
	memset(ret_datagram, 0, DATAGRAM_BYTES);
	memcpy(ret_datagram, &header, sizeof(header));
	memcpy(ret_datagram + sizeof(header), key, sizeof(key));
}
