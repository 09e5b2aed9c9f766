/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A request about a path: to the node that its name belongs to, as far as we know; from there to where that node says
 * (its home, or the right name node), and again along a symbolic link that was in the way.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/file.h"

#define TABLE_LOOK_NS 5000000ULL /* how often is looked whether the cluster's table has come */

static void dispatch(struct vg_remote_call *call);

/* ---- its end --------------------------------------------------------------------------------------------------- */

static void finish(struct vg_remote_call *call, int result)
{
	if (result && result != call->request.error)
		(void)vg_remote_explain(call->v, result, NULL);
	call->result = result;
	call->done(call);
}

static __u16 partition_of(const struct vg_remote_call *call)
{
	return vg_file_partition(call->path, call->length) % VG_PARTITIONS;
}

/* The node that answered is the one to ask about this name. */
static void learn(struct vg_remote_call *call)
{
	const struct vg_remote_request *request = &call->request;

	if (request->answer_node < VG_NODES_MAX && !(request->flags & VG_FILE_AT_HOME) && call->length)
		call->v->node_of_partition[partition_of(call)] = request->answer_node;
}

/* ---- from node to node ----------------------------------------------------------------------------------------- */

static void send_to(struct vg_remote_call *call, struct vg_remote_node *node)
{
	struct vg_remote_request *request = &call->request;

	request->key = call->path;
	request->key_length = call->length;
	if (call->second) {
		request->body = call->second;
		request->body_length = call->second_length;
	}
	request->submitted_ns = 0;
	vg_remote_submit(node, request);
}

/* Its address is in the cluster's table, which is asked for. */
void vg_remote_search(struct virgo *v, struct vg_remote_search *search, __u32 number)
{
	__u64 now_ns = vg_now_ns();

	search->number = number;
	search->deadline_ns = now_ns + v->timeout_ns;
	search->next = v->files->searches;
	v->files->searches = search;
	vg_topology_fetch(v, now_ns);
	vg_links_due(v, now_ns + TABLE_LOOK_NS);
}

void vg_remote_searches_run(struct virgo *v, __u64 now_ns)
{
	struct vg_remote_search *search = v->files->searches, *next;

	v->files->searches = NULL;
	for (; search; search = next) {
		int error = v->files->ending ? -ECANCELED : now_ns >= search->deadline_ns ? -EHOSTDOWN : 0;

		next = search->next;
		if (error || (search->number == VG_NODE_NONE ? !v->internal
							     : vg_remote_node_number(v, search->number) != NULL)) {
			vg_links_due(v, 0);
			search->found(search, error);
			continue;
		}
		search->next = v->files->searches;
		v->files->searches = search;
		if (search->number != VG_NODE_NONE)
			vg_topology_fetch(v, now_ns);
		vg_links_due(v, now_ns + TABLE_LOOK_NS);
	}
}

static void found(struct vg_remote_search *search, int error)
{
	struct vg_remote_call *call = search->context;

	if (error)
		finish(call, error);
	else
		send_to(call, vg_remote_node_number(call->v, search->number));
}

static void go_to(struct vg_remote_call *call, __u32 number)
{
	struct vg_remote_node *node = vg_remote_node_number(call->v, number);

	if (node) {
		send_to(call, node);
		return;
	}
	call->search.found = found;
	call->search.context = call;
	vg_remote_search(call->v, &call->search, number);
}

static void redirect(struct vg_remote_call *call)
{
	struct vg_remote_request *request = &call->request;
	__u64 number = request->answer_argument;

	call->v->counters.redirected++;
	if (number >= VG_NODES_MAX || ++call->redirects > VG_REMOTE_REDIRECTS_MAX) {
		finish(call, number >= VG_NODES_MAX ? -EPROTO : -EREMOTEIO);
		return;
	}
	if (request->answer_flags & VG_FILE_AT_HOME) {
		request->flags |= VG_FILE_AT_HOME;
	} else {
		request->flags &= (__u16)~VG_FILE_AT_HOME;
		if (call->length)
			call->v->node_of_partition[partition_of(call)] = (__u16)number;
	}
	go_to(call, (__u32)number);
}

