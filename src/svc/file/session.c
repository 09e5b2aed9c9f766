// SPDX-License-Identifier: GPL-3.0-or-later
/* Clients and their connections: who holds what, and until when. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "svc/file/disk.h"
#include "svc/file/hold.h"
#include "svc/file/tree.h"

#define SLOT_BITS 16
_Static_assert(VG_FILE_CLIENTS_MAX <= 1 << SLOT_BITS, "a session's number says where it is");

int vg_clients_init(struct vg_file_pool *pool)
{
	pool->client = vg_file_alloc(pool, VG_FILE_CLIENTS_MAX * sizeof(*pool->client));
	if (!pool->client)
		return -ENOMEM;
	for (__u32 i = VG_FILE_CLIENTS_MAX; i; i--) {
		pool->client[i - 1] = (struct vg_file_client){ .pool = pool, .next = pool->client_free };
		pool->client_free = &pool->client[i - 1];
	}
	return 0;
}

void vg_clients_deinit(struct vg_file_pool *pool)
{
	for (__u32 i = 0; pool->client && i < VG_FILE_CLIENTS_MAX; i++)
		if (pool->client[i].id && !pool->client[i].ended)
			vg_client_end(&pool->client[i]);
}

/* ---- clients --------------------------------------------------------------------------------------------------- */

static void on_tick(void *context);

static void start_ticking(struct vg_file_pool *pool)
{
	if (!pool->ticking && !pool->stopping)
		pool->ticking = !vg_env_timer(pool->env, VG_FILE_TICK_NS, on_tick, pool);
}

static struct vg_file_client *client_new(struct vg_file_pool *pool, const struct vg_file_export *export)
{
	struct vg_file_client *client = pool->client_free;
	__u64 words[3];

	if (!client || vg_disk_random(words, sizeof(words)))
		return NULL;
	pool->client_free = client->next;
	*client = (struct vg_file_client){
		.pool = pool,
		.id = words[0] << SLOT_BITS | (__u64)(client - pool->client),
		.export = export,
		.lease_ns = VG_FILE_LEASE_DEFAULT_MS * 1000000ull,
		.refs = 1, /* its number's */
	};
	if (!(client->id >> SLOT_BITS)) /* no number is 0 */
		client->id |= 1ull << SLOT_BITS;
	memcpy(client->secret, words + 1, sizeof(client->secret));
	pool->clients++;
	__atomic_store_n(&pool->counts.sessions, pool->clients, __ATOMIC_RELAXED);
	start_ticking(pool);
	return client;
}

void vg_client_put(struct vg_file_client *client)
{
	struct vg_file_pool *pool = client->pool;

	assert(client->refs);
	if (--client->refs)
		return;
	assert(client->ended && !client->links && !client->descriptors);
	client->id = 0;
	client->next = pool->client_free;
	pool->client_free = client;
	pool->clients--;
	__atomic_store_n(&pool->counts.sessions, pool->clients, __ATOMIC_RELAXED);
}

static void leave(struct vg_file_link *link)
{
	struct vg_file_client *client = link->client;
	struct vg_file_link **at;

	if (!client)
		return;
	for (at = &client->links; *at != link; at = &(*at)->next)
		;
	*at = link->next;
	link->client = NULL;
	client->link_count--;
	if (!client->links)
		client->lost_ns = client->pool->env->clock->monotonic_ns;
}

static void join(struct vg_file_link *link, struct vg_file_client *client)
{
	link->client = client;
	link->next = client->links;
	client->links = link;
	client->link_count++;
	client->lost_ns = 0;
}

static void forget_text(struct vg_file_client *client)
{
	struct vg_file_client **at;

	if (!client->text_peer[0])
		return;
	for (at = &client->pool->text_clients; *at != client; at = &(*at)->next)
		;
	*at = client->next;
}

