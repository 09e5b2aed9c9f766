/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP: frames back to back, many in flight, answers matched by sequence. A connection is opened by the first request
 * that wants it and stays open. Bodies are sent from where the caller keeps them.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client/client.h"

#define STREAM_VECTORS 64
#define STREAM_SCRATCH_BYTES 65536
#define STREAM_ROUNDS_MAX 16 /* reads a turn: the other nodes want to be heard too */

void vg_stream_init(struct vg_stream *stream)
{
	*stream = (struct vg_stream){ .fd = -1 };
}

static void list(struct virgo *v, struct vg_peer *peer)
{
	if (peer->stream.listed)
		return;
	peer->stream.listed = true;
	peer->stream.next = v->streams;
	v->streams = peer;
}

void vg_stream_start(struct virgo *v, struct vg_request *request, struct vg_peer *peer, __u64 now_ns)
{
	struct vg_stream *stream = &peer->stream;

	request->state = VG_REQUEST_STREAM;
	request->peer = peer;
	request->stream_sent = 0;
	request->next = NULL;
	if (stream->send_last)
		stream->send_last->next = request;
	else
		stream->send_first = request;
	stream->send_last = request;
	list(v, peer);
	v->counters.stream_requests++;
	if (stream->fd < 0)
		vg_request_due(v, now_ns);
}

