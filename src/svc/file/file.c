// SPDX-License-Identifier: GPL-3.0-or-later
/* The file pool as a service. */
#include "svc/file/file.h"

#include <errno.h>
#include <string.h>

#include "svc/file/data.h"
#include "svc/file/disk.h"
#include "svc/file/hold.h"
#include "svc/file/tree.h"
#include "svc/reply.h"

/*
 * Work may be under way on helper threads when the ring turns no more. What it looks at, ops and tables, is then left
 * to the heap tier, and the root's descriptor is the node's: both outlive the ring.
 */
static void file_deinit(struct vg_env *env)
{
	struct vg_file_pool *pool = vg_file_pool(env);

	pool->stopping = true;
	vg_clients_deinit(pool);
	vg_watches_deinit(pool);
	vg_locks_deinit(pool);
	vg_tree_deinit(pool);
	vg_bytes_deinit(pool);
	vg_descriptors_deinit(pool);
	vg_quotas_deinit(pool);
	vg_exports_deinit(pool);
	vg_ops_deinit(pool);
	env->services[VG_SERVICE_FILE] = NULL;
}

static int file_init(struct vg_env *env)
{
	struct vg_file_pool *pool = env->mem->alloc(env->mem->context, sizeof(*pool));
	int error;

	if (!pool)
		return -ENOMEM;
	*pool = (struct vg_file_pool){
		.env = env,
		.settings = env->file,
		.root_fd = env->file->root_fd,
		.self = vg_cluster_self(env->cluster),
		.alone = vg_cluster_nodes(env->cluster) == 1,
	};
	env->services[VG_SERVICE_FILE] = pool;
	error = vg_disk_random(&pool->life, sizeof(pool->life));
	error = error ?: vg_exports_init(pool);
	error = error ?: vg_quotas_init(pool);
	error = error ?: vg_ops_init(pool);
	error = error ?: vg_descriptors_init(pool);
	error = error ?: vg_bytes_init(pool);
	error = error ?: vg_tree_init(pool);
	error = error ?: vg_locks_init(pool);
	error = error ?: vg_watches_init(pool);
	error = error ?: vg_clients_init(pool);
	if (error)
		file_deinit(env);
	return error;
}

/* ---- input ----------------------------------------------------------------------------------------------------- */

static ssize_t http_refuse(struct vg_session *session, size_t length)
{
	static const char answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
				     "this port speaks VIRGO binary and text; HTTP is on the admin port 9464\n";

	vg_refuse(session->env, VG_REFUSAL_HTTP);
	vg_out_append(session->out, answer, sizeof(answer) - 1);
	session->finish = true;
	return (ssize_t)length;
}

static ssize_t file_input(struct vg_session *session, const __u8 *data, size_t length)
{
	switch (session->protocol) {
	case VG_PROTOCOL_BINARY:
		return vg_file_binary_input(session, data, length);
	case VG_PROTOCOL_HTTP:
		return http_refuse(session, length);
	case VG_PROTOCOL_TEXT:
	case VG_PROTOCOL_RESP:
	case VG_PROTOCOL_MEMCACHE: /* what begins like another's line is answered as text, with what is wrong */
		return vg_file_text_input(session, data, length);
	case VG_PROTOCOL_UNKNOWN:
		break;
	}
	return -EPROTONOSUPPORT;
}

/* Files are too much for datagrams: who asks is told. A ping is answered, with how busy the file pool is. */
static void file_datagram(struct vg_env *env, const struct vg_datagram *datagram)
{
	const __u64 *key = vg_cluster_key(env->cluster);
	bool stranger = key && !datagram->proven, ping = datagram->header->opcode == VG_OP_PING;
	const struct vg_reply reply = {
		.opcode = datagram->header->opcode,
		.status = stranger ? VG_STATUS_UNAUTHORIZED : ping ? VG_STATUS_OK : VG_STATUS_UNSUPPORTED,
		.client = VG_BE64TOH(datagram->header->client),
		.sequence = VG_BE64TOH(datagram->header->sequence),
		.ident = VG_BE64TOH(datagram->header->ident),
		.key = key,
		.unproven = stranger,
	};
	struct vg_wire_header header;

	if (stranger || !ping)
		vg_refuse(env, stranger ? VG_REFUSAL_UNAUTHORIZED : VG_REFUSAL_BAD_OPCODE);
	vg_reply_header(env, &vg_service_file, &reply, &header);
	(void)vg_io_sendto(env->io, datagram->fd, &header, sizeof(header), datagram->peer, datagram->peer_length);
}

/* ---- figures --------------------------------------------------------------------------------------------------- */

static void file_load(const struct vg_env *env, __u64 *ret_in_flight, __u64 *ret_service_ns)
{
	const struct vg_file_pool *pool = vg_file_pool(env);

	*ret_in_flight = __atomic_load_n(&pool->counts.in_flight, __ATOMIC_RELAXED);
	*ret_service_ns = __atomic_load_n(&pool->counts.service_ns, __ATOMIC_RELAXED);
}

static const __u64 *file_counts(const struct vg_env *env)
{
	return (const __u64 *)&vg_file_pool(env)->counts;
}

static const char *const count_names[] = {
#define X(name, type, metric, help) #name,
	VG_FILE_COUNTS(X)
#undef X
	NULL
};
_Static_assert(sizeof(struct vg_file_counts) / sizeof(__u64) <= VG_FIGURES_MAX, "room for all");

const struct vg_service vg_service_file = {
	.name = "file",
	.number = VG_SERVICE_FILE,
	.single = true,
	.init = file_init,
	.deinit = file_deinit,
	.input = file_input,
	.closed = vg_link_closed,
	.datagram = file_datagram,
	.load = file_load,
	.counts = file_counts,
	.count_names = count_names,
};
