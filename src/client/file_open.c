/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Open files: one descriptor, or one for each piece of a striped file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/file.h"

#define PIECE_NAME_MAX 32

/* ---- what the wire says ---------------------------------------------------------------------------------------- */

void vg_remote_stat_read(const void *wire, struct virgo_file_stat *ret_stat)
{
	struct vg_file_stat stat;

	memcpy(&stat, wire, sizeof(stat));
	*ret_stat = (struct virgo_file_stat){
		.inode = VG_BE64TOH(stat.inode),
		.size = VG_BE64TOH(stat.size),
		.allocated = VG_BE64TOH(stat.allocated),
		.accessed_ns = (int64_t)VG_BE64TOH(stat.accessed),
		.modified_ns = (int64_t)VG_BE64TOH(stat.modified),
		.changed_ns = (int64_t)VG_BE64TOH(stat.changed),
		.created_ns = (int64_t)VG_BE64TOH(stat.created),
		.mode = VG_BE32TOH(stat.mode),
		.links = VG_BE32TOH(stat.links),
		.uid = VG_BE32TOH(stat.uid),
		.gid = VG_BE32TOH(stat.gid),
		.block_size = VG_BE32TOH(stat.block_size),
		.node = VG_BE16TOH(stat.node),
	};
}

__u16 vg_remote_open_flags(int flags)
{
	const int access = flags & O_ACCMODE;
	__u16 wire = access == O_WRONLY ? VG_FILE_O_WRITE
		     : access == O_RDWR ? VG_FILE_O_READ | VG_FILE_O_WRITE
					: VG_FILE_O_READ;

	wire |= flags & O_CREAT ? VG_FILE_O_CREATE : 0;
	wire |= flags & O_CREAT && flags & O_EXCL ? VG_FILE_O_EXCLUSIVE : 0;
	wire |= flags & O_TRUNC ? VG_FILE_O_TRUNCATE : 0;
	wire |= flags & O_APPEND ? VG_FILE_O_APPEND : 0;
	wire |= flags & O_DIRECT ? VG_FILE_O_DIRECT : 0;
	wire |= flags & (O_SYNC | O_DSYNC) ? VG_FILE_O_SYNC : 0;
	wire |= flags & O_DIRECTORY ? VG_FILE_O_DIRECTORY : 0;
	return wire;
}

static struct virgo_file *new_file(unsigned int pieces, int flags)
{
	struct virgo_file *file = calloc(1, sizeof(*file) + pieces * sizeof(file->pieces[0]));

	if (!file)
		return NULL;
	file->flags = flags;
	file->count = pieces;
	return file;
}

/* What stands behind the stat of a striped file; NULL with the error. */
struct virgo_file *vg_remote_striped(const __u8 *body, __u32 length, int flags, __u16 ret_nodes[VG_FILE_STRIPES_MAX],
				     int *ret_error)
{
	struct vg_file_stripes stripes;
	struct virgo_file *file;
	__be16 number;
	__u32 unit, count;

	*ret_error = -EPROTO;
	if (length < sizeof(stripes))
		return NULL;
	memcpy(&stripes, body, sizeof(stripes));
	unit = VG_BE32TOH(stripes.unit);
	count = VG_BE16TOH(stripes.count);
	if (!unit || unit % 65536 || !count || count > VG_FILE_STRIPES_MAX || length < sizeof(stripes) + 2 * count)
		return NULL;
	for (__u32 i = 0; i < count; i++) {
		memcpy(&number, body + sizeof(stripes) + 2 * i, sizeof(number));
		ret_nodes[i] = VG_BE16TOH(number);
	}
	file = new_file(count, flags);
	*ret_error = file ? 0 : -ENOMEM;
	if (!file)
		return NULL;
	file->id = VG_BE64TOH(stripes.id);
	file->unit = unit;
	return file;
}

/* How long a striped file is whose pieces are so long. */
__u64 vg_remote_stripes_size(const struct virgo_file *file, const __u64 *sizes)
{
	__u64 size = 0;

	for (unsigned int i = 0; i < file->count; i++) {
		__u64 last, end;

		if (!sizes[i])
			continue;
		last = sizes[i] - 1;
		end = (last / file->unit * file->count + i) * file->unit + last % file->unit + 1;
		size = end > size ? end : size;
	}
	return size;
}

static int64_t later(int64_t one, int64_t other)
{
	return one > other ? one : other;
}

void vg_remote_add_up(const struct virgo_file *file, const struct vg_remote_request *pieces,
		      struct virgo_file_stat *stat)
{
	__u64 sizes[VG_FILE_STRIPES_MAX];

	stat->allocated = 0;
	stat->modified_ns = stat->accessed_ns = INT64_MIN;
	for (unsigned int i = 0; i < file->count; i++) {
		struct virgo_file_stat piece;

		vg_remote_stat_read(pieces[i].front, &piece);
		sizes[i] = piece.size;
		stat->allocated += piece.allocated;
		stat->modified_ns = later(stat->modified_ns, piece.modified_ns);
		stat->accessed_ns = later(stat->accessed_ns, piece.accessed_ns);
		stat->changed_ns = later(stat->changed_ns, piece.changed_ns);
	}
	stat->size = vg_remote_stripes_size(file, sizes);
}

