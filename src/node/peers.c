/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Questions to other nodes: VIRGO binary over one TCP connection for each node and door that is asked. The memory pool
 * answers in the order of the questions; other doors in any order, and there a question that has waited too long fails
 * alone while others are answered.
 *
 * A link is down, connecting, up or resting. A question to a link that is down starts a connection and waits in
 * `queued`; when a link fails every open question is answered -EHOSTUNREACH, and for VG_PEER_REST_MS further ones are
 * answered so at once, so that a dead node costs its callers little. Whether a question was carried out before the
 * link failed is not known: the caller says so.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "node/load.h"
#include "node/peers.h"
#include "node/world.h"
#include "proto/frame.h"
#include "virgo/wire_codec.h"

#define COPY_BYTES_MAX 65536 /* longer bodies are lent to the connection from memory of their own */

enum link_state { LINK_DOWN = 0, LINK_CONNECTING, LINK_UP, LINK_RESTING };

struct ask {
	vg_peer_fn fn; /* NULL: answered, while an older one is not */
	void *context;
	__u64 sequence;
	__u64 deadline_ns;
	bool tentative;
};

struct link {
	struct vg_peers *peers;
	__u16 node;
	enum vg_door door;
	enum link_state state;
	int fd; /* while connecting */
	vg_io_op connect_op;
	__u64 until_ns;	      /* connecting: give up; resting: try again */
	struct vg_conn *conn; /* up */
	struct vg_out queued; /* questions before the link is up */
	struct ask *asks;     /* ring of VG_PEER_ASKS_MAX, allocated with the first question */
	__u32 first, count; /* the first is not answered */
	__u64 sequence;	    /* of the last question: they are numbered one by one */
	__u64 heard_ns;	    /* when the last answer came */
};

struct vg_peers {
	struct vg_worker *worker;
	struct link *links; /* VG_DOOR_MAX of each node */
	__u16 count;	    /* nodes */
	__u64 client; /* names this worker as a client of other nodes */
	bool broken; /* some link has failed and its questions wait to be answered */
	/* Questions that could not be put: answered by the next vg_peers_tend. */
	struct refused {
		vg_peer_fn fn;
		void *context;
		int error;
	} * refused;
	__u32 refused_count, refused_capacity;
	__u8 key[VG_KEY_MAX + 8]; /* of the question being put, padded */
};

/* ---- answers ------------------------------------------------------------------------------------------------------
 */

static struct ask *ask_at(struct link *link, __u32 place)
{
	return &link->asks[(link->first + place) % VG_PEER_ASKS_MAX];
}

static struct ask *oldest(struct link *link)
{
	return ask_at(link, 0);
}

/* The question at this place is answered; those in front that are done make room. */
static void answer(struct link *link, __u32 place, const struct vg_peer_reply *reply)
{
	struct ask ask = *ask_at(link, place);

	assert(place < link->count && ask.fn);
	ask_at(link, place)->fn = NULL;
	while (link->count && !oldest(link)->fn) {
		link->first++;
		link->count--;
	}
	ask.fn(ask.context, reply);
}

/* Which question the answer is for; link->count: one that has been given up; above: none of ours. */
static __u32 place_of(struct link *link, __u64 sequence)
{
	__u64 first = link->sequence - link->count + 1;

	if (sequence < first && link->door != VG_DOOR_MEM && sequence)
		return link->count;
	if (sequence < first || sequence > link->sequence)
		return ~0U;
	if (link->door == VG_DOOR_MEM && sequence != first)
		return ~0U;
	return ask_at(link, (__u32)(sequence - first))->fn ? (__u32)(sequence - first) : link->count;
}

