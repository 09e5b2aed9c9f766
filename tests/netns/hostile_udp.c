/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hostile datagrams, one field wrong at a time.
 *
 *   hostile_udp ADDRESS KEY|- xdp|sockets
 *
 * Every hostile datagram is followed by an honest one from the same socket that only the daemon answers, so that what
 * has come before the honest answer is all there was. Every answer is measured against what was sent.
 */
#include "hostile.h"

#define SILENT -1   /* no answer may come */
#define ANSWERED -2 /* something says no, and it matters not what */

static int fd; /* the socket of who has no manners */
static bool xdp;

struct reply {
	int count, status;
	size_t longest;
	bool stranger; /* not an answer, or to another question */
};

static void take_reply(const struct vg_wire_header *header, size_t bytes, const struct message *asked,
		       struct reply *reply)
{
	reply->count++;
	reply->status = header->status;
	if (bytes > reply->longest)
		reply->longest = bytes;
	if (bytes < sizeof(*header) || header->magic != VG_HTOBE16(VG_WIRE_MAGIC) ||
	    !(header->flags & VG_HTOBE16(VG_FLAG_REPLY)) || header->client != asked->header.client ||
	    header->sequence != asked->header.sequence || sizeof(*header) + VG_BE32TOH(header->body_length) > bytes)
		reply->stranger = true;
}

static void send_it(const void *data, size_t bytes)
{
	need(sendto(fd, data, bytes, 0, (struct sockaddr *)&target.address, sizeof(target.address)) == (ssize_t)bytes,
	     "sendto");
}

/* Everything that comes until the honest question is answered. */
static struct reply collect(const struct message *asked)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct message honest, arrived;
	struct reply reply = { 0 };
	ssize_t bytes;

	/* It changes nothing, because the key exists; XDP leaves it to the daemon, and it counts as no refusal. */
	message_make(&honest, VG_OP_SET, target.own_key, NULL, 0);
	honest.header.flags = VG_HTOBE16(VG_FLAG_IF_ABSENT);
	honest.header.client ^= 1; /* a window of its own */
	message_sign(&honest);
	for (int tries = 0; tries < PATIENCE_MS / 1000; tries++) {
		send_it(honest.bytes, honest.length);
		while (poll(&wait, 1, 1000) > 0) {
			bytes = recv(fd, arrived.bytes, sizeof(arrived.bytes), 0);
			if (bytes >= (ssize_t)sizeof(arrived.header) && arrived.header.client == honest.header.client &&
			    arrived.header.sequence == honest.header.sequence)
				return reply;
			if (bytes >= 0)
				take_reply(&arrived.header, (size_t)bytes, asked, &reply);
		}
	}
	need(false, "the honest datagram is answered");
	return reply;
}

/* Send what was spoilt, and hold what comes against what should. */
static void judge(const char *name, const struct message *message, int wanted, const char *counter, bool proven)
{
	__u64 before = counter ? refused(counter) : 0;
	struct reply reply;

	send_it(message->bytes, message->length);
	reply = collect(message);
	if (wanted == SILENT && reply.count)
		result(false, name, "answered with status %d", reply.status);
	else if (wanted != SILENT && reply.count != 1)
		result(false, name, "%d answers", reply.count);
	else if (wanted == ANSWERED ? reply.status == VG_STATUS_OK : wanted != SILENT && reply.status != wanted)
		result(false, name, "status %d instead of %d", reply.status, wanted);
	else if (reply.stranger)
		result(false, name, "an answer to nothing that was asked");
	else if (!proven && reply.longest > message->length)
		result(false, name, "%zu bytes for %zu", reply.longest, message->length);
	else if (counter && !refused_more(counter, before))
		result(false, name, "%s was not counted", counter);
	else if (!honest_is_served())
		result(false, name, "the honest client was not served");
	else
		result(true, name, " ");
}

/* ---- one field at a time --------------------------------------------------------------------------------------- */