static void table_come(struct vg_remote_search *search, int error)
{
	(void)error;
	dispatch(search->context);
}

/* Nobody is where file pools usually are, and nobody has said where they are: the table may know better. */
static bool look_for_ports(struct vg_remote_call *call)
{
	struct virgo *v = call->v;

	if (v->file_port_said || v->files->table_asked)
		return false;
	v->files->table_asked = true;
	call->search.found = table_come;
	call->search.context = call;
	vg_remote_search(v, &call->search, VG_NODE_NONE);
	return true;
}

static void dispatch(struct vg_remote_call *call)
{
	struct virgo *v = call->v;
	__u16 number = call->length ? v->node_of_partition[partition_of(call)] : VG_NODE_NONE;
	struct vg_remote_node *node = number < VG_NODES_MAX ? vg_remote_node_number(v, number) : NULL;

	call->request.flags &= (__u16)~VG_FILE_AT_HOME;
	call->anywhere = !node;
	if (!node)
		node = vg_remote_node_any(v);
	if (node) {
		send_to(call, node);
		return;
	}
	finish(call, -EHOSTDOWN);
	(void)vg_remote_explain(v, -EHOSTDOWN, "none of the nodes has a file pool");
}

/* ---- what is said ---------------------------------------------------------------------------------------------- */

static bool is_symlink(const struct vg_remote_call *call)
{
	struct vg_file_stat stat;

	if (call->request.opcode != VG_OP_FILE_STAT || call->request.error)
		return false;
	memcpy(&stat, call->request.front, sizeof(stat));
	return S_ISLNK(VG_BE32TOH(stat.mode));
}

/*
 * A link in the way. Where names are spread over nodes, a node that has the name of what is behind a link knows nothing
 * of the link: it says that there is no such directory.
 */
static bool wants_walk(const struct vg_remote_call *call, int error)
{
	if (call->plain || call->walked || (call->v->flags & VIRGO_NO_FOLLOW))
		return false;
	/* Asked for as a directory, a link to one is none. */
	if (error == -ELOOP || (error == -ENOTDIR && call->follow))
		return true;
	if (error == -ENOENT && call->v->files->cluster_nodes > 1)
		return true;
	return call->follow && is_symlink(call);
}

/*
 * The node that has the name of a directory is down, but others may have copies of it, as it has files on them: what
 * is below it does not depend on the one that is lost.
 */
static bool may_be_copied(const struct vg_remote_call *call)
{
	const struct vg_remote_request *request = &call->request;

	return call->v->files->cluster_nodes > 1 &&
	       (request->opcode == VG_OP_FILE_STAT || request->opcode == VG_OP_FILE_LIST ||
		(request->opcode == VG_OP_FILE_OPEN && request->argument >> 32 & VG_FILE_O_DIRECTORY));
}

static void ask_next_copy(struct vg_remote_call *call)
{
	__u64 now_ns = vg_now_ns();

	while (call->other < VG_NODES_MAX) {
		struct vg_remote_node *node = vg_remote_node_number(call->v, call->other++);

		if (!node || node == call->request.asked || vg_remote_node_is_down(node, now_ns))
			continue;
		call->request.flags |= VG_FILE_AT_HOME;
		send_to(call, node);
		return;
	}
	finish(call, -EHOSTDOWN);
}

static void on_copy(struct vg_remote_call *call)
{
	struct vg_file_stat stat;
	bool is_directory = !call->request.error;

	if (is_directory && call->request.front_bytes >= sizeof(stat)) {
		memcpy(&stat, call->request.front, sizeof(stat));
		is_directory = S_ISDIR(VG_BE32TOH(stat.mode));
	}
	if (is_directory)
		finish(call, 0);
	else
		ask_next_copy(call);
}