/* One answer, wholly there. False: not what we wait for, the link is of no use any more. */
static bool take_reply(struct link *link, const struct vg_frame *frame)
{
	const __u64 *key = vg_cluster_key(link->peers->worker->env.cluster);
	struct vg_peer_reply reply = {
		.status = frame->header.status,
		.flags = VG_BE16TOH(frame->header.flags),
		.partition = VG_BE16TOH(frame->header.partition),
		.ident = VG_BE64TOH(frame->header.ident),
		.argument = VG_BE64TOH(frame->header.argument),
		.body = frame->body,
		.body_length = frame->body_length,
	};
	__u32 place = place_of(link, VG_BE64TOH(frame->header.sequence));

	if (!(reply.flags & VG_FLAG_REPLY) || place > link->count)
		return false;
	if (key && !vg_frame_tag_right(key, &frame->header, frame->key))
		return false;
	if (link->door == VG_DOOR_MEM)
		vg_load_heard(link->peers->worker, link->node, VG_LOAD_MEM, &frame->header.load);
	link->heard_ns = link->peers->worker->clock.monotonic_ns;
	if (place < link->count)
		answer(link, place, &reply);
	return true;
}

static ssize_t on_input(struct vg_conn *conn, const __u8 *data, size_t length)
{
	struct link *link = conn->session;
	struct vg_frame frame;
	size_t taken = 0;

	vg_worker_turn(link->peers->worker);
	for (;;) {
		enum vg_frame_state state = vg_frame_read(&frame, data + taken, length - taken);

		if (state == VG_FRAME_LOST || (state != VG_FRAME_MORE && frame.verdict != VG_WIRE_OK))
			return -EPROTO;
		if (state != VG_FRAME_WHOLE)
			break;
		if (!take_reply(link, &frame))
			return -EPROTO;
		taken += frame.length;
	}
	conn->input_wanted = frame.length;
	return (ssize_t)taken;
}

/* ---- the life of a link ---------------------------------------------------------------------------------------------
 */

static __u64 now_ns(const struct link *link)
{
	return link->peers->worker->clock.monotonic_ns;
}

static bool only_tentative(struct link *link)
{
	for (__u32 i = 0; i < link->count; i++)
		if (ask_at(link, i)->fn && !ask_at(link, i)->tentative)
			return false;
	return link->count;
}

/* What was asked is answered by vg_peers_tend: never from inside a call that asks. */
static void fail_link(struct link *link)
{
	__u64 rest_ms = only_tentative(link) ? 0 : VG_PEER_REST_MS;

	link->state = LINK_RESTING;
	link->conn = NULL;
	link->connect_op = 0;
	link->until_ns = now_ns(link) + rest_ms * 1000000ULL;
	vg_out_deinit(&link->queued);
	vg_out_init(&link->queued, &link->peers->worker->chunks);
	link->peers->broken = true;
}

static void on_close(struct vg_conn *conn, int reason)
{
	struct link *link = conn->session;

	vg_worker_turn(link->peers->worker);
	if (link->conn == conn)
		fail_link(link);
}

static const struct vg_conn_user link_user = { .on_input = on_input, .on_close = on_close };

static void on_connect(void *owner, const struct vg_io_event *event)
{
	struct link *link = owner;
	struct vg_worker *worker = link->peers->worker;
	struct vg_conn *conn;
	int fd = link->fd;

	vg_worker_turn(worker);
	link->connect_op = 0;
	link->fd = -1;
	if (event->result < 0) {
		vg_io_close(worker->io, fd);
		fail_link(link);
		return;
	}
	if (vg_conn_open(worker->conns, fd, &link_user, link, &conn)) {
		fail_link(link);
		return;
	}
	conn->input_max = VG_BODY_MAX + VG_KEY_MAX + 4096ULL;
	link->conn = conn;
	link->state = LINK_UP;
	vg_out_splice(&conn->out, &link->queued);
	vg_conn_flush(conn);
}

/* Where the port of an address is, whichever family. */
static __be16 *port_of(const struct sockaddr *address)
{
	return address->sa_family == AF_INET ? &((struct sockaddr_in *)address)->sin_port
					     : &((struct sockaddr_in6 *)address)->sin6_port;
}

