/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is done to an open file besides reading and writing: its size, its attributes, its room, its safety. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/file.h"

/* ---- asking for all pieces ------------------------------------------------------------------------------------- */

struct waiter {
	bool done;
	ssize_t result;
};

static void wake(struct vg_remote_each *each)
{
	struct waiter *waiter = each->context;

	waiter->done = true;
	waiter->result = each->error;
}

int vg_remote_each_wait(struct vg_remote_each *each)
{
	struct waiter waiter = { 0 };

	vg_remote_each_start(each, wake, &waiter);
	return (int)vg_remote_wait(each->v, &waiter.done, &waiter.result);
}

static int begin(struct virgo *v, struct virgo_file *file, __u8 opcode, struct vg_remote_each **ret_each)
{
	int error = vg_remote_begin(v);

	if (!error)
		error = vg_remote_each_new(v, file, opcode, ret_each);
	return error == -ENOMEM ? vg_remote_explain(v, error, NULL) : error;
}

static int end(struct vg_remote_each *each)
{
	int error = vg_remote_each_wait(each);

	free(each);
	return error;
}

static int refuse(struct virgo *v, int error)
{
	return vg_remote_explain(v, error, NULL);
}

/* So many of the first `size` bytes of the file are in this piece. */
static __u64 share_of(const struct virgo_file *file, unsigned int piece, __u64 size)
{
	__u64 row, rest, before;

	if (!file->unit)
		return size;
	row = (__u64)file->unit * file->count;
	rest = size % row;
	before = (__u64)file->unit * piece;
	rest = rest > before ? rest - before : 0;
	return size / row * file->unit + (rest < file->unit ? rest : file->unit);
}

/* ---- stat ------------------------------------------------------------------------------------------------------ */

int virgo_fstat(struct virgo *v, struct virgo_file *file, struct virgo_file_stat *ret_stat)
{
	struct vg_remote_each *each;
	int error = begin(v, file, VG_OP_FILE_STAT, &each);

	if (error)
		return error;
	for (unsigned int i = 0; i < file->count; i++)
		each->requests[i].front_bytes = sizeof(struct vg_file_stat);
	error = vg_remote_each_wait(each);
	if (!error && file->unit) {
		*ret_stat = file->opened;
		vg_remote_add_up(file, each->requests, ret_stat);
	} else if (!error) {
		vg_remote_stat_read(each->requests[0].front, ret_stat);
	}
	free(each);
	return error;
}

/* ---- changing -------------------------------------------------------------------------------------------------- */

int vg_remote_change_each(struct virgo *v, struct virgo_file *file, const struct vg_file_change *change)
{
	struct vg_remote_each *each;
	int error = begin(v, file, VG_OP_FILE_CHANGE, &each);

	if (error)
		return error;
	for (unsigned int i = 0; i < file->count; i++) {
		struct vg_remote_request *request = &each->requests[i];
		struct vg_file_change piece = *change;

		if (piece.mask & VG_HTOBE32(VG_FILE_CHANGE_SIZE))
			piece.size = VG_HTOBE64(share_of(file, i, VG_BE64TOH(change->size)));
		memcpy(request->small, &piece, sizeof(piece));
		request->body = request->small;
		request->body_length = sizeof(piece);
	}
	return end(each);
}

int virgo_ftruncate(struct virgo *v, struct virgo_file *file, uint64_t size)
{
	const struct vg_file_change change = { .mask = VG_HTOBE32(VG_FILE_CHANGE_SIZE), .size = VG_HTOBE64(size) };

	return size > INT64_MAX ? refuse(v, -EINVAL) : vg_remote_change_each(v, file, &change);
}

/* Mode and owner of a striped file are those of its name. */
static int change_attributes(struct virgo *v, struct virgo_file *file, const struct vg_file_change *change)
{
	return file->unit ? refuse(v, -EOPNOTSUPP) : vg_remote_change_each(v, file, change);
}

int virgo_fchmod(struct virgo *v, struct virgo_file *file, mode_t mode)
{
	const struct vg_file_change change = vg_remote_change_mode(mode);

	return change_attributes(v, file, &change);
}

int virgo_fchown(struct virgo *v, struct virgo_file *file, uint32_t uid, uint32_t gid)
{
	const struct vg_file_change change = vg_remote_change_owner(uid, gid);

	return change_attributes(v, file, &change);
}

int virgo_futimens(struct virgo *v, struct virgo_file *file, const struct timespec times[2])
{
	const struct vg_file_change change = vg_remote_change_times(times);

	return vg_remote_change_each(v, file, &change);
}

/* ---- room and safety ------------------------------------------------------------------------------------------- */

static int sync_each(struct virgo *v, struct virgo_file *file, __u16 flags)
{
	struct vg_remote_each *each;
	int error = begin(v, file, VG_OP_FILE_SYNC, &each);

	if (error)
		return error;
	for (unsigned int i = 0; i < file->count; i++)
		each->requests[i].flags = flags;
	return end(each);
}

int virgo_fsync(struct virgo *v, struct virgo_file *file)
{
	return sync_each(v, file, 0);
}

int virgo_fdatasync(struct virgo *v, struct virgo_file *file)
{
	return sync_each(v, file, VG_FILE_DATA_ONLY);
}

