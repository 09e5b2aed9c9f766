// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The file pool on a real directory, alone: any bytes as a stream, or any requests of whole frames (so that sessions
 * and descriptors are met), on one or two connections; the original's text. What blocks is done here and now, and its
 * end is told in any order. Looked for: crashes and what sanitizers find; answers that are no frames, or not one for
 * each request; anything held when the lease is over; anything touched outside of the root.
 *
 * First byte: 0 bytes of a binary stream, 1 of text, else requests.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/fake_files.h"
#include "virgo/wire_codec.h"

#define FILE_BYTES_MAX (1u << 20)
#define RUNS_BETWEEN_SWEEPS 200

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void session_open(struct own_session *own, enum vg_protocol protocol)
{
	memset(&own->session, 0, sizeof(own->session));
	vg_out_init(&own->out, &node.chunks);
	own->length = 0;
	own->open = true;
	own->session.env = &node.env;
	own->session.out = &own->out;
	own->session.protocol = protocol;
	own->session.authenticated = true;
	snprintf(own->session.peer, sizeof(own->session.peer), "192.0.2.7:1234");
}

static void session_close(struct own_session *own)
{
	if (!own->open)
		return;
	vg_service_file.closed(&own->session);
	own->open = false;
	own->generation++;
	vg_out_deinit(&own->out);
}

static void note(const struct vg_wire_header *header, const __u8 *body)
{
	node.ident[node.answers++ % IDENTS] = VG_BE64TOH(header->ident);
	if (header->opcode == VG_OP_FILE_SESSION && !header->status) {
		node.session_id = VG_BE64TOH(header->ident);
		memcpy(node.secret, body, sizeof(node.secret));
	}
}

/* All that was answered: frames, and nothing but frames. */
static void take_answers(struct own_session *own)
{
	static __u8 bytes[32u << 20];
	size_t length = 0;
	struct iovec vector;

	while (vg_out_peek(&own->out, &vector, 1) == 1) {
		expect(length + vector.iov_len <= sizeof(bytes));
		memcpy(bytes + length, vector.iov_base, vector.iov_len);
		length += vector.iov_len;
		vg_out_consume(&own->out, vector.iov_len);
	}
	for (size_t at = 0; own->session.protocol == VG_PROTOCOL_BINARY && at < length;) {
		struct vg_wire_header header;

		expect(length - at >= sizeof(header));
		memcpy(&header, bytes + at, sizeof(header));
		expect(header.magic == VG_HTOBE16(VG_WIRE_MAGIC) && header.flags & VG_HTOBE16(VG_FLAG_REPLY) &&
		       header.status < VG_STATUS_MAX && !header.key_length &&
		       VG_BE32TOH(header.body_length) <= length - at - sizeof(header));
		expect(header.status != VG_STATUS_ERRNO ||
		       (VG_BE64TOH(header.argument) && VG_BE64TOH(header.argument) < 4096));
		note(&header, bytes + at + sizeof(header));
		at += vg_wire_length(&header);
	}
}