static void connect_link(struct link *link)
{
	struct vg_worker *worker = link->peers->worker;
	const struct vg_cluster_node *node = &worker->env.cluster->node[link->node];
	struct sockaddr_storage address = node->address;

	*port_of((const struct sockaddr *)&address) =
		htons(vg_cluster_port(worker->env.cluster, link->node, link->door));
	link->until_ns = now_ns(link) + VG_PEER_CONNECT_TIMEOUT_MS * 1000000ULL;
	link->fd = vg_io_socket(worker->io, node->address.ss_family, SOCK_STREAM);
	if (link->fd < 0) {
		fail_link(link);
		return;
	}
	link->state = LINK_CONNECTING;
	if (vg_io_connect(worker->io, link->fd, (const struct sockaddr *)&address, node->address_length,
			  on_connect, link, &link->connect_op)) {
		vg_io_close(worker->io, link->fd);
		link->fd = -1;
		fail_link(link);
	}
}

/* ---- questions ------------------------------------------------------------------------------------------------------
 */

struct lent_body {
	const struct vg_mem *mem;
	__u8 bytes[];
};

static void release_body(void *context)
{
	struct lent_body *body = context;

	body->mem->free(body->mem->context, body);
}

static int append_body(struct vg_env *env, struct vg_out *out, const struct vg_peer_request *request, size_t length)
{
	struct lent_body *body;
	size_t at = 0;

	if (length <= COPY_BYTES_MAX) {
		for (int i = 0; i < request->body_count; i++)
			vg_out_append(out, request->body[i].iov_base, request->body[i].iov_len);
		return 0;
	}
	body = env->mem->alloc(env->mem->context, sizeof(*body) + length);
	if (!body)
		return -ENOBUFS;
	body->mem = env->mem;
	for (int i = 0; i < request->body_count; i++) {
		memcpy(body->bytes + at, request->body[i].iov_base, request->body[i].iov_len);
		at += request->body[i].iov_len;
	}
	vg_out_lend(out, body->bytes, length, release_body, body);
	return 0;
}

static int put_question(struct link *link, const struct vg_peer_request *request, __u64 sequence)
{
	struct vg_peers *peers = link->peers;
	struct vg_env *env = &peers->worker->env;
	const __u64 *key = vg_cluster_key(env->cluster);
	struct vg_out frame;
	size_t length = 0;
	struct vg_wire_header header = {
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = request->opcode,
		.flags = VG_HTOBE16((__u16)(request->flags | VG_FLAG_FORWARDED | (key ? VG_FLAG_TAGGED : 0))),
		.client = VG_HTOBE64(peers->client),
		.sequence = VG_HTOBE64(sequence),
		.source_node = VG_HTOBE16(env->cluster->self),
		.partition = VG_HTOBE16(request->partition),
		.epoch = VG_HTOBE32(env->cluster->epoch),
		.ident = VG_HTOBE64(request->ident),
		.key_length = VG_HTOBE32(request->key_length),
		.argument = VG_HTOBE64(request->argument),
	};

	for (int i = 0; i < request->body_count; i++)
		length += request->body[i].iov_len;
	header.body_length = VG_HTOBE32((__u32)length);
	if (request->key_length) {
		memset(peers->key + request->key_length, 0, 8);
		memcpy(peers->key, request->key, request->key_length);
	}
	if (key)
		header.tag = vg_wire_tag_of(key, &header, peers->key);
	vg_out_init(&frame, env->chunks);
	vg_out_append(&frame, &header, sizeof(header));
	vg_out_append(&frame, peers->key, vg_wire_key_padded(&header));
	/* Into a frame of its own first: a question that does not fit must not tear the stream. */
	if (append_body(env, &frame, request, length) || frame.failed) {
		vg_out_deinit(&frame);
		return -ENOBUFS;
	}
	vg_out_splice(link->conn ? &link->conn->out : &link->queued, &frame);
	if (link->conn)
		vg_conn_flush(link->conn);
	return 0;
}

static void refuse(struct vg_peers *peers, vg_peer_fn fn, void *context, int error)
{
	if (peers->refused_count == peers->refused_capacity) {
		__u32 capacity = peers->refused_capacity ? 2 * peers->refused_capacity : 64;
		struct refused *larger = realloc(peers->refused, capacity * sizeof(*larger));
		struct vg_peer_reply reply = { .error = error };

		if (!larger) {
			fn(context, &reply); /* better early than never */
			return;
		}
		peers->refused = larger;
		peers->refused_capacity = capacity;
	}
	peers->refused[peers->refused_count++] = (struct refused){ .fn = fn, .context = context, .error = error };
}