static int wire_mode(int mode, __u16 *ret_flags)
{
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	*ret_flags = mode & FALLOC_FL_KEEP_SIZE ? VG_FILE_KEEP_SIZE : 0;
	*ret_flags |= mode & FALLOC_FL_PUNCH_HOLE ? VG_FILE_PUNCH_HOLE : 0;
	*ret_flags |= mode & FALLOC_FL_ZERO_RANGE ? VG_FILE_ZERO_RANGE : 0;
	return 0;
}

int virgo_fallocate(struct virgo *v, struct virgo_file *file, int mode, uint64_t offset, uint64_t length)
{
	struct vg_remote_each *each;
	__u16 flags;
	int error = wire_mode(mode, &flags);

	if (!error && (!length || offset > INT64_MAX || length > INT64_MAX - offset))
		error = length && offset <= INT64_MAX ? -EFBIG : -EINVAL;
	if (error)
		return refuse(v, error);
	error = begin(v, file, VG_OP_FILE_ALLOCATE, &each);
	if (error)
		return error;
	for (unsigned int i = 0; i < file->count; i++) {
		struct vg_remote_request *request = &each->requests[i];
		const __u64 from = share_of(file, i, offset), to = share_of(file, i, offset + length);
		const struct vg_file_range range = { VG_HTOBE64(from), VG_HTOBE64(to - from) };

		if (from == to) {
			/* Nothing of it is in this piece. */
			request->opcode = VG_OP_FILE_STAT;
			continue;
		}
		request->flags = flags;
		memcpy(request->small, &range, sizeof(range));
		request->body = request->small;
		request->body_length = sizeof(range);
	}
	return end(each);
}

/* ---- seeking --------------------------------------------------------------------------------------------------- */

/* A striped file is taken to be all data, which it may be said to be. */
static int64_t seek_striped(struct virgo *v, struct virgo_file *file, uint64_t offset, int whence)
{
	struct virgo_file_stat stat;
	int error = virgo_fstat(v, file, &stat);

	if (error)
		return error;
	if (offset >= stat.size)
		return refuse(v, -ENXIO);
	return (int64_t)(whence == SEEK_DATA ? offset : stat.size);
}

static int64_t seek_data(struct virgo *v, struct virgo_file *file, int64_t offset, int whence)
{
	struct vg_remote_each *each;
	int64_t found;
	int error;

	if (offset < 0)
		return refuse(v, -ENXIO);
	if (file->unit)
		return seek_striped(v, file, (uint64_t)offset, whence);
	error = begin(v, file, VG_OP_FILE_SEEK, &each);
	if (error)
		return error;
	each->requests[0].flags = whence == SEEK_DATA ? VG_FILE_SEEK_DATA : VG_FILE_SEEK_HOLE;
	each->requests[0].argument = (__u64)offset;
	error = vg_remote_each_wait(each);
	found = (int64_t)each->requests[0].answer_argument;
	free(each);
	return error ? error : found;
}

int64_t virgo_seek(struct virgo *v, struct virgo_file *file, int64_t offset, int whence)
{
	struct virgo_file_stat stat;
	int64_t from = 0, to;
	int error = 0;

	switch (whence) {
	case SEEK_SET:
		break;
	case SEEK_CUR:
		from = (int64_t)file->position;
		break;
	case SEEK_END:
		error = virgo_fstat(v, file, &stat);
		from = error ? 0 : (int64_t)stat.size;
		break;
	case SEEK_DATA:
	case SEEK_HOLE:
		to = seek_data(v, file, offset, whence);
		if (to >= 0)
			file->position = (__u64)to;
		return to;
	default:
		error = refuse(v, -EINVAL);
	}
	if (error)
		return error;
	if (__builtin_add_overflow(from, offset, &to))
		return refuse(v, -EOVERFLOW);
	if (to < 0)
		return refuse(v, -EINVAL);
	file->position = (__u64)to;
	return to;
}

/* ---- copying --------------------------------------------------------------------------------------------------- */

ssize_t virgo_copy_range(struct virgo *v, struct virgo_file *from, uint64_t from_offset, struct virgo_file *to,
			 uint64_t to_offset, size_t length)
{
	const struct vg_file_copy copy = { .to = VG_HTOBE64(to->pieces[0].ident),
					   .from_offset = VG_HTOBE64(from_offset),
					   .to_offset = VG_HTOBE64(to_offset),
					   .length = VG_HTOBE64(length) };
	struct vg_remote_each *each;
	struct vg_remote_request *request;
	ssize_t copied;
	int error;

	if (from->unit || to->unit || from->pieces[0].home != to->pieces[0].home)
		return refuse(v, -EXDEV);
	if (from->pieces[0].generation != to->pieces[0].generation)
		return refuse(v, -ESTALE);
	error = begin(v, from, VG_OP_FILE_COPY, &each);
	if (error)
		return error;
	request = &each->requests[0];
	memcpy(request->small, &copy, sizeof(copy));
	request->body = request->small;
	request->body_length = sizeof(copy);
	error = vg_remote_each_wait(each);
	copied = (ssize_t)request->answer_argument;
	free(each);
	return error ? error : copied;
}
