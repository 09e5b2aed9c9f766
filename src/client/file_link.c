/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One connection to a node's file pool, and what is asked over it. Requests leave in the order of their submission, as
 * many at once as the node takes. When the connection is lost it is made again, the session joined, and what was not
 * answered sent again in the same order: the node knows what it has done. Is the session gone, so are its descriptors
 * (ESTALE), and what had been sent of changes may have been made or not (EREMOTEIO).
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/file.h"

#define BUSY_WAIT_NS 2000000ULL
#define LARGE_BYTES 16384 /* answers from here on are worth to be received in their place */

static int explain_down(const struct vg_remote_node *node, int error)
{
	char text[VG_CLIENT_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "no file pool answers at %s%s%s", node->link->text, error ? ": " : "",
		       error ? strerror(-error) : "");
	return vg_remote_explain(node->v, -EHOSTDOWN, text);
}

static int error_of_status(const struct vg_wire_header *header)
{
	const __u64 number = VG_BE64TOH(header->argument);

	switch (header->status) {
	case VG_STATUS_ERRNO:
		return number > 0 && number < 4096 ? -(int)number : -EPROTO;
	case VG_STATUS_NOT_FOUND:
		return -ENOENT;
	case VG_STATUS_GONE:
		return -ESTALE;
	case VG_STATUS_BAD_REQUEST:
	case VG_STATUS_RANGE:
		return -EINVAL;
	case VG_STATUS_UNSUPPORTED:
		return -EOPNOTSUPP;
	case VG_STATUS_TOO_BIG:
		return -EMSGSIZE;
	case VG_STATUS_NO_MEMORY:
		return -ENOMEM;
	case VG_STATUS_UNAUTHORIZED:
		return -EACCES;
	case VG_STATUS_WRONG_NODE:
		return VG_REMOTE_WRONG_NODE;
	case VG_STATUS_UNREACHABLE:
		return -EHOSTDOWN;
	case VG_STATUS_BUSY:
		return -EBUSY;
	default: /* REPLAYED, INTERNAL, … */
		return -EREMOTEIO;
	}
}

/* ---- the requests of a node ------------------------------------------------------------------------------------ */

static struct vg_remote_request **bucket_of(struct virgo *v, __u64 sequence)
{
	return &v->files->buckets[sequence % VG_REMOTE_BUCKETS];
}

static struct vg_remote_request *find(struct virgo *v, __u64 sequence)
{
	struct vg_remote_request *request = *bucket_of(v, sequence);

	while (request && request->sequence != sequence)
		request = request->bucket;
	return request;
}

static bool is_large(const struct vg_remote_request *request)
{
	return !request->grow && request->into_bytes >= LARGE_BYTES;
}

static void append(struct vg_remote_node *node, struct vg_remote_request *request)
{
	struct vg_remote_request **bucket = bucket_of(node->v, request->sequence);

	request->node = node;
	request->next = NULL;
	request->before = node->last;
	if (node->last)
		node->last->next = request;
	else
		node->first = request;
	node->last = request;
	if (!node->unsent)
		node->unsent = request;
	request->bucket = *bucket;
	*bucket = request;
	node->link->users++;
	node->link->large += is_large(request);
}

static void detach(struct vg_remote_request *request)
{
	struct vg_remote_node *node = request->node;
	struct vg_remote_request **at = bucket_of(node->v, request->sequence);

	while (*at != request)
		at = &(*at)->bucket;
	*at = request->bucket;
	if (request->before)
		request->before->next = request->next;
	else
		node->first = request->next;
	if (request->next)
		request->next->before = request->before;
	else
		node->last = request->before;
	if (node->unsent == request)
		node->unsent = request->next;
	node->in_flight -= request->sent;
	node->link->users--;
	node->link->large -= is_large(request);
	request->node = NULL;
	request->next = request->before = request->bucket = NULL;
}

static void drop_grown(struct vg_remote_request *request)
{
	if (request->grown)
		free(request->into);
	request->grown = false;
	request->into = request->grow ? NULL : request->into;
}

