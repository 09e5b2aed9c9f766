// SPDX-License-Identifier: GPL-3.0-or-later
/* Where a new file goes. What the others have room for, and how busy they are, is asked once a second. */
#include <string.h>

#include "svc/file/tree_inner.h"

#define ASK_TICKS 4		    /* so many ticks are a second */
#define SILENT_NS 5000000000ull	    /* who said nothing for so long gets no new files */
#define CLOSE_PERCENT 2		    /* rooms that differ by less are the same */

__u64 vg_place_load(const struct vg_file_pool *pool)
{
	return (pool->counts.in_flight + 1) * (pool->counts.service_ns + 1);
}

static bool asks(const struct vg_tree *tree)
{
	enum vg_placement placement = tree->pool->settings->placement;

	return placement == VG_PLACE_LEAST_USED || placement == VG_PLACE_LEAST_LOADED;
}

static bool is_heard(const struct vg_tree *tree, __u16 node)
{
	const struct vg_place_node *place = &tree->place[node];

	return place->heard_ns && vg_tree_now_ns(tree) - place->heard_ns < SILENT_NS;
}

/* The node that has most room, any of those that are as good. */
static __u16 least_used(struct vg_tree *tree)
{
	__u64 most = 0, draw = vg_env_random(tree->pool->env);
	__u16 best = tree->self, same = 0;

	for (__u16 node = 0; node < tree->nodes; node++)
		if (is_heard(tree, node) && tree->place[node].bytes > most)
			most = tree->place[node].bytes;
	for (__u16 node = 0; node < tree->nodes; node++) {
		if (!is_heard(tree, node) || tree->place[node].bytes < most - most / 100 * CLOSE_PERCENT)
			continue;
		same++;
		if (draw % same == 0)
			best = node;
		draw /= same;
	}
	return best;
}

/* Of two drawn at random the one with less to do: asking all for the best would send everybody there. */
static __u16 least_loaded(struct vg_tree *tree)
{
	__u64 draw = vg_env_random(tree->pool->env);
	__u16 first = (__u16)(draw % tree->nodes), second = (__u16)((draw >> 32) % tree->nodes);

	if (!is_heard(tree, first) || !is_heard(tree, second))
		return is_heard(tree, first) ? first : is_heard(tree, second) ? second : tree->self;
	return tree->place[second].load < tree->place[first].load ? second : first;
}

/* "address:port": the node of that address, whichever port; VG_NODE_NONE. */
__u16 vg_place_node_of(const struct vg_tree *tree, const char *peer)
{
	const char *colon = strrchr(peer, ':');
	size_t length = colon ? (size_t)(colon - peer) : strlen(peer);

	for (__u16 node = 0; node < tree->nodes; node++) {
		const char *address = vg_cluster_address(tree->pool->env->cluster, node);
		const char *end = address ? strrchr(address, ':') : NULL;

		if (end && (size_t)(end - address) == length && !memcmp(address, peer, length))
			return node;
	}
	return VG_NODE_NONE;
}

static __u16 local_to(struct vg_tree *tree, struct vg_file_op *op)
{
	struct vg_session *session = vg_op_session(op);
	__u16 node = session ? vg_place_node_of(tree, session->peer) : VG_NODE_NONE;

	return node == VG_NODE_NONE ? tree->self : node;
}

__u16 vg_place_choose(struct vg_tree *tree, struct vg_file_op *op, __u32 pin)
{
	if (pin && pin <= tree->nodes)
		return (__u16)(pin - 1);
	switch (tree->pool->settings->placement) {
	case VG_PLACE_LEAST_USED:
		return least_used(tree);
	case VG_PLACE_LEAST_LOADED:
		return least_loaded(tree);
	case VG_PLACE_LOCAL:
		return local_to(tree, op);
	case VG_PLACE_HASH:
		break;
	}
	return tree->self;
}

/* Pieces go round over the nodes, from this one on; those that are known to be silent are left out. */
void vg_place_stripes(struct vg_tree *tree, struct vg_stub *stub, __u32 count)
{
	stub->count = 0;
	for (__u16 i = 0; i < tree->nodes && stub->count < count && stub->count < VG_FILE_STRIPES_MAX; i++) {
		__u16 node = (__u16)((tree->self + i) % tree->nodes);

		if (node == tree->self || !asks(tree) || is_heard(tree, node))
			stub->node[stub->count++] = node;
	}
}

/* ---- what the others say ---------------------------------------------------------------------------------------- */

static void on_space(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	struct vg_tree *tree = task->tree;
	struct vg_place_node *place = &tree->place[task->other_node];

	place->asked = false;
	if (!reply->error) {
		place->bytes = reply->argument;
		place->load = reply->ident;
		place->heard_ns = vg_tree_now_ns(tree);
	}
	vg_task_end(task);
}

static void ask(struct vg_tree *tree, __u16 node)
{
	struct vg_tree_task *task = tree->place[node].asked ? NULL : vg_task_new_own(tree, "", "");

	if (!task)
		return;
	task->other_node = node;
	task->tentative = true;
	tree->place[node].asked = true;
	vg_tree_ask(task, node, VG_HOME_ARGUMENT(VG_HOME_SPACE, 0, 0, 0), "", 0, NULL, 0, on_space);
}

void vg_place_begun(struct vg_tree *tree, __u16 node)
{
	if (asks(tree))
		ask(tree, node);
}

void vg_place_tick(struct vg_tree *tree)
{
	if (tree->nodes == 1 || tree->ticks % ASK_TICKS != 1 || !asks(tree))
		return;
	for (__u16 node = 0; node < tree->nodes; node++)
		ask(tree, node);
}

static void on_told(struct vg_tree_task *task)
{
	vg_task_end(task);
}

void vg_place_begin(struct vg_tree *tree)
{
	struct vg_tree_task *task = tree->nodes > 1 ? vg_task_new_own(tree, "", "") : NULL;

	if (!task)
		return;
	task->tentative = true;
	vg_tree_ask_all(task, false, VG_HOME_ARGUMENT(VG_HOME_BEGUN, 0, 0, 0), "", 0, NULL, 0, on_told);
}