void vg_client_end(struct vg_file_client *client)
{
	struct vg_file_pool *pool = client->pool;

	assert(!client->ended);
	client->ended = true;
	forget_text(client);
	while (client->links)
		leave(client->links);
	vg_lock_client_ended(client);
	vg_watch_client_ended(client);
	vg_far_client_ended(client);
	while (client->descriptors)
		vg_descriptor_close(client->descriptors);
	vg_retry_client_ended(client);
	__atomic_store_n(&pool->counts.sessions_ended, pool->counts.sessions_ended + 1, __ATOMIC_RELAXED);
	vg_client_put(client);
}

/*
 * Others wait for memory, and this connection has some for answers that it does not read: if it takes nothing for long
 * it ends. Its session does not.
 */
static void end_stalled(struct vg_file_link *link, __u64 now_ns)
{
	struct vg_session *session = link->gone ? NULL : vg_session_find(link->pool->env, link->session);

	if (!session)
		return;
	if (!link->bytes || !session->out->bytes || session->out->bytes != link->out_bytes) {
		link->out_bytes = session->out->bytes;
		link->moved_ns = now_ns;
	} else if (now_ns - link->moved_ns > VG_FILE_STALL_NS) {
		(void)vg_session_kill(link->pool->env, session->id);
	}
}

/* Leases that are over; connections that are stuck. */
static void on_tick(void *context)
{
	struct vg_file_pool *pool = context;
	__u64 now_ns = pool->env->clock->monotonic_ns;

	pool->ticking = false;
	for (__u32 i = 0; i < VG_FILE_CLIENTS_MAX && !pool->stopping; i++) {
		struct vg_file_client *client = &pool->client[i];

		for (struct vg_file_link *link = client->links; client->id && link && pool->waiting_first;
		     link = link->next)
			end_stalled(link, now_ns);
		if (client->id && !client->ended && client->lost_ns && now_ns - client->lost_ns > client->lease_ns)
			vg_client_end(client);
	}
	/* One that was woken may have left what there is to others: its own answers are still unread. */
	vg_links_wake(pool, VG_FILE_WAKE_MAX);
	if (pool->clients)
		start_ticking(pool);
}

struct vg_file_client *vg_client_of_text(struct vg_file_link *link, const char *address)
{
	struct vg_file_pool *pool = link->pool;
	struct vg_file_client *client = pool->text_clients;

	while (client && (strcmp(client->text_peer, address) || client->export != link->export))
		client = client->next;
	if (client && client->link_count >= VG_FILE_CONNECTIONS_MAX)
		return NULL;
	if (!client) {
		client = client_new(pool, link->export);
		if (!client)
			return NULL;
		strncpy(client->text_peer, address, sizeof(client->text_peer) - 1);
		client->next = pool->text_clients;
		pool->text_clients = client;
	}
	join(link, client);
	return client;
}

void vg_client_of_node(struct vg_file_link *link, __u16 node)
{
	char name[16];

	snprintf(name, sizeof(name), "node %u", node);
	(void)vg_client_of_text(link, name);
}

/* ---- connections ----------------------------------------------------------------------------------------------- */

struct vg_file_link *vg_link_of(struct vg_session *session)
{
	struct vg_file_link *link = session->state.pointer;

	if (link)
		return link;
	link = vg_file_alloc(vg_file_pool(session->env), sizeof(*link));
	if (!link)
		return NULL;
	*link = (struct vg_file_link){
		.pool = vg_file_pool(session->env),
		.session = vg_session_ref(session),
		.refs = 1, /* the session's */
	};
	session->state.pointer = link;
	return link;
}

void vg_link_put(struct vg_file_link *link)
{
	assert(link->refs);
	if (!--link->refs)
		vg_file_free(link->pool, link);
}

/* Nothing that arrives on it counts any more. */
static void deafen(struct vg_file_link *link)
{
	struct vg_file_op *receiving = link->receiving;

	link->gone = true;
	vg_link_unwait(link);
	leave(link);
	link->receiving = NULL;
	if (receiving) {
		receiving->session = NULL;
		vg_op_fail(receiving, -ECONNRESET); /* it has not begun, and nobody hears it */
	}
}