/* It ends so; told at the end of the turn, when nobody walks through requests. */
static void end_later(struct virgo *v, struct vg_remote_request *request, int error)
{
	struct vg_remote_request **at = &v->files->ended;

	if (request->node)
		detach(request);
	request->error = error;
	drop_grown(request);
	request->next = NULL;
	while (*at)
		at = &(*at)->next;
	*at = request;
	vg_links_due(v, 0);
}

static void fail_all(struct vg_remote_node *node, int error)
{
	while (node->first)
		end_later(node->v, node->first, error);
}

static void send_one(struct vg_remote_node *node, struct vg_remote_request *request)
{
	struct vg_wire_header head = {
		.opcode = request->opcode,
		.sequence = VG_HTOBE64(request->sequence),
		.partition = VG_HTOBE16(request->flags | (request->was_sent ? VG_FILE_RETRY : 0)),
		.ident = VG_HTOBE64(request->ident),
		.argument = VG_HTOBE64(request->argument),
	};

	if (vg_link_say(node->v, node->link, &head, request->key, request->key_length, request->body,
			request->body_length, true)) {
		end_later(node->v, request, -ENOMEM);
		return;
	}
	node->unsent = request->next;
	node->in_flight++;
	if (!request->was_sent)
		request->sent_generation = node->generation;
	request->sent = request->was_sent = true;
}

/* As many as the node takes. A descriptor of another session is not asked for. */
static void push(struct vg_remote_node *node)
{
	while (node->joined && node->unsent && node->in_flight < node->in_flight_max) {
		struct vg_remote_request *request = node->unsent;

		if (request->generation && request->generation != node->generation)
			end_later(node->v, request, -ESTALE);
		else
			send_one(node, request);
	}
}

