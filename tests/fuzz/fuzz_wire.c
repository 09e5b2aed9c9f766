// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * VIRGO binary: any bytes as a stream and as a datagram, on a cluster of two with real stores and real frames between
 * them. Looked for: crashes and what sanitizers find, answers longer than an unproven question, memory that outlives
 * its request, sessions that hang.
 *
 * The first byte chooses what happens to the rest: see MODE_*. With MODE_REPAIR, hashes, partitions and tags are made
 * right first, so that hostile bytes get past the checks they could not pass by chance.
 */
#include "../unit/fake_node.h"

#include <stdint.h>

#include "proto/frame.h"

#define MODE_DATAGRAM 0x01
#define MODE_REPAIR 0x02
#define MODE_KEYED 0x04
#define MODE_PIECES 0x08
#define MODE_PROVEN 0x10
#define MODE_NODE_DOWN 0x20
#define MODE_NO_MEMORY 0x40

#define INPUT_MAX 65536
#define RUNS_BETWEEN_CLEARS 2000

static const __u64 cluster_key[2] = { 0x0123456789abcdef, 0xfedcba9876543210 };

static void expect(bool holds)
{
	if (!holds)
		abort();
}

static void repair_one(__u8 *at, struct vg_frame *frame)
{
	struct vg_wire_header *header = &frame->header;

	if (header->opcode >= VG_OP_GET && header->opcode <= VG_OP_DEL) {
		header->ident = VG_HTOBE64(vg_hash64(frame->key, frame->key_length));
		header->partition = VG_HTOBE16(vg_partition_of(frame->key, frame->key_length));
	}
	memset(at + sizeof(*header) + frame->key_length, 0, -frame->key_length & 7);
	header->flags |= VG_HTOBE16(VG_FLAG_TAGGED);
	header->tag = vg_wire_tag_of(cluster_key, header, frame->key);
	memcpy(at, header, sizeof(*header));
}

static void repair(__u8 *data, size_t length)
{
	struct vg_frame frame;

	while (vg_frame_read(&frame, data, length) == VG_FRAME_WHOLE) {
		repair_one(data, &frame);
		data += frame.length;
		length -= (size_t)frame.length;
	}
}

static void as_stream(struct fake_node *node, const __u8 *data, size_t length, bool pieces)
{
	struct fake_session *session = fake_session_open(node, VG_PROTOCOL_BINARY);
	size_t step = pieces ? 1 + length % 97 : length;
	static __u8 answers[1 << 20];

	for (size_t at = 0; at < length && !session->session.finish; at += step) {
		expect(!fake_feed(session, data + at, step < length - at ? step : length - at));
		fake_run();
		expect(!session->session.paused);
		fake_take(session, answers, sizeof(answers));
	}
	expect(!session->out.failed);
	fake_session_close(session);
}

static void as_datagram(struct fake_node *node, const __u8 *data, size_t length, bool proven)
{
	__u64 aligned[2048 / 8];
	struct vg_wire_header header;
	struct vg_datagram datagram = { .header = (const struct vg_wire_header *)aligned,
					.length = length,
					.proven = proven };

	if (length < sizeof(header) || length > sizeof(aligned))
		return;
	memcpy(aligned, data, length);
	memcpy(&header, data, sizeof(header));
	if (vg_wire_check(&header) != VG_WIRE_OK || vg_wire_length(&header) > length)
		return;
	datagram.key = (const __u8 *)aligned + sizeof(header);
	datagram.body = datagram.key + vg_wire_key_padded(&header);
	fake.datagrams = 0;
	vg_service_mem.datagram(&node->env, &datagram);
	expect(fake.datagrams == !(header.flags & VG_HTOBE16(VG_FLAG_REPLY)));
	if (!fake.datagrams)
		return;
	memcpy(&header, fake.datagram, sizeof(header));
	expect(fake.datagram_length <= (proven ? VG_DATAGRAM_MAX : length));
	expect(vg_wire_check(&header) == VG_WIRE_OK && vg_wire_length(&header) == fake.datagram_length);
	expect(header.flags & VG_HTOBE16(VG_FLAG_REPLY));
}

static void set_mode(__u8 mode)
{
	for (int n = 0; n < 2; n++)
		fake.node[n].cluster.key = mode & MODE_KEYED ? cluster_key : NULL;
	fake.node[1].fail_from = mode & MODE_NODE_DOWN ? 1 : 0;
	fake.memory_limit = mode & MODE_NO_MEMORY ? fake.memory_out + 1 : 0;
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	static __u8 copy[INPUT_MAX];
	static int runs;
	long memory_before;
	__u8 mode;

	if (!length || length > INPUT_MAX)
		return 0;
	if (runs++ % RUNS_BETWEEN_CLEARS == 0)
		start_anew();
	mode = *data++;
	length--;
	memcpy(copy, data, length);
	if (mode & MODE_REPAIR)
		repair(copy, length);
	memory_before = fake.memory_out;
	set_mode(mode);
	if (mode & MODE_DATAGRAM)
		as_datagram(&fake.node[0], copy, length, mode & MODE_PROVEN);
	else
		as_stream(&fake.node[0], copy, length, mode & MODE_PIECES);
	expect(fake.memory_out == memory_before);
	return 0;
}