static void feed(struct own_session *own, const void *data, size_t length)
{
	if (own->length + length > sizeof(own->input))
		return;
	memcpy(own->input + own->length, data, length);
	own->length += length;
	while (own->length && !own->session.paused && !own->session.finish) {
		/* Exactly as long as the input, so that a read past its end is found. */
		__u8 *exact = malloc(own->length);
		ssize_t taken;

		memcpy(exact, own->input, own->length);
		taken = vg_service_file.input(&own->session, exact, own->length);
		free(exact);
		expect(taken <= (ssize_t)own->length && !own->out.failed);
		if (taken < 0)
			own->session.finish = true;
		if (taken <= 0)
			break;
		own->length -= (size_t)taken;
		memmove(own->input, own->input + taken, own->length);
	}
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

struct reader {
	const uint8_t *at, *end;
};

static __u64 number(struct reader *reader, int bytes)
{
	__u64 value = 0;

	for (; bytes; bytes--)
		value = value << 8 | (reader->at < reader->end ? *reader->at++ : 0);
	return value;
}

/* Names that lead somewhere, now and then. */
static __u32 path_of(struct reader *reader, __u8 *room)
{
	static const char *const known[] = { "a", "b",	 "d", "d/a", "d/e",    "d/e/f",
					     "l", "l/a", "",  "..",  "d/../a", ".virgo/x" };
	__u8 which = (__u8)number(reader, 1);
	__u32 length;

	if (which < 240) {
		length = (__u32)strlen(known[which % (sizeof(known) / sizeof(known[0]))]);
		memcpy(room, known[which % (sizeof(known) / sizeof(known[0]))], length);
		return length;
	}
	length = (__u32)number(reader, 1) & 63;
	for (__u32 i = 0; i < length; i++)
		room[i] = (__u8)number(reader, 1);
	return length;
}

static __u64 ident_of(struct reader *reader)
{
	__u8 which = (__u8)number(reader, 1);

	return which < 200 ? node.ident[which % IDENTS] : which < 220 ? 0 : number(reader, 8);
}

static __u64 argument_of(struct reader *reader)
{
	__u8 which = (__u8)number(reader, 1);

	return which < 100 ? (__u64)(which & 0x3f) << 32 | 0644 : which < 200 ? which * 100u : number(reader, 8);
}

static __u32 body_of(struct reader *reader, __u8 opcode, __u8 *room)
{
	__u32 length = (__u32)number(reader, 1);

	switch (opcode) {
	case VG_OP_FILE_SESSION:
		memset(room, 0, sizeof(struct vg_file_session));
		if (length & 1)
			memcpy(room, node.secret, sizeof(node.secret));
		return sizeof(struct vg_file_session) + (length > 250);
	case VG_OP_FILE_RENAME:
	case VG_OP_FILE_LINK:
	case VG_OP_FILE_SYMLINK:
		return path_of(reader, room);
	case VG_OP_FILE_READ:
	case VG_OP_FILE_LIST:
		memset(room, 0, 8);
		room[2] = (__u8)(length >> 4);
		room[3] = (__u8)(length << 4);
		room[1] = length == 255 ? 0x20 : 0;
		return 8;
	case VG_OP_FILE_CHANGE:
		length = sizeof(struct vg_file_change);
		break;
	case VG_OP_FILE_LOCK:
		length = sizeof(struct vg_file_lock);
		break;
	case VG_OP_FILE_COPY:
		length = sizeof(struct vg_file_copy);
		break;
	case VG_OP_FILE_ALLOCATE:
		length = sizeof(struct vg_file_range);
		break;
	case VG_OP_FILE_WRITE:
	case VG_OP_FILE_PUT:
		length = length > 200 ? length * 100 : length;
	}
	for (__u32 i = 0; i < length; i++)
		room[i] = (__u8)number(reader, 1);
	return length;
}

static void request(struct reader *reader, struct own_session *own)
{
	static __u8 frame[65536], body[32768];
	__u8 opcode = (__u8)number(reader, 1);
	__u8 extra = (__u8)number(reader, 1);
	struct vg_wire_header header = {
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = (__u8)(VG_OP_FILE_SESSION + opcode % (VG_OP_FILE_HOME - VG_OP_FILE_SESSION + 2)),
		.flags = VG_HTOBE16(extra & 0x80 ? VG_FLAG_FORWARDED : 0),
		.client = VG_HTOBE64(1 + (__u64)(own - node.session)),
		.sequence = VG_HTOBE64(++node.last_op),
		.partition = VG_HTOBE16((__u16)((extra & 3) | (__u16)(extra & 0x1c) << 6)),
	};
	__u32 key_length, body_length;

	memset(frame + sizeof(header), 0, VG_FILE_PATH_MAX + 8);
	key_length = path_of(reader, frame + sizeof(header));
	header.ident =
		VG_HTOBE64(header.opcode == VG_OP_FILE_SESSION ? (extra & 1 ? node.session_id : 0) : ident_of(reader));
	header.argument = VG_HTOBE64(argument_of(reader));
	if (header.opcode == VG_OP_FILE_HOME)
		header.argument &= VG_HTOBE64(0xff);
	body_length = body_of(reader, header.opcode, body);
	header.key_length = VG_HTOBE32(key_length);
	header.body_length = VG_HTOBE32(body_length);
	memcpy(frame, &header, sizeof(header));
	memcpy(frame + sizeof(header) + VG_ALIGN_UP(key_length, 8u), body, body_length);
	feed(own, frame, sizeof(header) + VG_ALIGN_UP(key_length, 8u) + body_length);
}

static void hello(struct own_session *own)
{
	static const uint8_t bytes[] = { 0, 0, 8, 0, 0 };
	struct reader reader = { bytes, bytes + sizeof(bytes) };

	request(&reader, own);
}

static void as_requests(const uint8_t *data, size_t length)
{
	struct reader reader = { data, data + length };

	for (int i = 0; i < LINKS; i++) {
		session_open(&node.session[i], VG_PROTOCOL_BINARY);
		hello(&node.session[i]);
	}
	while (reader.at < reader.end) {
		__u8 how = (__u8)number(&reader, 1);
		struct own_session *own = &node.session[how & 1];

		if (how >= 250) { /* lost, and back */
			session_close(own);
			session_open(own, VG_PROTOCOL_BINARY);
			if (how & 2)
				hello(own);
		}
		request(&reader, own);
		if (how & 4)
			run();
		if (how & 8)
			take_answers(own);
		if (own->length && how & 16)
			feed(own, "", 0);
	}
}

static void as_bytes(const uint8_t *data, size_t length, enum vg_protocol protocol)
{
	session_open(&node.session[0], protocol);
	if (protocol == VG_PROTOCOL_BINARY)
		hello(&node.session[0]);
	for (size_t at = 0, part; at < length; at += part) {
		part = 1 + data[at] % 64 < length - at ? 1 + data[at] % 64u : length - at;
		feed(&node.session[0], data + at, part);
		run();
		take_answers(&node.session[0]);
	}
}

/* ---- around ------------------------------------------------------------------------------------------------------ */

static int sweep_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
	return where->level ? remove(path) : 0;
}