static struct link *link_to(const struct vg_peers *peers, __u16 node, unsigned int door)
{
	return &peers->links[(size_t)node * VG_DOOR_MAX + door];
}

static int try_ask(struct link *link, const struct vg_peer_request *request, vg_peer_fn fn, void *context)
{
	int error;

	if (!vg_cluster_port(link->peers->worker->env.cluster, link->node, link->door))
		return -EHOSTUNREACH;
	if (!link->asks)
		link->asks = calloc(VG_PEER_ASKS_MAX, sizeof(*link->asks));
	if (!link->asks || link->count == VG_PEER_ASKS_MAX)
		return -ENOBUFS;
	if (link->state == LINK_RESTING && now_ns(link) >= link->until_ns && link->count == 0)
		link->state = LINK_DOWN;
	if (link->state == LINK_DOWN)
		connect_link(link);
	if (link->state == LINK_RESTING)
		return -EHOSTUNREACH;
	error = put_question(link, request, link->sequence + 1);
	if (error)
		return error;
	link->asks[(link->first + link->count++) % VG_PEER_ASKS_MAX] = (struct ask){
		.fn = fn,
		.context = context,
		.sequence = ++link->sequence,
		.tentative = request->tentative,
		.deadline_ns = now_ns(link) + VG_PEER_TIMEOUT_MS * 1000000ULL,
	};
	return 0;
}

void vg_peers_ask(struct vg_peers *peers, __u16 node, const struct vg_peer_request *request, vg_peer_fn fn,
		  void *context)
{
	int error = -EHOSTUNREACH;

	assert(fn && request->door < VG_DOOR_MAX);
	if (node < peers->count && node != peers->worker->env.cluster->self)
		error = try_ask(link_to(peers, node, request->door), request, fn, context);
	if (error)
		refuse(peers, fn, context, error);
	else
		peers->worker->stats.forwarded++;
}

/* ---- housekeeping ---------------------------------------------------------------------------------------------- */

/*
 * Questions past their time. Where answers come in order, or none has come for as long, nothing can be expected of the
 * link any more; else that question alone is given up.
 */
static void drop_late(struct link *link)
{
	const struct vg_peer_reply reply = { .error = -ETIMEDOUT };

	while (link->count && now_ns(link) >= oldest(link)->deadline_ns) {
		if (link->door == VG_DOOR_MEM || now_ns(link) - link->heard_ns >= VG_PEER_TIMEOUT_MS * 1000000ULL) {
			struct vg_conn *conn = link->conn;

			fail_link(link);
			vg_conn_abort(conn, -ETIMEDOUT);
			return;
		}
		answer(link, 0, &reply);
	}
}

static void tend_link(struct link *link)
{
	struct vg_io *io = link->peers->worker->io;

	if (link->state == LINK_CONNECTING && now_ns(link) >= link->until_ns) {
		vg_io_cancel(io, link->connect_op);
		vg_io_close(io, link->fd);
		link->fd = -1;
		fail_link(link);
	} else if (link->state == LINK_UP) {
		drop_late(link);
	}
	if (link->state == LINK_RESTING) {
		struct vg_peer_reply reply = { .error = -EHOSTUNREACH };

		/* What is asked from inside the answers is refused: the link rests. */
		while (link->count && link->state == LINK_RESTING)
			answer(link, 0, &reply);
	}
}

void vg_peers_tend(struct vg_peers *peers)
{
	__u32 refused = peers->refused_count;

	peers->broken = false;
	for (int i = 0; i < peers->count * VG_DOOR_MAX; i++)
		if (peers->links[i].asks)
			tend_link(&peers->links[i]);
	for (__u32 i = 0; i < refused; i++) {
		struct vg_peer_reply reply = { .error = peers->refused[i].error };

		peers->refused[i].fn(peers->refused[i].context, &reply);
	}
	/* Answering may have led to new refusals: they wait for the next call. */
	peers->refused_count -= refused;
	if (refused)
		memmove(peers->refused, peers->refused + refused, peers->refused_count * sizeof(peers->refused[0]));
}

