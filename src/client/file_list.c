/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What all nodes together know: the entries of a directory, and how much room there is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/file.h"

#define PAGE_BYTES VG_FILE_LIST_MAX

/* ---- all nodes ------------------------------------------------------------------------------------------------- */

static unsigned int known_nodes(struct virgo *v, unsigned int *ret_off)
{
	unsigned int count = 0;

	*ret_off = 0;
	for (__u32 number = 0; number < VG_NODES_MAX; number++) {
		const struct vg_peer *peer = v->peer_of_node[number];

		count += v->files->node_of[number] || (peer && !peer->file_off);
		*ret_off += !v->files->node_of[number] && peer && peer->file_off;
	}
	return count;
}

/* Some node has told how many there are, or cannot. */
static int learn_cluster(struct virgo *v)
{
	struct vg_remote_call call;
	int error;

	if (v->files->cluster_nodes)
		return 0;
	vg_remote_call_init(&call, v, VG_OP_FILE_STAT);
	call.plain = true;
	error = vg_remote_call_path(&call, "");
	if (!error)
		error = vg_remote_call_wait(&call);
	vg_remote_call_deinit(&call);
	return v->files->cluster_nodes ? 0 : error;
}

int vg_remote_all(struct virgo *v, struct vg_remote_node *ret_nodes[VG_NODES_MAX])
{
	__u64 until_ns = vg_now_ns() + v->timeout_ns;
	unsigned int off;
	int count = 0, error = learn_cluster(v);

	if (error)
		return error;
	while (known_nodes(v, &off) + off < v->files->cluster_nodes && vg_now_ns() < until_ns) {
		__u64 now_ns = vg_now_ns();

		vg_topology_fetch(v, now_ns);
		(void)vg_client_step(v, now_ns + 10000000);
	}
	/* Whoever is not known cannot be asked: what the others say would look like all there is. */
	if (known_nodes(v, &off) + off < v->files->cluster_nodes)
		return vg_remote_explain(v, -EHOSTDOWN, NULL);
	for (__u32 number = 0; number < VG_NODES_MAX; number++) {
		const struct vg_peer *peer = v->peer_of_node[number];
		struct vg_remote_node *node;

		if (!v->files->node_of[number] && (!peer || peer->file_off))
			continue;
		node = vg_remote_node_number(v, number);
		if (!node)
			return -ENOMEM;
		ret_nodes[count++] = node;
	}
	return count;
}

/* ---- listing --------------------------------------------------------------------------------------------------- */

struct listing;

/* The pages of one node. */
struct pages {
	struct vg_remote_request request;
	struct listing *listing;
	bool silent; /* it did not answer */
};

/* An entry whose size its pieces know; or one that was told, and others have it too. */
struct kept {
	struct kept *next;
	char name[VG_FILE_NAME_MAX + 1];
	struct virgo_file_stat stat;
};

struct listing {
	struct virgo *v;
	const char *path;
	__u32 length;
	virgo_list_fn fn;
	void *context;
	unsigned int left;
	bool done;
	int stopped;	/* what fn returned */
	ssize_t result; /* the first error */
	struct kept *striped;
	/* Nodes are down: what is asked for now are copies of the directories whose names they have. */
	bool copies;
	__u64 silent[VG_NODES_MAX / 64];
	struct kept *told;
};

static void note(struct listing *listing, int error)
{
	if (!listing->result)
		listing->result = error;
}

static int keep(struct kept **list, const char *name, const struct virgo_file_stat *stat)
{
	struct kept *kept = malloc(sizeof(*kept));

	if (!kept)
		return -ENOMEM;
	memcpy(kept->name, name, strlen(name) + 1);
	kept->stat = *stat;
	kept->next = *list;
	*list = kept;
	return 0;
}

/* Of the copies: whether the name is one that is missing, and new. */
static bool is_missing(const struct listing *listing, const char *name, __u32 length,
		       const struct virgo_file_stat *stat)
{
	const __u16 owner = listing->v->node_of_partition[vg_file_partition(name, length) % VG_PARTITIONS];

	if (!S_ISDIR(stat->mode) || owner >= VG_NODES_MAX || !(listing->silent[owner / 64] >> (owner % 64) & 1))
		return false;
	for (const struct kept *told = listing->told; told; told = told->next)
		if (!strcmp(told->name, name))
			return false;
	return true;
}

static int tell(struct listing *listing, const struct vg_file_entry *entry, const __u8 *name, __u32 length)
{
	char text[VG_FILE_NAME_MAX + 1];
	struct virgo_file_stat stat;

	if (vg_file_component_check(name, length) || memchr(name, '/', length) || memchr(name, '\0', length))
		return -EPROTO;
	memcpy(text, name, length);
	text[length] = '\0';
	vg_remote_stat_read(&entry->stat, &stat);
	if (entry->stat.flags & VG_HTOBE16(VG_FILE_STRIPED))
		return listing->copies ? 0 : keep(&listing->striped, text, &stat);
	if (listing->stopped || (listing->copies && !is_missing(listing, text, length, &stat)))
		return 0;
	if (listing->copies && keep(&listing->told, text, &stat))
		return -ENOMEM;
	listing->v->delivering = true;
	listing->stopped = listing->fn(listing->context, text, &stat);
	listing->v->delivering = false;
	return 0;
}