static void clean(void)
{
	nftw(node.outside, sweep_one, 16, FTW_DEPTH | FTW_PHYS);
	rmdir(node.outside);
}

static void start(void)
{
	static const struct rlimit limit = { FILE_BYTES_MAX, FILE_BYTES_MAX };
	char secret[80];

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	snprintf(node.root, sizeof(node.root), "/tmp/fuzz-file-%d/root", (int)getpid());
	snprintf(node.outside, sizeof(node.outside), "/tmp/fuzz-file-%d", (int)getpid());
	atexit(clean);
	expect(!mkdir(node.outside, 0700) && !mkdir(node.root, 0700));
	snprintf(secret, sizeof(secret), "%s/secret", node.outside);
	close(open(secret, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	node.file = (struct vg_file_settings){ .root_fd = open(node.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
					       .descriptors = 64,
					       .memory_bytes = 4u << 20 };
	node.env = (struct vg_env){ .workers = 1,
				    .clock = &node.clock,
				    .cluster = &node.cluster,
				    .stats = &node.stats,
				    .settings = &node.settings,
				    .file = &node.file,
				    .mem = &mem,
				    .chunks = &node.chunks };
	node.clock.monotonic_ns = 1000000000;
	expect(!vg_out_pool_init(&node.chunks, 4096) && !vg_service_file.init(&node.env));
}

static void sweep(void)
{
	char inside[80];

	nftw(node.root, sweep_one, 16, FTW_DEPTH | FTW_PHYS);
	/* Somewhere to go, and somewhere not to. */
	snprintf(inside, sizeof(inside), "%s/d", node.root);
	(void)!mkdir(inside, 0700);
	snprintf(inside, sizeof(inside), "%s/l", node.root);
	(void)!symlink("../", inside);
}

static void check_outside(void)
{
	DIR *directory = opendir(node.outside);
	int entries = 0;

	while (readdir(directory))
		entries++;
	closedir(directory);
	expect(entries == 4); /* ".", "..", the root and the secret */
}

/* Leases end. */
static void pass_time(void)
{
	node.clock.monotonic_ns += 2 * VG_FILE_LEASE_MAX_MS * 1000000ull;
	for (int i = 0; i < 8; i++) {
		void (*fn)(void *context) = node.timer[i];

		node.timer[i] = NULL;
		if (fn)
			fn(node.timer_context[i]);
	}
	run();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	static unsigned int runs;
	struct vg_file_pool *pool;

	if (!length || length > FILES_INPUT_MAX)
		return 0;
	if (!runs)
		start();
	if (runs++ % RUNS_BETWEEN_SWEEPS == 0)
		sweep();
	pool = vg_file_pool(&node.env);
	node.random = length;
	node.session_id = 0;
	if (data[0] < 2)
		as_bytes(data + 1, length - 1, data[0] ? VG_PROTOCOL_TEXT : VG_PROTOCOL_BINARY);
	else
		as_requests(data + 1, length - 1);
	run();
	for (int i = 0; i < LINKS; i++) {
		if (node.session[i].open)
			take_answers(&node.session[i]);
		session_close(&node.session[i]);
	}
	run();
	pass_time();
	pass_time();
	expect(!pool->ops && !pool->bytes && !pool->clients && !pool->counts.open_files && !pool->waiting_first);
	check_outside();
	return 0;
}