static void open_stream(struct virgo *v, struct vg_peer *peer, __u64 now_ns)
{
	struct vg_stream *stream = &peer->stream;
	const int on = 1;

	stream->fd = socket(peer->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (stream->fd < 0) {
		vg_stream_close(v, peer, -errno, now_ns);
		return;
	}
	(void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	stream->connecting = true;
	stream->progress_ns = now_ns;
	vg_request_due(v, now_ns + VG_CONNECT_NS);
	v->counters.streams_opened++;
	if (connect(stream->fd, &peer->address.any, peer->address_length) < 0 && errno != EINPROGRESS)
		vg_stream_close(v, peer, -errno, now_ns);
}

/* Opening may fail at once and send its requests to another node, whose stream is then wanted too: once round. */
void vg_stream_open_wanted(struct virgo *v, __u64 now_ns)
{
	for (struct vg_peer *peer = v->streams, *next; peer; peer = next) {
		next = peer->stream.next;
		if (peer->stream.fd < 0 && peer->stream.send_first)
			open_stream(v, peer, now_ns);
	}
}

short vg_stream_events(const struct vg_stream *stream)
{
	return (short)(POLLIN | (stream->connecting || stream->send_first ? POLLOUT : 0));
}

static void unlist(struct virgo *v, struct vg_peer *peer)
{
	for (struct vg_peer **at = &v->streams; *at; at = &(*at)->stream.next)
		if (*at == peer) {
			*at = peer->stream.next;
			break;
		}
	peer->stream.listed = false;
}

void vg_stream_close(struct virgo *v, struct vg_peer *peer, int error, __u64 now_ns)
{
	struct vg_stream *stream = &peer->stream;

	if (stream->fd >= 0)
		(void)close(stream->fd);
	peer->stream_failed = error != 0 && stream->connecting;
	free(stream->body);
	if (stream->listed)
		unlist(v, peer);
	vg_stream_init(stream);
	if (!error)
		return;
	/* Who waits here now looks for another way; what that submits anew has a later sequence and is not touched. */
	for (unsigned int i = 0; i < v->window; i++) {
		struct vg_request *request = &v->requests[i];

		if (request->state == VG_REQUEST_STREAM && request->peer == peer && request->submitted_ns <= now_ns) {
			request->next = NULL;
			vg_request_no_stream(v, request, error, now_ns);
		}
	}
}

bool vg_stream_forget(struct vg_stream *stream, struct vg_request *request)
{
	struct vg_request *before = NULL;

	for (struct vg_request *at = stream->send_first; at; before = at, at = at->next) {
		if (at != request)
			continue;
		if (before)
			before->next = at->next;
		else
			stream->send_first = at->next;
		if (stream->send_last == at)
			stream->send_last = before;
		return true;
	}
	return false;
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

static __u64 head_length(const struct vg_request *request)
{
	return sizeof(struct vg_wire_header) + VG_ALIGN_UP((__u64)request->key_length, 8ULL);
}

static __u64 frame_length(const struct vg_request *request)
{
	return head_length(request) + (request->data ? request->length : 0);
}

static int gather(const struct vg_stream *stream, struct iovec *vectors)
{
	int count = 0;

	for (const struct vg_request *at = stream->send_first; at && count + 2 <= STREAM_VECTORS; at = at->next) {
		__u64 head = head_length(at), skip = at->stream_sent;

		if (skip < head) {
			vectors[count++] = (struct iovec){ at->head + skip, head - skip };
			skip = head;
		}
		if (skip < frame_length(at))
			vectors[count++] = (struct iovec){ (char *)at->data + (skip - head), frame_length(at) - skip };
	}
	return count;
}

static void note_sent(struct vg_stream *stream, __u64 bytes)
{
	while (bytes) {
		struct vg_request *request = stream->send_first;
		__u64 left = frame_length(request) - request->stream_sent;

		request->sends += request->stream_sent == 0;
		if (bytes < left) {
			request->stream_sent += bytes;
			return;
		}
		request->stream_sent += left;
		bytes -= left;
		stream->send_first = request->next;
		if (!stream->send_first)
			stream->send_last = NULL;
		request->next = NULL;
	}
}

static void send_some(struct virgo *v, struct vg_peer *peer, __u64 now_ns)
{
	struct vg_stream *stream = &peer->stream;
	struct iovec vectors[STREAM_VECTORS];

	while (stream->send_first) {
		struct msghdr message = { .msg_iov = vectors, .msg_iovlen = (size_t)gather(stream, vectors) };
		ssize_t sent = sendmsg(stream->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (sent < 0) {
			vg_stream_close(v, peer, -errno, now_ns);
			return;
		}
		stream->progress_ns = now_ns;
		note_sent(stream, (__u64)sent);
	}
}

/* ---- receiving ------------------------------------------------------------------------------------------------- */

/* Whether the header may be believed: only then its lengths are. */
static int check_head(struct virgo *v, const struct vg_wire_header *head)
{
	if (vg_wire_check(head) != VG_WIRE_OK || !(head->flags & VG_HTOBE16(VG_FLAG_REPLY)) || head->key_length ||
	    VG_BE64TOH(head->client) != v->client)
		return -EPROTO;
	/* A node with another key cannot convince us with a tag, but on a connection we made its refusal is news. */
	if (!vg_reply_tag_right(v, head) && head->status != VG_STATUS_UNAUTHORIZED)
		return -EPROTO;
	return 0;
}

static void deliver(struct virgo *v, struct vg_peer *peer, const void *body, __u64 now_ns)
{
	struct vg_stream *stream = &peer->stream;
	struct vg_wire_header head = stream->head;
	struct vg_request *request = vg_request_find(v, VG_BE64TOH(head.sequence));

	stream->head_filled = 0;
	if (!request || request->state != VG_REQUEST_STREAM || request->peer != peer ||
	    request->opcode != head.opcode || request->stream_sent < frame_length(request)) {
		v->counters.duplicates++;
		return;
	}
	vg_reply(v, request, peer, NULL, &head, body, now_ns);
}

/* Room for the part of the body that is here and as much again: memory follows what was really sent. */
static int grow_body(struct vg_stream *stream, __u64 wanted, __u64 whole)
{
	__u64 bytes = wanted * 2 < whole ? wanted * 2 : whole;
	__u8 *body;

	if (stream->body_bytes >= wanted)
		return 0;
	body = realloc(stream->body, bytes);
	if (!body)
		return -ENOMEM;
	stream->body = body;
	stream->body_bytes = bytes;
	return 0;
}

static void body_done(struct virgo *v, struct vg_peer *peer, __u64 now_ns)
{
	struct vg_stream *stream = &peer->stream;
	__u8 *body = stream->body;

	stream->body = NULL;
	stream->body_filled = stream->body_bytes = 0;
	deliver(v, peer, body, now_ns);
	free(body);
}

/* Take what has arrived: 0, or why the connection cannot go on. */
static int feed(struct virgo *v, struct vg_peer *peer, const __u8 *data, size_t length, __u64 now_ns)
{
	struct vg_stream *stream = &peer->stream;

	while (length) {
		__u64 part = sizeof(stream->head) - stream->head_filled, whole;

		part = part < length ? part : length;
		memcpy((__u8 *)&stream->head + stream->head_filled, data, part);
		stream->head_filled += part;
		data += part;
		length -= part;
		if (stream->head_filled < sizeof(stream->head))
			return 0;
		if (part && check_head(v, &stream->head))
			return -EPROTO;
		whole = VG_BE32TOH(stream->head.body_length);
		if (!stream->body_filled && length >= whole) {
			deliver(v, peer, data, now_ns);
			data += whole;
			length -= whole;
			continue;
		}
		part = whole - stream->body_filled < length ? whole - stream->body_filled : length;
		if (grow_body(stream, stream->body_filled + part, whole))
			return -ENOMEM;
		if (part)
			memcpy(stream->body + stream->body_filled, data, part);
		stream->body_filled += part;
		data += part;
		length -= part;
		if (stream->body_filled == whole)
			body_done(v, peer, now_ns);
	}
	return 0;
}

static bool long_body(const struct vg_stream *stream)
{
	return stream->body_filled > 0 &&
	       VG_BE32TOH(stream->head.body_length) - stream->body_filled > STREAM_SCRATCH_BYTES;
}

/* In the middle of a long body bytes go straight where they belong. How many came, 0 at the end, or an error. */
static ssize_t receive_body(struct virgo *v, struct vg_peer *peer, __u64 now_ns)
{
	struct vg_stream *stream = &peer->stream;
	__u64 whole = VG_BE32TOH(stream->head.body_length);
	ssize_t got;

	if (grow_body(stream, stream->body_filled + STREAM_SCRATCH_BYTES, whole))
		return -ENOMEM;
	got = recv(stream->fd, stream->body + stream->body_filled, stream->body_bytes - stream->body_filled,
		   MSG_DONTWAIT);
	if (got < 0)
		return -errno;
	stream->body_filled += (__u64)got;
	if (got && stream->body_filled == whole)
		body_done(v, peer, now_ns);
	return got;
}

static ssize_t receive_mixed(struct virgo *v, struct vg_peer *peer, __u64 now_ns)
{
	__u8 scratch[STREAM_SCRATCH_BYTES];
	ssize_t got = recv(peer->stream.fd, scratch, sizeof(scratch), MSG_DONTWAIT);
	int error;

	if (got < 0)
		return -errno;
	error = feed(v, peer, scratch, (size_t)got, now_ns);
	return error ? error : got;
}

static int receive_some(struct virgo *v, struct vg_peer *peer, __u64 now_ns)
{
	for (int rounds = 0; rounds < STREAM_ROUNDS_MAX; rounds++) {
		ssize_t got = long_body(&peer->stream) ? receive_body(v, peer, now_ns) : receive_mixed(v, peer, now_ns);

		if (got == -EAGAIN || got == -EINTR)
			return 0;
		if (got <= 0)
			return got ? (int)got : -ECONNRESET;
		peer->stream.progress_ns = now_ns;
		if (got < STREAM_SCRATCH_BYTES)
			return 0;
	}
	return 0;
}

void vg_stream_ready(struct virgo *v, struct vg_peer *peer, short events, __u64 now_ns)
{
	struct vg_stream *stream = &peer->stream;
	int error = 0;
	socklen_t length = sizeof(error);

	if (stream->connecting) {
		if (!(events & (POLLOUT | POLLERR | POLLHUP)))
			return;
		if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
			error = errno;
		if (error) {
			vg_stream_close(v, peer, -error, now_ns);
			return;
		}
		stream->connecting = false;
		peer->stream_failed = false;
		stream->progress_ns = now_ns;
	} else if (events & (POLLIN | POLLERR | POLLHUP)) {
		/* Before sending: a connection that has ended meanwhile is noticed before anything is entrusted to it.
		 */
		error = receive_some(v, peer, now_ns);
		if (error) {
			vg_stream_close(v, peer, error, now_ns);
			return;
		}
	}
	send_some(v, peer, now_ns);
}