static int read_page(struct listing *listing, const __u8 *body, __u32 length)
{
	int error = 0;

	while (length && !error && !listing->stopped) {
		struct vg_file_entry entry;
		__u32 name_length, whole;

		if (length < sizeof(entry))
			return -EPROTO;
		memcpy(&entry, body, sizeof(entry));
		name_length = VG_BE16TOH(entry.name_length);
		whole = (__u32)sizeof(entry) + VG_ALIGN_UP(name_length, 8U);
		if (whole > length)
			return -EPROTO;
		error = tell(listing, &entry, body + sizeof(entry), name_length);
		body += whole;
		length -= whole;
	}
	return error;
}

static void want_page(struct vg_remote_request *request, __u64 cursor, bool copies)
{
	const struct vg_file_span span = { .length = VG_HTOBE32(PAGE_BYTES) };

	request->opcode = VG_OP_FILE_LIST;
	request->flags = (request->flags & VG_FILE_AT_HOME) | VG_FILE_WITH_STAT | (copies ? VG_FILE_COPIES : 0);
	request->argument = cursor;
	memcpy(request->small, &span, sizeof(span));
	request->body = request->small;
	request->body_length = sizeof(span);
}

static void page_done(struct vg_remote_request *request)
{
	struct pages *pages = request->context;
	struct listing *listing = pages->listing;
	int error = request->error;

	/* A node that has no file of this directory may have no copy of it. */
	if (!error)
		error = read_page(listing, request->answer, request->answer_length);
	else if (error == -ENOENT)
		error = 0;
	else if (error == VG_REMOTE_WRONG_NODE) /* at home nobody sends elsewhere */
		error = -EPROTO;
	else
		request->answer_argument = 0;
	pages->silent = pages->silent || error == -EHOSTDOWN;
	if (error)
		note(listing, error);
	if (!request->error && !error && request->answer_argument && !listing->stopped) {
		struct vg_remote_node *node = request->asked;

		want_page(request, request->answer_argument, listing->copies);
		request->submitted_ns = 0;
		vg_remote_submit(node, request);
		return;
	}
	if (!--listing->left)
		listing->done = true;
}

static void begin_pages(struct listing *listing, struct pages *pages, struct vg_remote_node *node, __u64 cursor)
{
	pages->listing = listing;
	pages->request = (struct vg_remote_request){ .key = listing->path,
						     .key_length = listing->length,
						     .flags = VG_FILE_AT_HOME,
						     .done = page_done,
						     .context = pages };
	want_page(&pages->request, cursor, listing->copies);
	listing->left++;
	vg_remote_submit(node, &pages->request);
}

/* The first page is the name node's: it knows whether there is such a directory, and tells where its path leads. */
static void first_done(struct vg_remote_call *call)
{
	struct listing *listing = call->context;

	listing->done = true;
	listing->result = call->result;
	if (!call->result)
		listing->result = read_page(listing, call->request.answer, call->request.answer_length);
}

static int list_first(struct listing *listing, struct vg_remote_call *call, const char *path)
{
	struct virgo *v = listing->v;
	int error = vg_remote_begin(v);

	if (error)
		return error;
	vg_remote_call_init(call, v, VG_OP_FILE_LIST);
	error = vg_remote_call_path(call, path);
	if (error)
		return vg_remote_explain(v, error, NULL);
	call->follow = true;
	want_page(&call->request, 0, false);
	vg_remote_call_start(call, first_done, listing);
	return (int)vg_remote_wait(v, &listing->done, &listing->result);
}

/* Whose node this is. */
static __u32 number_of(struct virgo *v, const struct vg_remote_node *node)
{
	__u32 number = 0;

	while (number < VG_NODES_MAX && vg_remote_node_number(v, number) != node)
		number++;
	return number;
}

/* The directories whose names are on nodes that are down: others have copies of those that have files on them. */
static void list_copies(struct listing *listing, struct vg_remote_node **nodes, struct pages *pages, int count)
{
	struct virgo *v = listing->v;
	bool silent = false;

	for (int i = 0; i < count; i++) {
		__u32 number = pages[i].silent ? number_of(v, nodes[i]) : VG_NODES_MAX;

		if (number < VG_NODES_MAX)
			listing->silent[number / 64] |= 1ULL << (number % 64);
		silent = silent || number < VG_NODES_MAX;
	}
	if (!silent || listing->stopped)
		return;
	/* Who has which names is in the cluster's table. */
	vg_topology_fetch(v, vg_now_ns());
	while (v->internal)
		(void)vg_client_step(v, ~0ULL);
	listing->copies = true;
	listing->left = 1;
	for (int i = 0; i < count; i++)
		if (!pages[i].silent)
			begin_pages(listing, &pages[i], nodes[i], 0);
	listing->done = !--listing->left;
	(void)vg_remote_wait(v, &listing->done, &listing->result);
	while (listing->told) {
		struct kept *told = listing->told;

		listing->told = told->next;
		free(told);
	}
}

