/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Watches: one on each node, as what happens below a directory happens where the names and the files are. A node that
 * has lost its memory of us is asked again, and the user told that something may have been missed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "client/file.h"

struct virgo_watch {
	struct virgo *v;
	struct virgo_watch *next;
	char *path;
	__u32 length, mask;
	virgo_watch_fn fn;
	void *context;
	unsigned int count, left;
	bool done;
	ssize_t result;
	struct watched {
		struct virgo_watch *watch;
		struct vg_remote_node *node;
		__u64 ident; /* 0: there is none */
		bool asked;  /* and not answered yet */
		struct vg_remote_request request;
	} nodes[];
};

/* ---- events ---------------------------------------------------------------------------------------------------- */

static void tell(struct virgo_watch *watch, __u32 mask, __u32 cookie, const char *name)
{
	struct virgo *v = watch->v;

	if (!watch->fn || v->files->ending)
		return;
	v->delivering = true;
	watch->fn(watch->context, mask, cookie, name);
	v->delivering = false;
}

int vg_remote_event(struct virgo *v, struct vg_remote_node *node, const struct vg_wire_header *header, const __u8 *body)
{
	const __u32 length = VG_BE32TOH(header->body_length);
	const __u64 ident = VG_BE64TOH(header->ident);
	struct vg_file_event event;
	char name[VG_FILE_NAME_MAX + 1];
	__u32 name_length;

	if (!body || length < sizeof(event))
		return -EPROTO;
	memcpy(&event, body, sizeof(event));
	name_length = VG_BE32TOH(event.name_length);
	if (name_length > VG_FILE_NAME_MAX || name_length > length - sizeof(event))
		return -EPROTO;
	memcpy(name, body + sizeof(event), name_length);
	name[name_length] = '\0';
	for (struct virgo_watch *watch = v->files->watches, *next; watch; watch = next) {
		next = watch->next;
		for (unsigned int i = 0; i < watch->count; i++)
			if (watch->nodes[i].node == node && watch->nodes[i].ident == ident && ident) {
				tell(watch, VG_BE32TOH(event.mask), VG_BE32TOH(event.cookie), name);
				return 0;
			}
	}
	return 0; /* of a watch that has ended */
}

/* ---- beginning ------------------------------------------------------------------------------------------------- */

static void asked_done(struct vg_remote_request *request)
{
	struct watched *watched = request->context;
	struct virgo_watch *watch = watched->watch;

	watched->asked = false;
	watched->ident = request->error ? 0 : request->answer_ident;
	if (watch->left && !--watch->left)
		watch->done = true;
}

static void ask(struct watched *watched)
{
	struct virgo_watch *watch = watched->watch;

	watched->asked = true;
	watched->request = (struct vg_remote_request){ .opcode = VG_OP_FILE_WATCH,
						       .key = watch->path,
						       .key_length = watch->length,
						       .argument = watch->mask,
						       .done = asked_done,
						       .context = watched };
	vg_remote_submit(watched->node, &watched->request);
}

void vg_remote_watches_again(struct virgo *v, struct vg_remote_node *node)
{
	for (struct virgo_watch *watch = v->files->watches; watch; watch = watch->next)
		for (unsigned int i = 0; i < watch->count; i++) {
			if (watch->nodes[i].node != node || watch->nodes[i].asked || !watch->nodes[i].ident)
				continue;
			ask(&watch->nodes[i]);
			tell(watch, IN_Q_OVERFLOW, 0, "");
		}
}

/* Where the path leads, and whether there is such a thing: the name node says it. */
static int resolve(struct virgo *v, const char *path, char **ret_path, __u32 *ret_length)
{
	struct vg_remote_call call;
	int error;

	vg_remote_call_init(&call, v, VG_OP_FILE_STAT);
	error = vg_remote_call_path(&call, path);
	if (error)
		return vg_remote_explain(v, error, NULL);
	call.follow = true;
	call.request.front_bytes = sizeof(struct vg_file_stat);
	error = vg_remote_call_wait(&call);
	if (!error) {
		*ret_path = call.path;
		*ret_length = call.length;
		call.path = NULL;
	}
	vg_remote_call_deinit(&call);
	return error;
}

static void drop(struct virgo_watch *watch)
{
	free(watch->path);
	free(watch);
}

/* It counts if one node has it; the others may have nothing of that name. */
static int outcome(const struct virgo_watch *watch)
{
	int error = -ENOENT;

	for (unsigned int i = 0; i < watch->count; i++) {
		if (watch->nodes[i].ident)
			return 0;
		if (watch->nodes[i].request.error < 0 && watch->nodes[i].request.error != -ENOENT)
			error = watch->nodes[i].request.error;
	}
	return error;
}

int virgo_watch(struct virgo *v, const char *path, uint32_t mask, virgo_watch_fn fn, void *context,
		struct virgo_watch **ret_watch)
{
	struct vg_remote_node *nodes[VG_NODES_MAX];
	struct virgo_watch *watch;
	char *resolved = NULL;
	__u32 length = 0;
	int error = resolve(v, path, &resolved, &length), count = 0;

	if (!error)
		count = vg_remote_all(v, nodes);
	if (error || count < 0) {
		free(resolved);
		return error ? error : count;
	}
	watch = calloc(1, sizeof(*watch) + (size_t)count * sizeof(watch->nodes[0]));
	if (!watch) {
		free(resolved);
		return vg_remote_explain(v, -ENOMEM, NULL);
	}
	*watch = (struct virgo_watch){ .v = v, .path = resolved, .length = length, .mask = mask, .fn = fn,
				       .context = context, .count = (unsigned int)count, .left = (unsigned int)count };
	watch->next = v->files->watches;
	v->files->watches = watch;
	for (int i = 0; i < count; i++) {
		watch->nodes[i].watch = watch;
		watch->nodes[i].node = nodes[i];
		ask(&watch->nodes[i]);
	}
	watch->done = !count;
	(void)vg_remote_wait(v, &watch->done, &watch->result);
	error = outcome(watch);
	if (error) {
		(void)virgo_unwatch(v, watch);
		return vg_remote_explain(v, error, NULL);
	}
	*ret_watch = watch;
	return 0;
}

/* ---- ending ---------------------------------------------------------------------------------------------------- */

static void unlist(struct virgo *v, struct virgo_watch *watch)
{
	struct virgo_watch **at = &v->files->watches;

	while (*at != watch)
		at = &(*at)->next;
	*at = watch->next;
}

int virgo_unwatch(struct virgo *v, struct virgo_watch *watch)
{
	int error = vg_remote_begin(v);

	if (error || !watch)
		return error;
	watch->fn = NULL;
	watch->left = 1;
	watch->done = false;
	for (unsigned int i = 0; i < watch->count; i++) {
		struct watched *watched = &watch->nodes[i];

		watch->left += watched->asked;
		if (watched->asked || !watched->ident)
			continue;
		watch->left++;
		watched->asked = true;
		watched->request = (struct vg_remote_request){ .opcode = VG_OP_FILE_UNWATCH,
							       .ident = watched->ident,
							       .done = asked_done,
							       .context = watched };
		vg_remote_submit(watched->node, &watched->request);
	}
	watch->done = !--watch->left;
	(void)vg_remote_wait(v, &watch->done, &watch->result);
	unlist(v, watch);
	drop(watch);
	return 0;
}

void vg_remote_watches_end(struct virgo *v)
{
	while (v->files->watches) {
		struct virgo_watch *watch = v->files->watches;

		v->files->watches = watch->next;
		drop(watch);
	}
}
