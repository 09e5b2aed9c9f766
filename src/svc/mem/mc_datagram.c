// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * memcached over UDP: `get` and `gets`, one datagram in, at most one out. docs/decisions/0051 says whom we answer, and
 * how much: nothing in this protocol proves a source, so no answer is longer than its request; a client pads the line
 * with blanks. Who asks from this machine's loopback cannot lie about it, and is answered up to a whole datagram.
 */
#include <netinet/in.h>
#include <string.h>

#include "svc/mem/mc.h"

struct frame {
	__be16 request, sequence, total, reserved;
};
_Static_assert(sizeof(struct frame) == 8, "memcached's UDP frame header");

static bool is_loopback(const struct sockaddr *peer)
{
	if (peer->sa_family == AF_INET)
		return (((const struct sockaddr_in *)peer)->sin_addr.s_addr & VG_HTOBE32(0xff000000)) ==
		       VG_HTOBE32(0x7f000000);
	return peer->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)peer)->sin6_addr);
}

/* Copy the answer behind the frame; its length, or 0: it is longer than `max`. */
static size_t flatten(struct vg_out *out, char *to, size_t max)
{
	size_t length = 0;
	struct iovec part;

	if (out->failed || out->bytes > max)
		return 0;
	while (vg_out_peek(out, &part, 1) == 1) {
		memcpy(to + length, part.iov_base, part.iov_len);
		length += part.iov_len;
		vg_out_consume(out, part.iov_len);
	}
	return length;
}

/* What does not fit, or is no get of keys of ours, is an error as short as the shortest request. */
static size_t answer(struct vg_env *env, const char *line, size_t length, char *to, size_t max)
{
	static const char error[] = "ERROR\r\n";
	struct vg_mc_parser parser = { 0 };
	struct vg_mc_request request;
	struct vg_mc_call call = { .env = env, .request = &request, .raw = line,
				   .now_ms = vg_clock_unix_ms(env->clock) };
	size_t answered = 0;
	struct vg_out out;

	vg_out_init(&out, env->chunks);
	call.out = &out;
	if (vg_mc_read(&parser, &request, line, length, 0) == VG_MC_WHOLE &&
	    (request.verb == VG_MC_GET || request.verb == VG_MC_GETS)) {
		call.key = (struct vg_key){ request.key.data, (__u32)request.key.length,
					    vg_hash64(request.key.data, request.key.length) };
		if (vg_mc_route(&call) == 0)
			vg_mc_run(&call);
		answered = flatten(&out, to, max);
		if (!answered)
			vg_refuse(env, VG_REFUSAL_REFLECTION);
	} else {
		vg_refuse(env, VG_REFUSAL_UNKNOWN_COMMAND);
	}
	vg_out_deinit(&out);
	if (answered || sizeof(error) - 1 > max)
		return answered;
	memcpy(to, error, sizeof(error) - 1);
	return sizeof(error) - 1;
}

void vg_mem_mc_datagram(struct vg_env *env, const struct vg_datagram *datagram)
{
	bool proven = is_loopback(datagram->peer);
	size_t max = !proven && datagram->length < VG_DATAGRAM_MAX ? datagram->length : VG_DATAGRAM_MAX;
	char reply[VG_DATAGRAM_MAX];
	struct frame frame;
	size_t length;

	if (datagram->length <= sizeof(frame)) {
		vg_refuse(env, VG_REFUSAL_MALFORMED);
		return;
	}
	memcpy(&frame, datagram->data, sizeof(frame));
	if (frame.sequence || frame.total != VG_HTOBE16(1) || frame.reserved) {
		vg_refuse(env, VG_REFUSAL_MALFORMED); /* a request in pieces, or somebody's answer */
		return;
	}
	if (!vg_mem_open(env)) {
		vg_refuse(env, VG_REFUSAL_UNAUTHORIZED); /* there is no way to prove oneself here */
		return;
	}
	memcpy(reply, &frame, sizeof(frame));
	length = answer(env, (const char *)datagram->data + sizeof(frame), datagram->length - sizeof(frame),
			reply + sizeof(frame), max - sizeof(frame));
	if (length && !vg_io_sendto(env->io, datagram->fd, reply, sizeof(frame) + length, datagram->peer,
				    datagram->peer_length))
		env->stats->bytes_out += sizeof(frame) + length;
}