static int list_rest(struct listing *listing, struct vg_remote_call *call)
{
	struct vg_remote_node *nodes[VG_NODES_MAX];
	struct virgo *v = listing->v;
	struct pages *pages;
	int count = vg_remote_all(v, nodes);

	if (count < 0)
		return count;
	pages = calloc((size_t)count + 1, sizeof(*pages));
	if (!pages)
		return vg_remote_explain(v, -ENOMEM, NULL);
	listing->path = call->path;
	listing->length = call->length;
	listing->done = false;
	listing->left = 1;
	for (int i = 0; i < count; i++)
		if (nodes[i] != call->request.asked)
			begin_pages(listing, &pages[i], nodes[i], 0);
	if (call->request.answer_argument)
		begin_pages(listing, &pages[count], call->request.asked, call->request.answer_argument);
	listing->done = !--listing->left;
	(void)vg_remote_wait(v, &listing->done, &listing->result);
	list_copies(listing, nodes, pages, count);
	free(pages);
	return (int)listing->result;
}

/* Those that are striped, now that the loop may be used again. */
static void tell_striped(struct listing *listing)
{
	while (listing->striped) {
		struct kept *later = listing->striped;
		struct virgo *v = listing->v;
		size_t bytes = (size_t)listing->length + sizeof(later->name) + 2;
		char *path = malloc(bytes);

		listing->striped = later->next;
		if (path && !listing->stopped) {
			memcpy(path, listing->path, listing->length);
			path[listing->length] = '/';
			memcpy(path + listing->length + 1, later->name, strlen(later->name) + 1);
			(void)virgo_lstat(v, path, &later->stat);
			v->delivering = true;
			listing->stopped = listing->fn(listing->context, later->name, &later->stat);
			v->delivering = false;
		}
		free(path);
		free(later);
	}
}

int virgo_list(struct virgo *v, const char *path, virgo_list_fn fn, void *context)
{
	struct listing listing = { .v = v, .fn = fn, .context = context };
	struct vg_remote_call call = { 0 };
	int error = list_first(&listing, &call, path);

	if (!error && !listing.stopped && (v->files->cluster_nodes > 1 || call.request.answer_argument))
		error = list_rest(&listing, &call);
	listing.path = call.path;
	listing.length = call.length;
	tell_striped(&listing);
	vg_remote_call_deinit(&call);
	return listing.stopped ? listing.stopped : error;
}

/* ---- room ------------------------------------------------------------------------------------------------------ */

struct survey {
	unsigned int left;
	bool done;
	ssize_t result;
};

static void surveyed(struct vg_remote_request *request)
{
	struct survey *survey = request->context;

	survey->done = !--survey->left;
}

static void add_room(struct virgo_statfs *sum, const struct vg_remote_request *request)
{
	struct vg_file_statfs room;

	memcpy(&room, request->front, sizeof(room));
	sum->bytes += VG_BE64TOH(room.bytes);
	sum->bytes_free += VG_BE64TOH(room.bytes_free);
	sum->bytes_available += VG_BE64TOH(room.bytes_available);
	sum->files += VG_BE64TOH(room.files);
	sum->files_free += VG_BE64TOH(room.files_free);
	if (VG_BE32TOH(room.block_size) > sum->block_size)
		sum->block_size = VG_BE32TOH(room.block_size);
	sum->name_max = VG_BE32TOH(room.name_max);
	sum->nodes++;
}

int virgo_statfs(struct virgo *v, struct virgo_statfs *ret_statfs)
{
	struct vg_remote_node *nodes[VG_NODES_MAX];
	struct virgo_statfs sum = { 0 };
	struct survey survey = { 0 };
	struct vg_remote_request *requests;
	int count = vg_remote_begin(v), error = 0;

	if (!count)
		count = vg_remote_all(v, nodes);
	if (count < 0)
		return count;
	requests = calloc((size_t)count + 1, sizeof(*requests));
	if (!requests)
		return vg_remote_explain(v, -ENOMEM, NULL);
	survey.left = (unsigned int)count;
	survey.done = !count;
	for (int i = 0; i < count; i++) {
		requests[i].opcode = VG_OP_FILE_STATFS;
		requests[i].front_bytes = sizeof(struct vg_file_statfs);
		requests[i].done = surveyed;
		requests[i].context = &survey;
		vg_remote_submit(nodes[i], &requests[i]);
	}
	(void)vg_remote_wait(v, &survey.done, &survey.result);
	for (int i = 0; i < count; i++) {
		if (!requests[i].error) {
			add_room(&sum, &requests[i]);
			continue;
		}
		sum.nodes_silent++;
		error = requests[i].error;
	}
	free(requests);
	if (!sum.nodes)
		return vg_remote_explain(v, error < 0 ? error : -EHOSTDOWN, NULL);
	*ret_statfs = sum;
	return 0;
}
