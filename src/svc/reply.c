// SPDX-License-Identifier: GPL-3.0-or-later
#include "svc/reply.h"

#include <assert.h>

#include "virgo/wire_codec.h"

static __u32 saturated(__u64 value)
{
	return value > 0xffffffff ? 0xffffffff : (__u32)value;
}

static struct vg_load_stamp stamp(const struct vg_env *env, const struct vg_service *service)
{
	__u64 in_flight, service_ns;

	service->load(env, &in_flight, &service_ns);
	return (struct vg_load_stamp){
		.in_flight = VG_HTOBE32(saturated(in_flight)),
		.service_ns = VG_HTOBE32(saturated(service_ns)),
		.run_queue_delay_ns = VG_HTOBE32(env->run_queue_delay_ns),
	};
}

void vg_reply_header(const struct vg_env *env, const struct vg_service *service, const struct vg_reply *reply,
		     struct vg_wire_header *ret_header)
{
	const __u64 *key = reply->unproven ? NULL : reply->key;

	assert(reply->status < VG_STATUS_MAX);
	*ret_header = (struct vg_wire_header){
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = reply->opcode,
		.flags = VG_HTOBE16(reply->flags | VG_FLAG_REPLY | (key ? VG_FLAG_TAGGED : 0)),
		.status = reply->status,
		.client = VG_HTOBE64(reply->client),
		.sequence = VG_HTOBE64(reply->sequence),
		.source_node = VG_HTOBE16(vg_cluster_self(env->cluster)),
		.partition = VG_HTOBE16(reply->partition),
		.epoch = VG_HTOBE32(vg_cluster_epoch(env->cluster)),
		.ident = VG_HTOBE64(reply->ident),
		.body_length = VG_HTOBE32(reply->body_length),
		.argument = VG_HTOBE64(reply->argument),
	};
	if (!reply->unproven)
		ret_header->load = stamp(env, service);
	if (key)
		ret_header->tag = vg_wire_tag_of(key, ret_header, NULL);
}
