/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * UDP: one request a datagram, padded so that the answer fits; unconnected sockets, because with direct return the
 * answer comes from the owner's address, not from the one that was asked.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"

#define VALUE_SAMPLES 1024u /* how many values a padding decision looks back, at least */
#define VALUE_ROUND 64u

/* Where a batch of datagrams arrives. */
struct vg_inbox {
	union vg_address from[VG_CLIENT_BATCH];
	__u8 data[VG_CLIENT_BATCH][VG_DATAGRAM_MAX] __attribute__((aligned(8)));
};

int vg_datagram_open(struct virgo *v)
{
	const int on = 1, buffer_bytes = 1 << 20;

	v->inbox = malloc(sizeof(*v->inbox));
	if (!v->inbox)
		return -ENOMEM;
	if (v->flags & VIRGO_NO_UDP)
		return 0;
	for (unsigned int i = 0; i < v->peers_count; i++) {
		int family = v->peers[i]->address.any.sa_family, at = family == AF_INET6;

		if (v->fd[at] >= 0)
			continue;
		v->fd[at] = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (v->fd[at] < 0)
			return -errno;
		/* Both only make things better: news of closed ports, and room for a burst. */
		if (at)
			(void)setsockopt(v->fd[at], IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
		else
			(void)setsockopt(v->fd[at], IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
		(void)setsockopt(v->fd[at], SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));
	}
	return 0;
}

void vg_datagram_close(struct virgo *v)
{
	for (int i = 0; i < 2; i++)
		if (v->fd[i] >= 0)
			(void)close(v->fd[i]);
	free(v->inbox);
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

static __u64 head_length(const struct vg_request *request)
{
	return sizeof(struct vg_wire_header) + VG_ALIGN_UP((__u64)request->key_length, 8ULL);
}

/* Bytes of body the answer may have. */
static __u64 answer_body(const struct virgo *v, const struct vg_request *request)
{
	__u32 recent = v->value_bytes_now > v->value_bytes_before ? v->value_bytes_now : v->value_bytes_before;

	if (request->operation == VIRGO_GET_RANGE)
		return request->length;
	if (request->operation == VIRGO_MGET)
		return VG_DATAGRAM_MAX; /* as many values as can be */
	if (request->operation != VIRGO_GET)
		return 0;
	/* Until values have been seen: whatever XDP could answer. */
	return recent ? VG_ALIGN_UP(recent, VALUE_ROUND) : VG_XDP_VALUE_MAX;
}

bool vg_datagram_fits(const struct virgo *v, const struct vg_request *request)
{
	__u64 body = request->data ? request->length : 0;
	__u64 answer = request->operation == VIRGO_GET_RANGE ? request->length : 0;

	return !request->stream_only && v->fd[request->peer && request->peer->address.any.sa_family == AF_INET6] >= 0 &&
	       head_length(request) + body <= VG_DATAGRAM_MAX &&
	       sizeof(struct vg_wire_header) + answer <= VG_DATAGRAM_MAX;
}

/* Values seen of late decide the padding: too little costs a second question, too much costs bandwidth. */
void vg_datagram_sample_value(struct virgo *v, __u32 bytes)
{
	const __u32 most = VG_DATAGRAM_MAX - sizeof(struct vg_wire_header);

	bytes = bytes < 1 ? 1 : bytes > most ? most : bytes;
	if (bytes > v->value_bytes_now)
		v->value_bytes_now = bytes;
	if (++v->value_samples == VALUE_SAMPLES) {
		v->value_samples = 0;
		v->value_bytes_before = v->value_bytes_now;
		v->value_bytes_now = 0;
	}
}

static void build(struct virgo *v, struct vg_request *request)
{
	__u64 head = head_length(request), body = request->data ? request->length : 0;
	__u64 wanted = sizeof(struct vg_wire_header) + answer_body(v, request);

	if (wanted < head + body)
		wanted = head + body;
	if (wanted > VG_DATAGRAM_MAX)
		wanted = VG_DATAGRAM_MAX;
	assert(head + body <= VG_DATAGRAM_MAX);
	if (body)
		memcpy(request->datagram + head, request->data, body);
	memset(request->datagram + head + body, 0, wanted - head - body);
	request->datagram_length = (__u16)wanted;
}

static __u64 first_wait_ns(const struct vg_peer *peer)
{
	__u64 wait_ns = peer->rtt_ns + 4 * peer->rtt_variation_ns;

	if (!peer->rtt_ns)
		return VG_RESEND_FIRST_NS;
	return wait_ns < VG_RESEND_MIN_NS ? VG_RESEND_MIN_NS : wait_ns > VG_RESEND_MAX_NS ? VG_RESEND_MAX_NS : wait_ns;
}

/* Send, or send again and wait twice as long, until it has been sent often enough. */
void vg_datagram_start(struct virgo *v, struct vg_request *request, __u64 now_ns)
{
	bool hopeless = !request->peer->udp_works && !(v->flags & VIRGO_NO_TCP);

	if (request->datagram_sends >= (hopeless ? VG_UNPROVEN_SENDS_MAX : v->resends + 1)) {
		vg_request_no_datagram(v, request, now_ns);
		return;
	}
	if (!request->datagram_length)
		build(v, request);
	if (request->batched)
		return;
	/* The same node is asked again, as it alone recognises a repeat; what may be repeated goes to another in turn.
	 */
	if (request->datagram_sends >= 2 && request->repeatable && !request->pinned && !request->peer->udp_works)
		request->peer = vg_route_other(v, request->peer);
	request->wait_ns = request->datagram_sends ? request->wait_ns * 2 : first_wait_ns(request->peer);
	if (request->wait_ns > VG_RESEND_MAX_NS)
		request->wait_ns = VG_RESEND_MAX_NS;
	request->state = VG_REQUEST_DATAGRAM;
	request->sent_ns = now_ns;
	request->due_ns = now_ns + request->wait_ns;
	vg_request_due(v, request->due_ns);
	if (v->batched == VG_CLIENT_BATCH)
		vg_datagram_flush(v);
	request->batched = true;
	v->batch[v->batched++] = request;
}

static void note_sent(struct virgo *v, struct vg_request *request)
{
	v->counters.datagrams_sent++;
	v->counters.datagrams_resent += request->datagram_sends > 0;
	request->resent = request->datagram_sends > 0;
	request->datagram_sends++;
	request->sends++;
	request->batched = false;
}

static void flush_family(struct virgo *v, int family_index)
{
	const int family = family_index ? AF_INET6 : AF_INET;
	struct mmsghdr messages[VG_CLIENT_BATCH];
	struct iovec vectors[VG_CLIENT_BATCH];
	unsigned int count = 0, done = 0;

	for (unsigned int i = 0; i < v->batched; i++) {
		struct vg_request *request = v->batch[i];

		if (request->peer->address.any.sa_family != family)
			continue;
		vectors[count] = (struct iovec){ request->datagram, request->datagram_length };
		messages[count] = (struct mmsghdr){ .msg_hdr = { .msg_name = &request->peer->address,
								 .msg_namelen = request->peer->address_length,
								 .msg_iov = &vectors[count],
								 .msg_iovlen = 1 } };
		count++;
		note_sent(v, request);
	}
	/*
	 * News of an earlier datagram may be told here once instead of sending: try again. What the kernel does not
	 * take even then (a full queue, no route) counts as lost and is resent.
	 */
	while (done < count) {
		int sent = sendmmsg(v->fd[family_index], messages + done, count - done, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent <= 0)
			sent = sendmmsg(v->fd[family_index], messages + done, count - done,
					MSG_DONTWAIT | MSG_NOSIGNAL);
		done += sent > 0 ? (unsigned int)sent : 1;
	}
}

void vg_datagram_flush(struct virgo *v)
{
	for (int i = 0; i < 2 && v->batched; i++)
		if (v->fd[i] >= 0)
			flush_family(v, i);
	v->batched = 0;
}

/* ---- receiving ------------------------------------------------------------------------------------------------- */

/* RFC 6298, section 2. */
void vg_datagram_sample_rtt(struct vg_peer *peer, __u64 rtt_ns)
{
	__u64 deviation_ns = rtt_ns > peer->rtt_ns ? rtt_ns - peer->rtt_ns : peer->rtt_ns - rtt_ns;

	if (!peer->rtt_ns) {
		peer->rtt_ns = rtt_ns;
		peer->rtt_variation_ns = rtt_ns / 2;
		return;
	}
	peer->rtt_variation_ns = (3 * peer->rtt_variation_ns + deviation_ns) / 4;
	peer->rtt_ns = (7 * peer->rtt_ns + rtt_ns) / 8;
}

static void receive_one(struct virgo *v, const __u8 *data, size_t length, const union vg_address *from, __u64 now_ns)
{
	const struct vg_wire_header *header = (const struct vg_wire_header *)data;
	struct vg_request *request;

	v->counters.datagrams_received++;
	if (length < sizeof(*header) || vg_wire_check(header) != VG_WIRE_OK ||
	    !(header->flags & VG_HTOBE16(VG_FLAG_REPLY)) || header->key_length || vg_wire_length(header) > length ||
	    VG_BE64TOH(header->client) != v->client) {
		v->counters.forged++;
		return;
	}
	if (!vg_reply_tag_right(v, header)) {
		v->refused_us |= header->status == VG_STATUS_UNAUTHORIZED;
		v->counters.forged++;
		return;
	}
	request = vg_request_find(v, VG_BE64TOH(header->sequence));
	if (!request || request->opcode != header->opcode || request->state != VG_REQUEST_DATAGRAM) {
		v->counters.duplicates++;
		return;
	}
	if (!request->resent)
		vg_datagram_sample_rtt(request->peer, now_ns - request->sent_ns);
	request->peer->udp_works = true;
	request->peer->udp_suspect_until_ns = 0;
	vg_reply(v, request, NULL, from, header, header + 1, now_ns);
}

void vg_datagram_receive(struct virgo *v, int family_index)
{
	struct vg_inbox *inbox = v->inbox;
	struct mmsghdr messages[VG_CLIENT_BATCH];
	struct iovec vectors[VG_CLIENT_BATCH];
	__u64 now_ns;
	int count;

	for (int i = 0; i < VG_CLIENT_BATCH; i++) {
		vectors[i] = (struct iovec){ inbox->data[i], VG_DATAGRAM_MAX };
		messages[i] = (struct mmsghdr){ .msg_hdr = { .msg_name = &inbox->from[i],
							     .msg_namelen = sizeof(inbox->from[i]),
							     .msg_iov = &vectors[i],
							     .msg_iovlen = 1 } };
	}
	count = recvmmsg(v->fd[family_index], messages, VG_CLIENT_BATCH, MSG_DONTWAIT, NULL);
	now_ns = vg_now_ns();
	for (int i = 0; i < count; i++)
		receive_one(v, inbox->data[i], messages[i].msg_len, &inbox->from[i], now_ns);
}

/* The network says that nobody listens there: no use in waiting. The news names the address it was sent to. */
void vg_datagram_errors(struct virgo *v, int family_index, __u64 now_ns)
{
	union vg_address to;
	char control[512], data[8];
	struct iovec vector = { data, sizeof(data) };

	for (int rounds = 0; rounds < VG_CLIENT_BATCH; rounds++) {
		struct msghdr message = { .msg_name = &to,
					  .msg_namelen = sizeof(to),
					  .msg_iov = &vector,
					  .msg_iovlen = 1,
					  .msg_control = control,
					  .msg_controllen = sizeof(control) };

		if (recvmsg(v->fd[family_index], &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
		for (unsigned int i = 0; i < v->window; i++) {
			struct vg_request *request = &v->requests[i];

			if (request->state != VG_REQUEST_DATAGRAM || request->batched ||
			    !vg_address_same(&request->peer->address, &to))
				continue;
			request->peer->udp_works = false;
			/* What was sent once and not delivered may take any other path, whatever it is. */
			if (request->datagram_sends == 1 && !(v->flags & VIRGO_NO_TCP))
				vg_stream_start(v, request, request->peer, now_ns);
			else
				vg_request_no_datagram(v, request, now_ns);
		}
	}
}