/* A GET of the known key, with room for its value, and then: */
static const struct {
	const char *name;
	unsigned int at, bytes; /* this field gets this value; bytes 0: only the length changes */
	__u64 value;
	size_t length; /* 0: as it is */
	int wanted;
	const char *counter;
} spoilt[] = {
	{ "nothing wrong", 0, 0, 0, 0, VG_STATUS_OK, NULL },
	{ "an empty datagram", 0, 0, 0, (size_t)-1, SILENT, "MALFORMED" },
	{ "one byte", 0, 0, 0, 1, SILENT, "MALFORMED" },
	{ "79 bytes of a header", 0, 0, 0, 79, SILENT, "MALFORMED" },
	{ "a header without its key", 0, 0, 0, 80, SILENT, "MALFORMED" },
	{ "half a key", 0, 0, 0, 84, SILENT, "MALFORMED" },
	{ "padding up to the longest datagram", 0, 0, 0, VG_DATAGRAM_MAX, VG_STATUS_OK, NULL },
	{ "padding beyond the longest datagram", 0, 0, 0, 2000, VG_STATUS_OK, NULL },
	{ "an overlong datagram, in fragments", 0, 0, 0, 4000, SILENT, "TRUNCATED" },
	{ "another magic", 0, 2, 0x5648, 0, SILENT, "MALFORMED" },
	{ "magic zero", 0, 2, 0, 0, SILENT, "MALFORMED" },
	{ "version 0", 2, 1, 0, 0, VG_STATUS_UNSUPPORTED, "BAD_VERSION" },
	{ "version 2", 2, 1, 2, 0, VG_STATUS_UNSUPPORTED, "BAD_VERSION" },
	{ "version 255", 2, 1, 255, 0, VG_STATUS_UNSUPPORTED, "BAD_VERSION" },
	{ "operation 0", 3, 1, 0, 0, VG_STATUS_UNSUPPORTED, "BAD_OPCODE" },
	{ "operation 127", 3, 1, 127, 0, VG_STATUS_UNSUPPORTED, "BAD_OPCODE" },
	{ "operation 255", 3, 1, 255, 0, VG_STATUS_UNSUPPORTED, "BAD_OPCODE" },
	{ "an unknown flag", 4, 2, 0x0100, 0, SILENT, "MALFORMED" },
	{ "all unknown flags", 4, 2, ~VG_FLAGS_KNOWN & 0xffff, 0, SILENT, "MALFORMED" },
	{ "hops at the most", 6, 1, VG_HOPS_MAX, 0, VG_STATUS_OK, NULL },
	{ "hops beyond", 6, 1, 255, 0, VG_STATUS_OK, NULL },
	{ "a status in a request", 7, 1, 1, 0, SILENT, "MALFORMED" },
	{ "a status that does not exist", 7, 1, 255, 0, SILENT, "MALFORMED" },
	{ "a source node that does not exist", 24, 2, 4711, 0, VG_STATUS_OK, NULL },
	{ "a partition that does not exist", 26, 2, VG_PARTITIONS, 0, VG_STATUS_BAD_REQUEST, "MALFORMED" },
	{ "partition 65535", 26, 2, 65535, 0, VG_STATUS_BAD_REQUEST, "MALFORMED" },
	{ "a stale epoch", 28, 4, 0x7ffffff0, 0, VG_STATUS_OK, NULL },
	{ "a hash that is not the key's", 32, 8, 0x123456789abcdef0, 0, VG_STATUS_BAD_REQUEST, "MALFORMED" },
	{ "a key of no bytes", 40, 4, 0, 0, VG_STATUS_BAD_REQUEST, "MALFORMED" },
	{ "a key longer than the datagram", 40, 4, 4096, 0, SILENT, "MALFORMED" },
	{ "a key longer than any", 40, 4, VG_KEY_MAX + 1, 0, SILENT, "MALFORMED" },
	{ "a key of 2^32 - 1 bytes", 40, 4, 0xffffffff, 0, SILENT, "MALFORMED" },
	{ "a key of 2^32 - 7 bytes", 40, 4, 0xfffffff9, 0, SILENT, "MALFORMED" },
	{ "a body longer than the datagram", 44, 4, 1400, 0, SILENT, "MALFORMED" },
	{ "a body longer than any", 44, 4, VG_BODY_MAX + 1, 0, SILENT, "MALFORMED" },
	{ "a body of 2^32 - 1 bytes", 44, 4, 0xffffffff, 0, SILENT, "MALFORMED" },
	{ "an argument nobody asked for", 48, 8, ~0ULL, 0, VG_STATUS_OK, NULL },
	{ "a load stamp of a client", 56, 8, ~0ULL, 0, VG_STATUS_OK, NULL },
	{ "a reserved field that is not zero", 70, 2, 1, 0, SILENT, "MALFORMED" },
	{ "STATUS by datagram", 3, 1, VG_OP_STATUS, 0, VG_STATUS_TOO_BIG, NULL },
	{ "TOPOLOGY by datagram", 3, 1, VG_OP_TOPOLOGY, 0, VG_STATUS_TOO_BIG, NULL },
	{ "COMMAND by datagram", 3, 1, VG_OP_COMMAND, 0, ANSWERED, NULL },
	{ "a handle that never was", 3, 1, VG_OP_HANDLE_FREE, 0, ANSWERED, NULL },
};