void vg_peers_ping(struct vg_peers *peers, __u16 number, __u16 port, int fd)
{
	struct vg_worker *worker = peers->worker;
	const __u64 *key = vg_cluster_key(worker->env.cluster);
	const struct vg_cluster_node *node = &worker->env.cluster->node[number];
	struct sockaddr_storage address = node->address;
	struct vg_wire_header ping = {
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = VG_OP_PING,
		.flags = VG_HTOBE16(VG_FLAG_FORWARDED | (key ? VG_FLAG_TAGGED : 0)),
		.client = VG_HTOBE64(worker->world->ping_client),
		.sequence = VG_HTOBE64(worker->world->heartbeats),
		.source_node = VG_HTOBE16(worker->env.cluster->self),
		.epoch = VG_HTOBE32(worker->env.cluster->epoch),
	};

	*port_of((const struct sockaddr *)&address) = htons(port);
	if (key)
		ping.tag = vg_wire_tag(key, &ping);
	vg_io_sendto(worker->io, fd, &ping, sizeof(ping), (const struct sockaddr *)&address, node->address_length);
}

/* Nobody else knows the number that our pings have for a client; under a cluster key the tag is looked at as well. */
void vg_peers_heard(struct vg_peers *peers, const struct vg_wire_header *reply, const struct sockaddr *source)
{
	const struct vg_cluster *cluster = peers->worker->env.cluster;
	const __u64 *key = vg_cluster_key(cluster);
	__u16 node = VG_BE16TOH(reply->source_node);
	unsigned int service;

	if (reply->client != VG_HTOBE64(peers->worker->world->ping_client) || reply->opcode != VG_OP_PING ||
	    node >= peers->count || node == cluster->self || (key && vg_wire_tag(key, reply) != reply->tag))
		return;
	service = vg_load_of_port(cluster, node, ntohs(*port_of(source)));
	if (service < VG_LOADS_MAX)
		vg_load_heard(peers->worker, node, service, &reply->load);
}

bool vg_peers_need_tending(const struct vg_peers *peers)
{
	return peers->broken || peers->refused_count;
}

static bool is_usable(void *context, __u16 node)
{
	const struct vg_peers *peers = context;

	return link_to(peers, node, VG_DOOR_MEM)->state != LINK_RESTING;
}

__u16 vg_peers_pick(struct vg_peers *peers)
{
	__u16 node = vg_load_pick(peers->worker, VG_LOAD_MEM, is_usable, peers);

	return node == VG_NODE_NONE ? peers->worker->env.cluster->self : node;
}

int vg_peers_new(struct vg_peers **ret_peers, struct vg_worker *worker)
{
	struct vg_peers *peers = calloc(1, sizeof(*peers));

	if (!peers)
		return -ENOMEM;
	peers->worker = worker;
	peers->count = worker->env.cluster->nodes;
	peers->client = vg_env_random(&worker->env);
	peers->links = calloc((size_t)peers->count * VG_DOOR_MAX, sizeof(*peers->links));
	if (!peers->links) {
		free(peers);
		return -ENOMEM;
	}
	for (int i = 0; i < peers->count * VG_DOOR_MAX; i++) {
		struct link *link = &peers->links[i];

		link->peers = peers;
		link->node = (__u16)(i / VG_DOOR_MAX);
		link->door = (enum vg_door)(i % VG_DOOR_MAX);
		link->fd = -1;
		vg_out_init(&link->queued, &worker->chunks);
	}
	*ret_peers = peers;
	return 0;
}

void vg_peers_free(struct vg_peers *peers)
{
	if (!peers)
		return;
	for (int i = 0; i < peers->count * VG_DOOR_MAX; i++) {
		if (peers->links[i].fd >= 0) {
			vg_io_cancel(peers->worker->io, peers->links[i].connect_op);
			vg_io_close(peers->worker->io, peers->links[i].fd);
		}
		vg_out_deinit(&peers->links[i].queued);
		free(peers->links[i].asks);
	}
	free(peers->refused);
	free(peers->links);
	free(peers);
}