/* ---- all pieces at once ---------------------------------------------------------------------------------------- */

struct vg_remote_node *vg_remote_piece_node(struct virgo *v, const struct vg_remote_piece *piece,
					    struct vg_remote_request *request)
{
	request->ident = piece->ident;
	request->generation = piece->generation;
	return vg_remote_node_home(v, piece->home);
}

static void each_done(struct vg_remote_request *request)
{
	struct vg_remote_each *each = request->context;

	if (request->error && !each->error)
		each->error = request->error == VG_REMOTE_WRONG_NODE ? -EPROTO : request->error;
	if (!--each->left)
		each->done(each);
}

int vg_remote_each_new(struct virgo *v, struct virgo_file *file, __u8 opcode, struct vg_remote_each **ret_each)
{
	struct vg_remote_each *each = calloc(1, sizeof(*each) + file->count * sizeof(each->requests[0]));

	if (!each)
		return -ENOMEM;
	each->v = v;
	each->file = file;
	each->left = file->count;
	for (unsigned int i = 0; i < file->count; i++) {
		each->requests[i].opcode = opcode;
		each->requests[i].done = each_done;
		each->requests[i].context = each;
		each->nodes[i] = vg_remote_piece_node(v, &file->pieces[i], &each->requests[i]);
		if (!each->nodes[i]) {
			free(each);
			return -ENOMEM;
		}
	}
	*ret_each = each;
	return 0;
}