static void set_field(struct message *message, unsigned int at, unsigned int bytes, __u64 value)
{
	for (unsigned int i = 0; i < bytes; i++)
		message->bytes[at + i] = (__u8)(value >> 8 * (bytes - 1 - i));
}

static void get_of_known(struct message *message)
{
	message_make(message, VG_OP_GET, target.own_key, NULL, 0);
	message->length = 300;
}

static void every_field(void)
{
	for (size_t i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
		struct message message;

		get_of_known(&message);
		set_field(&message, spoilt[i].at, spoilt[i].bytes, spoilt[i].value);
		if (spoilt[i].length)
			message.length = spoilt[i].length == (size_t)-1 ? 0 : spoilt[i].length;
		message_sign(&message);
		judge(spoilt[i].name, &message, spoilt[i].wanted, spoilt[i].counter, target.keyed);
	}
}

/* Every byte of the header at its ends: nothing is expected but that the node lives and nothing grows. */
static void every_byte(void)
{
	static const __u8 values[] = { 0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff };
	bool grown = false, served = true;

	for (unsigned int at = 0; at < sizeof(struct vg_wire_header) - sizeof(__u64); at++) {
		struct message message;

		for (size_t i = 0; i < sizeof(values); i++) {
			get_of_known(&message);
			message.bytes[at] = values[i];
			message_sign(&message);
			send_it(message.bytes, message.length);
		}
		grown |= collect(&message).longest > (target.keyed ? VG_DATAGRAM_MAX : message.length);
		served &= honest_is_served();
	}
	result(!grown, "every byte of the header: no answer grows", "one grew");
	result(served, "every byte of the header: the honest client is served", "it was not");
}

/* Answers are never answered, whatever they say. */
static void answers(void)
{
	bool silent = true;

	for (int opcode = 0; opcode < 16; opcode++) {
		for (int status = 0; status < 18; status++) {
			struct message message;

			get_of_known(&message);
			message.header.opcode = (__u8)opcode;
			message.header.status = (__u8)status;
			message.header.flags = VG_HTOBE16(VG_FLAG_REPLY);
			message_sign(&message);
			send_it(message.bytes, message.length);
			if (status % 6 == 5)
				silent &= collect(&message).count == 0;
		}
	}
	result(silent, "answers sent to the node are never answered", "one was");
}

/* ---- who asks -------------------------------------------------------------------------------------------------- */

static void tags(void)
{
	static const __u64 other[2] = { 1, 2 };
	struct message message;
	bool told = false, grown = false;

	get_of_known(&message);
	message.length = sizeof(message.header) + VG_ALIGN_UP(strlen(target.own_key), 8);
	judge("no tag", &message, VG_STATUS_UNAUTHORIZED, "UNAUTHORIZED", false);
	get_of_known(&message);
	message.header.flags = VG_HTOBE16(VG_FLAG_TAGGED);
	judge("a tag of zeros", &message, VG_STATUS_UNAUTHORIZED, "UNAUTHORIZED", false);
	get_of_known(&message);
	message_sign_with(&message, other);
	judge("a tag of another cluster", &message, VG_STATUS_UNAUTHORIZED, "UNAUTHORIZED", false);
	get_of_known(&message);
	message_sign(&message);
	message.header.flags &= VG_HTOBE16((__u16)~VG_FLAG_TAGGED);
	judge("a right tag that is not announced", &message, VG_STATUS_UNAUTHORIZED, "UNAUTHORIZED", false);
	get_of_known(&message);
	message_sign(&message);
	message.bytes[sizeof(message.header)] ^= 1;
	judge("a key that the tag does not cover", &message, VG_STATUS_UNAUTHORIZED, "UNAUTHORIZED", false);
	/* The tag covers every bit of the header but hops. */
	for (unsigned int bit = 0; bit < 8 * sizeof(message.header); bit++) {
		struct reply reply;

		if (bit / 8 == offsetof(struct vg_wire_header, hops))
			continue;
		get_of_known(&message);
		message_sign(&message);
		message.bytes[bit / 8] ^= (__u8)(1 << bit % 8);
		send_it(message.bytes, message.length);
		reply = collect(&message);
		told |= reply.count && reply.status != VG_STATUS_UNAUTHORIZED && reply.status != VG_STATUS_UNSUPPORTED;
		grown |= reply.longest > message.length;
	}
	result(!told, "no header with one bit changed is believed", "one was");
	result(!grown, "and none is answered at length", "one was");
}

static void store_known(const void *value, size_t bytes)
{
	struct message message;
	char *body;

	message_make(&message, VG_OP_SET, target.own_key, value, bytes);
	need(honest_ask(&message, &body) == VG_STATUS_OK, "SET");
	free(body);
}

