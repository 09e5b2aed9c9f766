// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * VIRGO binary over UDP: one message in, at most one out, at once. What would need another node or a long answer is
 * refused with the status that tells the client where to go instead (WRONG_NODE, TOO_BIG).
 */
#include <string.h>

#include "proto/frame.h"
#include "svc/mem/mc.h"
#include "svc/mem/mem.h"
#include "proto/window.h"

struct reply {
	struct vg_wire_header header;
	__u8 body[VG_MEM_BUFFER_BYTES];
};

static size_t answer_max(const struct vg_datagram *datagram)
{
	return !datagram->proven && datagram->length < VG_DATAGRAM_MAX ? datagram->length : VG_DATAGRAM_MAX;
}

/* Header and body as they leave; no longer than the request unless its source has proved itself. */
static void send_answer(struct vg_env *env, const struct vg_datagram *datagram, const struct vg_wire_header *request,
			struct reply *reply, struct vg_mem_answer *answer)
{
	size_t max = answer_max(datagram);
	size_t length = sizeof(reply->header) + answer->body_length;

	if (length > max) {
		vg_mem_answer_release(answer);
		*answer = (struct vg_mem_answer){ .status = VG_STATUS_TOO_BIG, .ident = answer->ident };
		length = sizeof(reply->header);
	}
	if (answer->body_length && answer->body != reply->body)
		memcpy(reply->body, answer->body, answer->body_length);
	vg_mem_answer_release(answer);
	vg_mem_count_refusal(env, answer->status);
	vg_mem_reply_header(env, request, answer, 0, (__u32)answer->body_length, &reply->header);
	if (!vg_env_answer(env, datagram, reply, length))
		env->stats->bytes_out += length;
}

/*
 * An operation that changes something is done once, however often it arrives. Only what was executed is remembered: a
 * refusal changed nothing and is found again.
 */
static void execute_once(struct vg_env *env, const struct vg_mem_request *request, __u64 client, __u64 sequence,
			 struct vg_mem_answer *answer)
{
	struct vg_window *window = vg_mem_worker(env)->window;
	struct vg_window_answer before = { 0 };

	*answer = (struct vg_mem_answer){ .ident = request->ident };
	switch (vg_window_look(window, client, sequence, &before)) {
	case VG_WINDOW_OLD:
		answer->status = VG_STATUS_REPLAYED;
		return;
	case VG_WINDOW_DUPLICATE:
		if (before.opcode != request->opcode) {
			answer->status = VG_STATUS_BAD_REQUEST;
			return;
		}
		vg_refuse(env, VG_REFUSAL_DUPLICATE);
		vg_env_depend(env);
		answer->status = before.status;
		answer->ident = before.ident;
		return;
	case VG_WINDOW_NEW:
		break;
	}
	if (vg_mem_execute(env, request, NULL, answer) == VG_MEM_ELSEWHERE || answer->status == VG_STATUS_BAD_REQUEST ||
	    answer->status == VG_STATUS_WRONG_NODE || answer->status == VG_STATUS_UNREACHABLE ||
	    answer->status == VG_STATUS_NOT_LOGGED)
		return;
	before = (struct vg_window_answer){ answer->ident, request->opcode, answer->status };
	vg_window_record(window, client, sequence, &before);
}

void vg_mem_datagram(struct vg_env *env, const struct vg_datagram *datagram)
{
	struct vg_mem_request request = { .key = datagram->key, .body = datagram->body };
	struct vg_mem_answer answer;
	struct vg_wire_header header;
	struct reply reply;

	if (!datagram->header) { /* the one door with a protocol of its own */
		vg_mem_mc_datagram(env, datagram);
		return;
	}
	memcpy(&header, (const void *)datagram->header, sizeof(header));
	if (header.flags & VG_HTOBE16(VG_FLAG_REPLY)) {
		vg_refuse(env, VG_REFUSAL_MALFORMED);
		return;
	}
	request.opcode = header.opcode;
	request.flags = VG_BE16TOH(header.flags);
	request.partition = VG_BE16TOH(header.partition);
	request.ident = VG_BE64TOH(header.ident);
	request.argument = VG_BE64TOH(header.argument);
	request.key_length = VG_BE32TOH(header.key_length);
	request.body_length = VG_BE32TOH(header.body_length);
	request.body_room = (__u32)(answer_max(datagram) - sizeof(header));
	if (!datagram->proven && !vg_mem_open(env))
		answer = (struct vg_mem_answer){
			.status = VG_STATUS_UNAUTHORIZED, .unproven = true, .ident = request.ident,
		};
	else if (!vg_frame_padding_zero(datagram->key, request.key_length))
		answer = (struct vg_mem_answer){ .status = VG_STATUS_BAD_REQUEST, .ident = request.ident };
	else if (vg_mem_changes(request.opcode))
		execute_once(env, &request, VG_BE64TOH(header.client), VG_BE64TOH(header.sequence), &answer);
	else
		vg_mem_execute(env, &request, reply.body, &answer);
	send_answer(env, datagram, &header, &reply, &answer);
}