static void on_answer(struct vg_remote_request *request)
{
	struct vg_remote_call *call = request->context;
	int error = request->error;

	if (call->other) {
		on_copy(call);
		return;
	}
	if (error == VG_REMOTE_WRONG_NODE) {
		redirect(call);
		return;
	}
	learn(call);
	if (error == -EHOSTDOWN && call->anywhere && !request->was_sent && ++call->tries < call->v->configured_count) {
		dispatch(call);
		return;
	}
	if (error == -EHOSTDOWN && call->anywhere && !request->was_sent && look_for_ports(call))
		return;
	if (error == -ENOENT && request->flags & VG_FILE_AT_HOME && !call->missed) {
		/* It has moved meanwhile. */
		call->missed = true;
		dispatch(call);
		return;
	}
	if (error == -EHOSTDOWN && may_be_copied(call)) {
		ask_next_copy(call);
		return;
	}
	if (wants_walk(call, error)) {
		call->before_walk = error ? error : -ELOOP;
		call->walked = true;
		vg_remote_walk(call, call->follow && error != -ENOENT);
		return;
	}
	finish(call, error);
}

void vg_remote_walked(struct vg_remote_call *call, int result)
{
	if (result <= 0) {
		finish(call, result ? result : call->before_walk);
		return;
	}
	call->walked = call->missed = false;
	call->redirects = 0;
	call->other = 0;
	dispatch(call);
}

/* ---- beginning ------------------------------------------------------------------------------------------------- */

void vg_remote_call_init(struct vg_remote_call *call, struct virgo *v, __u8 opcode)
{
	*call = (struct vg_remote_call){ .v = v };
	call->request.opcode = opcode;
	call->request.done = on_answer;
	call->request.context = call;
}

int vg_remote_call_path(struct vg_remote_call *call, const char *path)
{
	return vg_remote_path(path, &call->path, &call->length);
}

int vg_remote_call_second(struct vg_remote_call *call, const char *path)
{
	return vg_remote_path(path, &call->second, &call->second_length);
}

void vg_remote_call_deinit(struct vg_remote_call *call)
{
	free(call->path);
	free(call->second);
	call->path = call->second = NULL;
}

void vg_remote_call_start(struct vg_remote_call *call, void (*done)(struct vg_remote_call *call), void *context)
{
	call->done = done;
	call->context = context;
	dispatch(call);
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

struct waiter {
	bool done;
	ssize_t result;
};

int vg_remote_begin(struct virgo *v)
{
	if (v->delivering)
		return -EDEADLK;
	v->error_text[0] = '\0';
	return 0;
}

/* A signal does not end a synchronous call: its requests have their own end. */
ssize_t vg_remote_wait(struct virgo *v, const bool *done, const ssize_t *result)
{
	while (!*done) {
		int trouble = vg_client_step(v, ~0ULL);

		/* poll(2) knows no other error with descriptors that are ours. */
		assert(!trouble || trouble == -EINTR || trouble == -ENOMEM);
	}
	if (*result >= 0)
		v->error_text[0] = '\0';
	else if (!v->error_text[0])
		(void)vg_remote_explain(v, (int)*result, NULL);
	return *result;
}

static void call_done(struct vg_remote_call *call)
{
	struct waiter *waiter = call->context;

	waiter->done = true;
	waiter->result = call->result;
}

int vg_remote_call_wait(struct vg_remote_call *call)
{
	struct waiter waiter = { 0 };
	int error = vg_remote_begin(call->v);

	if (error) {
		call->result = error;
		return error;
	}
	vg_remote_call_start(call, call_done, &waiter);
	return (int)vg_remote_wait(call->v, &waiter.done, &waiter.result);
}

static void request_done(struct vg_remote_request *request)
{
	struct waiter *waiter = request->context;

	waiter->done = true;
	/* Nobody but the name node of a path sends elsewhere, and this was no path. */
	waiter->result = request->error == VG_REMOTE_WRONG_NODE ? -EPROTO : request->error;
}

int vg_remote_ask(struct virgo *v, struct vg_remote_node *node, struct vg_remote_request *request)
{
	struct waiter waiter = { 0 };
	int error = vg_remote_begin(v);

	if (error)
		return error;
	request->done = request_done;
	request->context = &waiter;
	vg_remote_submit(node, request);
	return (int)vg_remote_wait(v, &waiter.done, &waiter.result);
}