void vg_remote_submit(struct vg_remote_node *node, struct vg_remote_request *request)
{
	struct virgo *v = node->v;
	struct vg_link *link = node->link;
	__u64 now_ns = vg_now_ns();

	request->error = 0;
	request->asked = node;
	request->answer_node = VG_NODE_NONE;
	request->sent = request->was_sent = false;
	request->sequence = ++v->sequence;
	if (!request->submitted_ns)
		request->submitted_ns = now_ns;
	if (v->files->ending || vg_remote_node_is_down(node, now_ns)) {
		end_later(v, request, v->files->ending ? -ECANCELED : explain_down(node, 0));
		return;
	}
	if (vg_link_is_up(link) && !link->users)
		link->heard_ns = now_ns;
	append(node, request);
	vg_links_due(v, now_ns + VG_LINK_SILENCE_NS);
	if (node->joined) {
		push(node);
		return;
	}
	/* Given up before, it has another chance. */
	if (!node->lost_ns || (node->down && node->first == request))
		node->lost_ns = now_ns;
	vg_links_due(v, node->lost_ns + v->timeout_ns);
	vg_link_want(v, link, now_ns);
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

/* The body of a good answer, all of which is here. */
static int take_body(struct vg_remote_request *request, const __u8 *body, __u32 length)
{
	const __u32 front = request->front_bytes < length ? request->front_bytes : length, rest = length - front;

	if (front < request->front_bytes || (request->into && rest > request->into_bytes))
		return -EPROTO;
	if (front)
		memcpy(request->front, body, front);
	request->answer = body + front;
	request->answer_length = rest;
	if (request->grow) {
		request->into = malloc((size_t)rest + 1);
		if (!request->into)
			return -ENOMEM;
		request->grown = true;
	}
	if (request->into) {
		if (rest)
			memcpy(request->into, request->answer, rest);
		request->answer = request->into;
	}
	return 0;
}

static void explain_answer(struct virgo *v, const struct vg_wire_header *header, const __u8 *body, int error)
{
	char text[VG_CLIENT_TEXT_MAX];
	__u32 length = VG_BE32TOH(header->body_length);

	if (!body || !length || !(header->flags & VG_HTOBE16(VG_FLAG_TEXT))) {
		(void)vg_remote_explain(v, error, NULL);
		return;
	}
	length = length < sizeof(text) - 1 ? length : (__u32)sizeof(text) - 1;
	memcpy(text, body, length);
	text[length] = '\0';
	(void)vg_remote_explain(v, error, text);
}

static void delay(struct virgo *v, struct vg_remote_request *request, __u64 now_ns)
{
	detach(request);
	request->due_ns = now_ns + BUSY_WAIT_NS;
	request->next = v->files->delayed;
	v->files->delayed = request;
	vg_links_due(v, request->due_ns);
}

static void answered(struct vg_remote_node *node, struct vg_remote_request *request,
		     const struct vg_wire_header *header, const __u8 *body, __u64 now_ns)
{
	struct virgo *v = node->v;

	request->answer_flags = VG_BE16TOH(header->partition);
	request->answer_node = VG_BE16TOH(header->source_node);
	request->answer_ident = VG_BE64TOH(header->ident);
	request->answer_argument = VG_BE64TOH(header->argument);
	request->answer = NULL;
	request->answer_length = 0;
	if (header->status == VG_STATUS_BUSY && now_ns < request->submitted_ns + v->timeout_ns) {
		delay(v, request, now_ns);
		return;
	}
	if (header->status != VG_STATUS_OK) {
		request->error = error_of_status(header);
		explain_answer(v, header, body, request->error);
	} else if (body || !VG_BE32TOH(header->body_length)) {
		request->error = take_body(request, body, VG_BE32TOH(header->body_length));
	} else {
		request->answer = request->into;
		request->answer_length = VG_BE32TOH(header->body_length) - request->front_bytes;
	}
	if (request->error)
		drop_grown(request);
	detach(request);
	request->done(request);
}

static bool place(struct virgo *v, struct vg_link *link, const struct vg_wire_header *header, struct iovec ret_into[2])
{
	struct vg_remote_request *request = find(v, VG_BE64TOH(header->sequence));
	const __u32 length = VG_BE32TOH(header->body_length);

	if (!request || request->node != link->file || request->opcode != header->opcode || !request->sent ||
	    header->status != VG_STATUS_OK || length <= request->front_bytes)
		return false;
	if (request->grow && !request->grown) {
		request->into = malloc((size_t)(length - request->front_bytes) + 1);
		request->grown = request->into != NULL;
	} else if (length - request->front_bytes > request->into_bytes) {
		return false;
	}
	if (!request->into)
		return false;
	ret_into[0] = (struct iovec){ request->front, request->front_bytes };
	ret_into[1] = (struct iovec){ request->into, length - request->front_bytes };
	return true;
}

/* ---- the session ----------------------------------------------------------------------------------------------- */

static void ask_session(struct vg_remote_node *node)
{
	struct vg_remote_pool *pool = node->v->files->pool;
	struct vg_file_session body = { .lease_ms = 0 };
	struct vg_wire_header head = { .opcode = VG_OP_FILE_SESSION };

	pthread_mutex_lock(&pool->lock);
	node->session = node->home->session;
	if (node->session)
		memcpy(body.secret, node->home->secret, sizeof(body.secret));
	pthread_mutex_unlock(&pool->lock);
	head.ident = VG_HTOBE64(node->session);
	node->session_sequence = ++node->v->sequence;
	head.sequence = VG_HTOBE64(node->session_sequence);
	(void)vg_link_say(node->v, node->link, &head, NULL, 0, &body, sizeof(body), false);
}

/* Ours from now on, if it is what those who share with us use. False: somebody else was faster. */
static bool adopt(struct vg_remote_node *node, __u64 session, const struct vg_file_session *body)
{
	struct vg_remote_pool *pool = node->v->files->pool;
	struct vg_remote_home *home = node->home;
	bool ours;

	pthread_mutex_lock(&pool->lock);
	if (!home->session && !node->session) {
		home->session = session;
		memcpy(home->secret, body->secret, sizeof(home->secret));
		home->generation++;
	}
	ours = home->session == session;
	node->generation = home->generation;
	pthread_mutex_unlock(&pool->lock);
	return ours;
}

/* It knows nothing of that session any more: a new one, unless somebody has made that already. */
static void session_lost(struct vg_remote_node *node)
{
	struct vg_remote_pool *pool = node->v->files->pool;

	pthread_mutex_lock(&pool->lock);
	if (node->home->session == node->session)
		node->home->session = 0;
	pthread_mutex_unlock(&pool->lock);
	ask_session(node);
}

static void resume(struct vg_remote_node *node)
{
	for (struct vg_remote_request *request = node->first, *next; request; request = next) {
		next = request->next;
		if (request->generation && request->generation != node->generation)
			end_later(node->v, request, -ESTALE);
		else if (request->change && request->was_sent && request->sent_generation != node->generation)
			end_later(node->v, request, -EREMOTEIO);
	}
	node->unsent = node->first;
	push(node);
}

static int on_session(struct vg_remote_node *node, const struct vg_wire_header *header, const __u8 *body)
{
	struct virgo *v = node->v;
	struct vg_file_session session;
	const __u32 before = node->generation;
	__u16 number;

	if (VG_BE64TOH(header->sequence) != node->session_sequence || node->joined)
		return 0;
	if (header->status == VG_STATUS_ERRNO && VG_BE64TOH(header->argument) == ESTALE && node->session) {
		session_lost(node);
		return 0;
	}
	if (header->status != VG_STATUS_OK) {
		int error = error_of_status(header);

		explain_answer(v, header, body, error);
		fail_all(node, error < 0 ? error : -EPROTO);
		return 0;
	}
	if (!body || VG_BE32TOH(header->body_length) < sizeof(session) || !header->ident)
		return -EPROTO;
	memcpy(&session, body, sizeof(session));
	if (!adopt(node, VG_BE64TOH(header->ident), &session)) {
		/* That session is nobody's; the connection is made anew, to join the other one. */
		(void)vg_link_say(v, node->link, &(struct vg_wire_header){ .opcode = VG_OP_FILE_END }, NULL, 0, NULL,
				  0, false);
		vg_link_flush(v, node->link, vg_now_ns());
		return -ECONNRESET;
	}
	node->session = VG_BE64TOH(header->ident);
	node->in_flight_max = VG_BE32TOH(session.in_flight_max);
	if (!node->in_flight_max)
		node->in_flight_max = 1;
	number = VG_BE16TOH(session.node);
	if (number < VG_NODES_MAX)
		v->files->node_of[number] = node;
	v->files->cluster_nodes = VG_BE16TOH(session.nodes);
	node->joined = node->ever_joined = true;
	node->down = false;
	node->lost_ns = 0;
	if (before && before != node->generation)
		vg_remote_watches_again(v, node);
	resume(node);
	return 0;
}

/* ---- the link's view ------------------------------------------------------------------------------------------- */

static void link_up(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	(void)v;
	(void)now_ns;
	ask_session(link->file);
}

static void link_down(struct virgo *v, struct vg_link *link, bool was_up, int error, __u64 now_ns)
{
	struct vg_remote_node *node = link->file;

	node->joined = false;
	node->in_flight = 0;
	node->unsent = node->first;
	for (struct vg_remote_request *request = node->first; request; request = request->next) {
		request->sent = false;
		drop_grown(request);
	}
	if (!was_up && (node->down || !node->ever_joined)) {
		(void)explain_down(node, error);
		fail_all(node, -EHOSTDOWN);
		return;
	}
	if (!node->lost_ns)
		node->lost_ns = now_ns;
	vg_links_due(v, node->lost_ns + v->timeout_ns);
	vg_link_want(v, link, now_ns);
}

static int frame(struct virgo *v, struct vg_link *link, const struct vg_wire_header *header, const __u8 *body,
		 __u64 now_ns)
{
	struct vg_remote_node *node = link->file;
	struct vg_remote_request *request;

	switch (header->opcode) {
	case VG_OP_PING:
		vg_links_due(v, now_ns + VG_LINK_SILENCE_NS);
		return 0;
	case VG_OP_FILE_SESSION:
		return on_session(node, header, body);
	case VG_OP_FILE_EVENT:
		return vg_remote_event(v, node, header, body);
	default:
		break;
	}
	request = find(v, VG_BE64TOH(header->sequence));
	if (!request || request->node != node || request->opcode != header->opcode || !request->sent) {
		v->counters.duplicates++;
		return body ? 0 : -EPROTO;
	}
	answered(node, request, header, body, now_ns);
	push(node);
	return 0;
}

const struct vg_link_user vg_remote_links = {
	.body_max = VG_REMOTE_BODY_MAX,
	.up = link_up,
	.down = link_down,
	.frame = frame,
	.place = place,
};

/* ---- time ------------------------------------------------------------------------------------------------------ */

/* It lives, but has not answered this for very long. */
static void give_up(struct vg_remote_node *node, __u64 now_ns)
{
	struct virgo *v = node->v;

	for (struct vg_remote_request *request = node->first, *next; request; request = next) {
		next = request->next;
		if (request->endless)
			continue;
		if (now_ns < request->submitted_ns + VG_REMOTE_ANSWER_FACTOR * v->timeout_ns)
			return;
		if (request->sent && node->link->placed &&
		    VG_BE64TOH(node->link->head.sequence) == request->sequence) {
			vg_link_fail(v, node->link, -ETIMEDOUT, now_ns);
			return;
		}
		end_later(v, request, request->change && request->was_sent ? -EREMOTEIO : -ETIMEDOUT);
	}
}

static void run_node(struct vg_remote_node *node, __u64 now_ns)
{
	struct virgo *v = node->v;

	if (node->joined) {
		give_up(node, now_ns);
		push(node);
		return;
	}
	if (!node->lost_ns || !node->first)
		return;
	if (now_ns < node->lost_ns + v->timeout_ns) {
		vg_links_due(v, node->lost_ns + v->timeout_ns);
		return;
	}
	node->down = true;
	(void)explain_down(node, 0);
	fail_all(node, -EHOSTDOWN);
}

static void run_delayed(struct virgo *v, __u64 now_ns)
{
	struct vg_remote_request *request = v->files->delayed, *next;

	v->files->delayed = NULL;
	for (; request; request = next) {
		next = request->next;
		if (now_ns >= request->due_ns || v->files->ending) {
			vg_remote_submit(request->asked, request);
			continue;
		}
		request->next = v->files->delayed;
		v->files->delayed = request;
		vg_links_due(v, request->due_ns);
	}
}

/* Who waits in vg_client_step() may have what it waits for: it does not go on to wait for the network. */
static void tell_ended(struct virgo *v)
{
	while (v->files->ended) {
		struct vg_remote_request *request = v->files->ended;

		vg_links_due(v, 0);
		v->files->ended = request->next;
		request->next = NULL;
		request->done(request);
	}
}

void vg_remotes_run(struct virgo *v, __u64 now_ns)
{
	for (unsigned int i = 0; i < v->links_count; i++)
		if (v->links[i]->user == &vg_remote_links)
			run_node(v->links[i]->file, now_ns);
	run_delayed(v, now_ns);
	vg_remote_searches_run(v, now_ns);
	tell_ended(v);
}

/* Everything in flight ends; what goes on with it finds that it ends too. */
void vg_remotes_cancel(struct virgo *v)
{
	assert(v->files->ending);
	for (bool more = true; more;) {
		for (unsigned int i = 0; i < v->links_count; i++)
			if (v->links[i]->file)
				fail_all(v->links[i]->file, -ECANCELED);
		run_delayed(v, ~0ULL);
		vg_remote_searches_run(v, ~0ULL);
		more = v->files->ended != NULL;
		tell_ended(v);
	}
}