void vg_remote_each_start(struct vg_remote_each *each, void (*done)(struct vg_remote_each *each), void *context)
{
	const unsigned int count = each->file->count;

	each->done = done;
	each->context = context;
	for (unsigned int i = 0; i < count; i++)
		vg_remote_submit(each->nodes[i], &each->requests[i]);
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

/* An open under way: the call, then the pieces. */
struct opening {
	struct vg_remote_call call;
	struct virgo *v;
	struct virgo_file *file;
	int flags, error;
	unsigned int left;
	vg_remote_open_fn done;
	void *context;
	struct vg_file_stripes stripes;
	char names[VG_FILE_STRIPES_MAX][PIECE_NAME_MAX];
	struct vg_remote_request *pieces;
	__u16 numbers[VG_FILE_STRIPES_MAX];
	struct vg_remote_search search;
};

static void finish(struct opening *opening, int error)
{
	vg_remote_open_fn done = opening->done;
	void *context = opening->context;
	struct virgo_file *file = opening->file;

	vg_remote_call_deinit(&opening->call);
	free(opening->pieces);
	free(opening);
	done(context, error, file);
}

static void unmade(struct vg_remote_call *call)
{
	finish(call->context, ((struct opening *)call->context)->error);
}

/* What was made, but cannot be opened, is taken away again: its name, and of its pieces those that can be reached. */
static void pieces_closed(void *context, int error)
{
	struct opening *opening = context;
	struct vg_remote_call *call = &opening->call;
	char *path = call->path;

	(void)error;
	opening->file = NULL;
	if (!opening->stripes.unit) {
		finish(opening, opening->error);
		return;
	}
	vg_remote_call_init(call, opening->v, VG_OP_FILE_UNLINK);
	call->path = path;
	call->length = (__u32)strlen(path);
	call->plain = true;
	call->request.change = true;
	vg_remote_call_start(call, unmade, opening);
}

/* Which of the pieces were opened is given back, when not all were. */
static void pieces_opened(struct opening *opening)
{
	struct virgo_file *file = opening->file;
	unsigned int opened = 0;

	if (!opening->error) {
		file->opened.stripes = (uint16_t)file->count;
		vg_remote_add_up(file, opening->pieces, &file->opened);
		finish(opening, 0);
		return;
	}
	for (unsigned int i = 0; i < file->count; i++)
		if (!opening->pieces[i].error)
			file->pieces[opened++] = file->pieces[i];
	file->count = opened;
	vg_remote_close_start(opening->v, file, pieces_closed, opening);
}

static void piece_done(struct vg_remote_request *request)
{
	struct opening *opening = request->context;
	struct vg_remote_piece *piece = &opening->file->pieces[request - opening->pieces];

	if (request->error && !opening->error)
		opening->error = request->error < 0 ? request->error : -EPROTO;
	if (!request->error)
		*piece = (struct vg_remote_piece){ .home = request->asked->home,
						   .generation = request->asked->generation,
						   .ident = request->answer_ident };
	if (!--opening->left)
		pieces_opened(opening);
}

static void fill_piece(struct opening *opening, unsigned int index)
{
	struct vg_remote_request *request = &opening->pieces[index];
	__u16 flags = vg_remote_open_flags(opening->flags & ~(O_CREAT | O_EXCL | O_APPEND));

	flags |= flags & VG_FILE_O_WRITE ? VG_FILE_O_CREATE : 0;
	request->opcode = VG_OP_FILE_OPEN;
	request->flags = VG_FILE_PIECE;
	request->key = opening->names[index];
	request->key_length =
		vg_remote_piece_name(opening->file->id, index, opening->names[index], PIECE_NAME_MAX);
	request->argument = (__u64)flags << 32 | 0600;
	request->front_bytes = sizeof(struct vg_file_stat);
	request->done = piece_done;
	request->context = opening;
}

static void pieces_lost(struct opening *opening, int error)
{
	opening->file->count = 0;
	opening->error = error;
	vg_remote_close_start(opening->v, opening->file, pieces_closed, opening);
}

static void open_pieces(struct opening *opening);

static void found(struct vg_remote_search *search, int error)
{
	if (error)
		pieces_lost(search->context, error);
	else
		open_pieces(search->context);
}

/* A piece on each of these nodes, once their addresses are known. */
static void open_pieces(struct opening *opening)
{
	const unsigned int count = opening->file->count;
	struct vg_remote_node *nodes[VG_FILE_STRIPES_MAX];

	for (unsigned int i = 0; i < count; i++) {
		nodes[i] = vg_remote_node_number(opening->v, opening->numbers[i]);
		if (nodes[i])
			continue;
		opening->search.found = found;
		opening->search.context = opening;
		vg_remote_search(opening->v, &opening->search, opening->numbers[i]);
		return;
	}
	opening->pieces = calloc(count, sizeof(opening->pieces[0]));
	if (!opening->pieces) {
		pieces_lost(opening, -ENOMEM);
		return;
	}
	opening->left = count;
	for (unsigned int i = 0; i < count; i++)
		fill_piece(opening, i);
	for (unsigned int i = 0; i < count; i++)
		vg_remote_submit(nodes[i], &opening->pieces[i]);
}

__u32 vg_remote_piece_name(__u64 id, unsigned int index, char *name, size_t bytes)
{
	return (__u32)snprintf(name, bytes, "%llx.%u", (unsigned long long)id, index);
}

static void opened(struct vg_remote_call *call)
{
	struct opening *opening = call->context;
	const struct vg_remote_request *request = &call->request;
	int error = call->result;

	if (error) {
		finish(opening, error);
		return;
	}
	if (request->answer_flags & VG_FILE_STRIPED)
		opening->file = vg_remote_striped(request->answer, request->answer_length, opening->flags,
						  opening->numbers, &error);
	else
		opening->file = new_file(1, opening->flags);
	if (!opening->file) {
		finish(opening, error ? error : -ENOMEM);
		return;
	}
	vg_remote_stat_read(request->front, &opening->file->opened);
	if (request->answer_flags & VG_FILE_STRIPED) {
		open_pieces(opening);
		return;
	}
	opening->file->pieces[0] = (struct vg_remote_piece){ .home = request->asked->home,
							     .generation = request->asked->generation,
							     .ident = request->answer_ident };
	finish(opening, 0);
}

int vg_remote_open_start(struct virgo *v, const char *path, int flags, mode_t mode,
			 const struct vg_file_stripes *stripes, vg_remote_open_fn done, void *context)
{
	struct opening *opening = calloc(1, sizeof(*opening));
	struct vg_remote_request *request;
	int error;

	if (!opening)
		return -ENOMEM;
	vg_remote_call_init(&opening->call, v, VG_OP_FILE_OPEN);
	error = vg_remote_call_path(&opening->call, path);
	if (error) {
		free(opening);
		return error;
	}
	opening->v = v;
	opening->flags = flags;
	opening->done = done;
	opening->context = context;
	opening->call.follow = !(flags & O_NOFOLLOW) && !(flags & O_CREAT && flags & O_EXCL);
	request = &opening->call.request;
	request->argument = (__u64)vg_remote_open_flags(flags) << 32 | (mode & 07777);
	request->change = flags & O_TRUNC || (flags & O_CREAT && flags & O_EXCL);
	request->front_bytes = sizeof(struct vg_file_stat);
	if (stripes) {
		opening->stripes = *stripes;
		request->body = &opening->stripes;
		request->body_length = sizeof(opening->stripes);
	}
	vg_remote_call_start(&opening->call, opened, opening);
	return 0;
}

/* ---- closing --------------------------------------------------------------------------------------------------- */

struct closing {
	struct virgo_file *file;
	vg_remote_close_fn done;
	void *context;
};

static void closed(struct vg_remote_each *each)
{
	struct closing *closing = each->context;
	vg_remote_close_fn done = closing->done;
	void *context = closing->context;
	int error = each->error;

	free(closing->file);
	free(closing);
	free(each);
	done(context, error);
}

void vg_remote_close_start(struct virgo *v, struct virgo_file *file, vg_remote_close_fn done, void *context)
{
	struct closing *closing = file->count ? malloc(sizeof(*closing)) : NULL;
	struct vg_remote_each *each;

	/* Without memory to say so the descriptor stays open on its node until the session ends. */
	if (!closing || vg_remote_each_new(v, file, VG_OP_FILE_CLOSE, &each)) {
		const int error = file->count ? -ENOMEM : 0;

		free(closing);
		free(file);
		done(context, error);
		return;
	}
	*closing = (struct closing){ file, done, context };
	vg_remote_each_start(each, closed, closing);
}
