/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packets of memcached's UDP, and values with client flags: for test_xdp.c and test_differential.c. */
#ifndef VG_TESTS_BPF_MEMCACHE_PACKET_H
#define VG_TESTS_BPF_MEMCACHE_PACKET_H

#include <string.h>

#include "fixture.h"

#define MC_PORT 11211

static void mc_build(struct packet *packet, int version, int vlan_tags, const char *line, __u32 length)
{
	static const __u8 frame[8] = { 0x12, 0x34, 0, 0, 0, 1, 0, 0 };
	const struct request request = { .version = version, .vlan_tags = vlan_tags, .opcode = VG_OP_PING };
	const __be16 port = VG_HTOBE16(MC_PORT);

	packet_build(packet, &request);
	memcpy(packet->bytes + packet->udp + 2, &port, sizeof(port));
	memset(packet->bytes + packet->header, 0, sizeof(packet->bytes) - packet->header);
	memcpy(packet->bytes + packet->header, frame, sizeof(frame));
	memcpy(packet->bytes + packet->header + sizeof(frame), line, length);
	packet->length = packet->header + (__u32)sizeof(frame) + length;
	packet_repair(packet);
}

/* Bytes behind UDP's header, as UDP and IP both say. */
static __u32 mc_length(const struct packet *packet)
{
	const __u8 *udp = packet->bytes + packet->udp + 4, *ip = packet->bytes + packet->network;
	__u32 bytes = (__u32)udp[0] << 8 | udp[1];

	if (ip[0] >> 4 == 4)
		assert_int_equal((__u32)ip[2] << 8 | ip[3], bytes + 20);
	else
		assert_int_equal((__u32)ip[4] << 8 | ip[5], bytes);
	return bytes - 8;
}

static int mc_change(void *context, const struct vg_entry *old, struct vg_change *change)
{
	*change = *(const struct vg_change *)context;
	return 0;
}

static void mc_store(struct vg_store *store, const char *key, const void *value, __u32 length, __u32 client_flags,
		     __u64 expire_ms)
{
	const struct vg_key name = { key, (__u32)strlen(key), vg_hash64(key, strlen(key)) };
	struct vg_change change = { .action = VG_CHANGE_STORE, .expire_ms = expire_ms, .client_flags = client_flags,
				    .part = { { value, length } }, .parts = 1 };

	assert_int_equal(vg_store_update(store, &name, NOW_MS, mc_change, &change), 0);
}

#endif