void vg_link_closed(struct vg_session *session)
{
	struct vg_file_link *link = session->state.pointer;

	if (!link)
		return;
	deafen(link);
	vg_link_put(link);
}

/* ---- FILE_SESSION, FILE_END ------------------------------------------------------------------------------------ */

/* In a time that does not tell how much of it is right. */
static bool secret_right(const struct vg_file_client *client, const __u8 *secret)
{
	__u8 wrong = 0;

	for (size_t i = 0; i < sizeof(client->secret); i++)
		wrong |= client->secret[i] ^ secret[i];
	return !wrong;
}

static struct vg_file_client *find(const struct vg_file_op *op, const struct vg_file_session *asked)
{
	struct vg_file_pool *pool = op->pool;
	__u64 slot = op->ident & ((1u << SLOT_BITS) - 1);
	struct vg_file_client *client = slot < VG_FILE_CLIENTS_MAX ? &pool->client[slot] : NULL;

	if (!client || client->id != op->ident || client->ended || client->text_peer[0] ||
	    client->export != op->export || !secret_right(client, asked->secret))
		return NULL;
	return client;
}

static __u64 lease_of(const struct vg_file_session *asked)
{
	__u32 lease_ms = VG_BE32TOH(asked->lease_ms);

	if (!lease_ms)
		lease_ms = VG_FILE_LEASE_DEFAULT_MS;
	return (lease_ms < VG_FILE_LEASE_MAX_MS ? lease_ms : VG_FILE_LEASE_MAX_MS) * 1000000ull;
}

/*
 * The same client has come back before its old connection is known to be lost: what is still unread there came before
 * what it sends again here, and must not be carried out behind it.
 */
static void cut_others(struct vg_file_client *client, const struct vg_file_link *link, __u64 wire_client)
{
	struct vg_file_link *other, *next;

	for (other = client->links; other; other = next) {
		struct vg_session *session = other->gone ? NULL : vg_session_find(client->pool->env, other->session);

		next = other->next;
		if (other == link || other->wire_client != wire_client)
			continue;
		deafen(other);
		if (session)
			(void)vg_session_kill(client->pool->env, session->id);
	}
}

static void answer_session(struct vg_file_op *op, const struct vg_file_client *client)
{
	struct vg_file_pool *pool = op->pool;
	struct vg_file_session answer = {
		.lease_ms = VG_HTOBE32((__u32)(client->lease_ns / 1000000)),
		.node = VG_HTOBE16(pool->self),
		.nodes = VG_HTOBE16(vg_cluster_nodes(pool->env->cluster)),
		.life = VG_HTOBE64(pool->life),
		.in_flight_max = VG_HTOBE32(VG_FILE_IN_FLIGHT_MAX),
	};

	memcpy(answer.secret, client->secret, sizeof(answer.secret));
	op->answer = (struct vg_file_answer){ .ident = client->id, .body = &answer, .body_length = sizeof(answer) };
	vg_op_ok(op);
}

void vg_session_run(struct vg_file_op *op)
{
	struct vg_file_link *link = op->link;
	struct vg_file_session asked;
	struct vg_file_client *client;

	memcpy(&asked, op->body, sizeof(asked));
	if (link->client && link->client->id != op->ident) {
		vg_op_fail(op, -EISCONN);
		return;
	}
	client = op->ident ? find(op, &asked) : client_new(op->pool, op->export);
	if (!client) {
		vg_op_fail(op, op->ident ? -ESTALE : -EUSERS);
		return;
	}
	cut_others(client, link, op->wire_client);
	if (!link->client && client->link_count >= VG_FILE_CONNECTIONS_MAX) {
		vg_op_fail(op, -EUSERS);
		return;
	}
	if (!op->ident || asked.lease_ms)
		client->lease_ns = lease_of(&asked);
	if (!link->client)
		join(link, client);
	link->wire_client = op->wire_client;
	answer_session(op, client);
}

void vg_session_end_run(struct vg_file_op *op)
{
	vg_client_end(op->client);
	vg_op_ok(op);
}
