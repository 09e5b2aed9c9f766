// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The CPU pool over UDP: small calls of functions and kernel programs. One datagram asks, one answers, at most once: a
 * question that comes again while its job runs is waited for, after that its answer is given again.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "proto/frame.h"
#include "svc/cpu/cpu.h"

static size_t answer_max(const struct vg_datagram *datagram)
{
	return datagram->proven || datagram->length > VG_DATAGRAM_MAX ? VG_DATAGRAM_MAX : datagram->length;
}

static void answer(struct vg_env *env, const struct vg_datagram *datagram, const struct vg_wire_header *header,
		   struct vg_reply *reply)
{
	struct {
		struct vg_wire_header header;
		char text[160];
	} message;

	reply->opcode = header->opcode;
	reply->client = VG_BE64TOH(header->client);
	reply->sequence = VG_BE64TOH(header->sequence);
	if (reply->body_length > sizeof(message.text) ||
	    sizeof(message.header) + reply->body_length > answer_max(datagram)) {
		reply->flags &= (__u16)~VG_FLAG_TEXT;
		reply->body_length = 0;
	}
	vg_cpu_reply_header(env, reply, &message.header);
	if (reply->body_length)
		memcpy(message.text, reply->body, reply->body_length);
	(void)vg_io_sendto(env->io, datagram->fd, &message, sizeof(message.header) + reply->body_length, datagram->peer,
			   datagram->peer_length); /* lost: it is asked again */
}

static void refuse(struct vg_env *env, const struct vg_datagram *datagram, const struct vg_wire_header *header,
		   enum vg_job_reason reason, const struct vg_job *job)
{
	const char *text = vg_job_reason_text(reason);
	struct vg_reply reply = {
		.status = vg_job_reason_status(reason),
		.ident = job ? job->id : VG_BE64TOH(header->ident),
		.argument = reason,
		.flags = VG_FLAG_TEXT,
		.body = text,
		.body_length = (__u32)strlen(text),
	};

	answer(env, datagram, header, &reply);
}

static void format_peer(const struct sockaddr *peer, char *text, size_t bytes)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)peer;
	const struct sockaddr_in *four = (const struct sockaddr_in *)peer;
	char address[INET6_ADDRSTRLEN] = "?";
	__be16 port = peer->sa_family == AF_INET ? four->sin_port : six->sin6_port;

	inet_ntop(peer->sa_family, peer->sa_family == AF_INET ? (const void *)&four->sin_addr : &six->sin6_addr,
		  address, sizeof(address));
	snprintf(text, bytes, peer->sa_family == AF_INET ? "%s:%u" : "[%s]:%u", address, VG_BE16TOH(port));
}

static void clone(struct vg_env *env, const struct vg_datagram *datagram, const struct vg_wire_header *header)
{
	char peer[64];
	const struct vg_cpu_request request = {
		.face = VG_CPU_DATAGRAM,
		.owner = datagram->key,
		.owner_length = VG_BE32TOH(header->key_length),
		.client = VG_BE64TOH(header->client),
		.sequence = VG_BE64TOH(header->sequence),
		.digest = VG_BE64TOH(header->ident),
		.body = datagram->body,
		.body_length = VG_BE32TOH(header->body_length),
		.peer = peer,
	};
	enum vg_job_reason reason;
	struct vg_job *job;

	format_peer(datagram->peer, peer, sizeof(peer));
	reason = vg_job_make(vg_cpu(env), &request, &job);
	if (reason == VG_JOB_REASON_REPLAYED && job && job->face == VG_CPU_DATAGRAM && vg_job_is_of(job, &request)) {
		vg_refuse(env, VG_REFUSAL_DUPLICATE);
		if (job->state != VG_JOB_STATE_ENDED)
			return; /* the answer is being made */
		job->attached = true;
		job->told_end = false;
		vg_job_tell_end(job);
		return;
	}
	if (reason) {
		refuse(env, datagram, header, reason, job && vg_job_is_of(job, &request) ? job : NULL);
		return;
	}
	if (!job) {
		struct vg_reply queued = { .status = VG_STATUS_OK };

		answer(env, datagram, header, &queued);
		return;
	}
	job->attached = true;
	memcpy(&job->source, datagram->peer, datagram->peer_length);
	job->source_length = datagram->peer_length;
	job->source_fd = datagram->fd;
	job->answer_max = answer_max(datagram);
	vg_job_go(job);
}

void vg_cpu_datagram(struct vg_env *env, const struct vg_datagram *datagram)
{
	struct vg_reply reply = { .status = VG_STATUS_OK };
	struct vg_wire_header header;

	if (!datagram->header) {
		vg_refuse(env, VG_REFUSAL_MALFORMED);
		return;
	}
	memcpy(&header, (const void *)datagram->header, sizeof(header));
	if (header.flags & VG_HTOBE16(VG_FLAG_REPLY)) {
		vg_refuse(env, VG_REFUSAL_MALFORMED);
		return;
	}
	if (!datagram->proven && vg_cluster_key(env->cluster)) {
		vg_refuse(env, VG_REFUSAL_UNAUTHORIZED);
		reply.status = VG_STATUS_UNAUTHORIZED;
		reply.ident = VG_BE64TOH(header.ident);
		reply.unproven = true;
		answer(env, datagram, &header, &reply);
	} else if (!vg_frame_padding_zero(datagram->key, VG_BE32TOH(header.key_length)) ||
		   VG_BE32TOH(header.key_length) > VG_JOB_OWNER_MAX) {
		vg_cpu_count_refusal(vg_cpu(env), VG_JOB_REASON_MALFORMED);
		refuse(env, datagram, &header, VG_JOB_REASON_MALFORMED, NULL);
	} else if (header.opcode == VG_OP_CLONE) {
		clone(env, datagram, &header);
	} else if (header.opcode == VG_OP_PING) {
		reply.ident = VG_BE64TOH(header.ident);
		answer(env, datagram, &header, &reply);
	} else {
		enum vg_job_reason reason = header.opcode >= VG_OP_CLONE && header.opcode <= VG_OP_JOB_RESIZE ?
						    VG_JOB_REASON_STREAM :
						    VG_JOB_REASON_OPERATION;

		vg_cpu_count_refusal(vg_cpu(env), reason);
		refuse(env, datagram, &header, reason, NULL);
	}
}