static void reflection(void)
{
	__u64 before = refused("REFLECTION");
	struct message message;
	struct reply reply;
	char value[1000];

	memset(value, 'x', sizeof(value));
	store_known(value, sizeof(value));
	message_make(&message, VG_OP_GET, target.own_key, NULL, 0);
	message_sign(&message);
	send_it(message.bytes, message.length);
	reply = collect(&message);
	if (target.keyed)
		result(reply.count == 1 && reply.longest >= sizeof(value), "a proven source gets what it asks for",
		       "%d answers, %zu bytes", reply.count, reply.longest);
	else
		result(reply.count == 1 && reply.status == VG_STATUS_TOO_BIG && reply.longest <= message.length &&
			       refused_more("REFLECTION", before),
		       "an unproven source gets no more bytes than it sent", "%d answers, status %d, %zu bytes",
		       reply.count, reply.status, reply.longest);
	store_known(OWN_VALUE, strlen(OWN_VALUE));
}

static void again(void)
{
	struct message message, once;
	__u64 far;

	message_make(&message, VG_OP_SET, target.own_key, OWN_VALUE, strlen(OWN_VALUE));
	once = message;
	message_sign(&message);
	judge("a change", &message, VG_STATUS_OK, NULL, target.keyed);
	judge("the same change again", &message, VG_STATUS_OK, "DUPLICATE", target.keyed);
	message = once;
	message.header.opcode = VG_OP_DEL;
	message_sign(&message);
	judge("its number with another operation", &message, VG_STATUS_BAD_REQUEST, "MALFORMED", target.keyed);
	message = once;
	far = target.sequence + 100000;
	message.header.sequence = VG_HTOBE64(far);
	message_sign(&message);
	judge("a number far ahead", &message, VG_STATUS_OK, NULL, target.keyed);
	message = once;
	message.header.sequence = VG_HTOBE64(far - 50000);
	message_sign(&message);
	judge("a number behind the window", &message, VG_STATUS_REPLAYED, "REPLAYED", target.keyed);
	target.sequence += 200000;
	for (int i = 3; i >= 0; i--) {
		message = once;
		message.header.client ^= VG_HTOBE64(1ULL << 40);
		message.header.sequence = VG_HTOBE64(~0ULL - (__u64)i);
		message_sign(&message);
		judge("the last numbers there are", &message, VG_STATUS_OK, NULL, target.keyed);
	}
	message = once;
	message.header.sequence = VG_HTOBE64(++target.sequence);
	message.header.flags = VG_HTOBE16(VG_FLAG_IF_ABSENT | VG_FLAG_IF_PRESENT);
	message_sign(&message);
	judge("conditions that exclude each other", &message, VG_STATUS_BAD_REQUEST, "MALFORMED", target.keyed);
	message = once;
	message.header.sequence = VG_HTOBE64(++target.sequence);
	message.header.argument = VG_HTOBE64(1ULL << 48);
	message_sign(&message);
	judge("a deadline beyond 48 bits", &message, VG_STATUS_BAD_REQUEST, "MALFORMED", target.keyed);
}

/* Somebody else's key: said so, or sent on by XDP and answered by its owner from its own address. */
static void wrong_node(void)
{
	struct message message;
	struct reply reply;
	char key[32];

	for (int i = 0; i == 0 || vg_partition_of(key, strlen(key)) < VG_PARTITIONS / 2; i++)
		snprintf(key, sizeof(key), "hostile:other:%d", i);
	message_make(&message, VG_OP_GET, key, NULL, 0);
	message_sign(&message);
	if (!xdp) {
		judge("a key of another node", &message, VG_STATUS_WRONG_NODE, "WRONG_NODE", target.keyed);
		message.header.flags |= VG_HTOBE16(VG_FLAG_FORWARDED);
		message_sign(&message);
		judge("a forwarded question for another node", &message, VG_STATUS_WRONG_NODE, "WRONG_NODE",
		      target.keyed);
		return;
	}
	message.header.hops = VG_HOPS_MAX;
	send_it(message.bytes, message.length);
	reply = collect(&message);
	result(reply.count == 1 && reply.status == VG_STATUS_WRONG_NODE,
	       "a datagram that was steered often enough stays", "%d answers, status %d", reply.count, reply.status);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: hostile_udp ADDRESS KEY|- xdp|sockets\n");
		return 2;
	}
	target_init(argv[1], argv[2]);
	xdp = !strcmp(argv[3], "xdp");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	need(fd >= 0, "socket");
	every_field();
	every_byte();
	answers();
	if (target.keyed)
		tags();
	reflection();
	again();
	wrong_node();
	return 0;
}
