/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Locks: of a file on its node, of a striped one on the node of its first piece. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "client/file.h"

struct waiter {
	bool done;
	ssize_t result;
};

static void wake(struct vg_remote_request *request)
{
	struct waiter *waiter = request->context;

	waiter->done = true;
	waiter->result = request->error == VG_REMOTE_WRONG_NODE ? -EPROTO : request->error;
}

static int submit(struct virgo *v, struct virgo_file *file, const struct vg_file_lock *lock,
		  struct vg_remote_request *request, struct waiter *waiter)
{
	struct vg_remote_node *node;

	*request = (struct vg_remote_request){ .opcode = VG_OP_FILE_LOCK, .done = wake, .context = waiter };
	request->endless = lock->flags & VG_FILE_LOCK_WAIT;
	memcpy(request->small, lock, sizeof(*lock));
	request->body = request->small;
	request->body_length = sizeof(*lock);
	if (lock->flags & VG_FILE_LOCK_TEST) {
		request->into = request->front;
		request->into_bytes = sizeof(request->front);
	}
	node = vg_remote_piece_node(v, &file->pieces[0], request);
	if (!node)
		return -ENOMEM;
	vg_remote_submit(node, request);
	return 0;
}

/*
 * A signal ends the waiting: the node is told to unlock the range, and the answer is still waited for, as it may have
 * been granted meanwhile.
 */
static int wait_long(struct virgo *v, struct virgo_file *file, const struct vg_file_lock *lock, struct waiter *waiter)
{
	struct vg_file_lock undo = *lock;
	struct vg_remote_request request;
	struct waiter undone = { 0 };
	ssize_t interrupted = -EINTR;

	while (!waiter->done)
		if (vg_client_step(v, ~0ULL) == -EINTR && !waiter->done)
			break;
	if (waiter->done)
		return (int)vg_remote_wait(v, &waiter->done, &waiter->result);
	undo.kind = VG_FILE_UNLOCK;
	undo.flags &= (__u8)~VG_FILE_LOCK_WAIT;
	undone.done = submit(v, file, &undo, &request, &undone) != 0;
	(void)vg_remote_wait(v, &undone.done, &undone.result);
	(void)vg_remote_wait(v, &waiter->done, &waiter->result);
	if (waiter->result && waiter->result != -EINTR)
		return (int)waiter->result;
	return (int)vg_remote_wait(v, &waiter->done, &interrupted);
}

static int carry_out(struct virgo *v, struct virgo_file *file, const struct vg_file_lock *lock,
		     struct vg_remote_request *request)
{
	struct waiter waiter = { 0 };
	int error = vg_remote_begin(v);

	if (!error)
		error = submit(v, file, lock, request, &waiter);
	if (error)
		return error == -EDEADLK ? error : vg_remote_explain(v, error, NULL);
	if (request->endless)
		return wait_long(v, file, lock, &waiter);
	return (int)vg_remote_wait(v, &waiter.done, &waiter.result);
}

int virgo_flock(struct virgo *v, struct virgo_file *file, uint64_t owner, int operation)
{
	struct vg_file_lock lock = { .owner = VG_HTOBE64(owner), .flags = VG_FILE_LOCK_WHOLE };
	struct vg_remote_request request;

	lock.pid = VG_HTOBE32((__u32)getpid());
	switch (operation & ~LOCK_NB) {
	case LOCK_SH:
		lock.kind = VG_FILE_LOCK_SHARED;
		break;
	case LOCK_EX:
		lock.kind = VG_FILE_LOCK_EXCLUSIVE;
		break;
	case LOCK_UN:
		lock.kind = VG_FILE_UNLOCK;
		break;
	default:
		return vg_remote_explain(v, -EINVAL, NULL);
	}
	if (!(operation & LOCK_NB) && lock.kind != VG_FILE_UNLOCK)
		lock.flags |= VG_FILE_LOCK_WAIT;
	return carry_out(v, file, &lock, &request);
}

/* ---- byte ranges ----------------------------------------------------------------------------------------------- */

/* Where fcntl(2) would begin and how far it would go. */
static int range_of(struct virgo *v, struct virgo_file *file, const struct flock *wanted, struct vg_file_lock *lock)
{
	int64_t from = 0, start, length = wanted->l_len;
	struct virgo_file_stat stat;
	int error = 0;

	if (wanted->l_whence == SEEK_CUR) {
		from = (int64_t)file->position;
	} else if (wanted->l_whence == SEEK_END) {
		error = virgo_fstat(v, file, &stat);
		from = error ? 0 : (int64_t)stat.size;
	} else if (wanted->l_whence != SEEK_SET) {
		error = -EINVAL;
	}
	if (error)
		return error;
	if (__builtin_add_overflow(from, (int64_t)wanted->l_start, &start))
		return -EOVERFLOW;
	if (length < 0 && (__builtin_add_overflow(start, length, &start) || __builtin_sub_overflow(0, length, &length)))
		return -EINVAL;
	if (start < 0 || length > INT64_MAX - start)
		return start < 0 ? -EINVAL : -EOVERFLOW;
	lock->start = VG_HTOBE64((__u64)start);
	lock->length = VG_HTOBE64((__u64)length);
	return 0;
}

static int kind_of(short type, __u8 *ret_kind)
{
	*ret_kind = type == F_RDLCK ? VG_FILE_LOCK_SHARED : type == F_WRLCK ? VG_FILE_LOCK_EXCLUSIVE : VG_FILE_UNLOCK;
	return type == F_RDLCK || type == F_WRLCK || type == F_UNLCK ? 0 : -EINVAL;
}

/* The lock in the way, or none. */
static int tell(const struct vg_remote_request *request, struct flock *ret_lock)
{
	struct vg_file_lock found;

	if (!request->answer_ident) {
		ret_lock->l_type = F_UNLCK;
		return 0;
	}
	if (request->answer_length < sizeof(found))
		return -EPROTO;
	memcpy(&found, request->front, sizeof(found));
	*ret_lock = (struct flock){ .l_type = found.kind == VG_FILE_LOCK_SHARED ? F_RDLCK : F_WRLCK,
				    .l_whence = SEEK_SET,
				    .l_start = (off_t)VG_BE64TOH(found.start),
				    .l_len = (off_t)VG_BE64TOH(found.length),
				    .l_pid = (pid_t)VG_BE32TOH(found.pid) };
	return 0;
}

int virgo_lock(struct virgo *v, struct virgo_file *file, uint64_t owner, int command, struct flock *wanted)
{
	struct vg_file_lock lock = { .owner = VG_HTOBE64(owner), .pid = VG_HTOBE32((__u32)getpid()) };
	struct vg_remote_request request;
	int error = kind_of(wanted->l_type, &lock.kind);

	if (command == F_GETLK || command == F_OFD_GETLK)
		lock.flags = VG_FILE_LOCK_TEST;
	else if (command == F_SETLKW || command == F_OFD_SETLKW)
		lock.flags = lock.kind == VG_FILE_UNLOCK ? 0 : VG_FILE_LOCK_WAIT;
	else if (command != F_SETLK && command != F_OFD_SETLK)
		error = -EINVAL;
	if (lock.flags & VG_FILE_LOCK_TEST && lock.kind == VG_FILE_UNLOCK)
		error = -EINVAL;
	if (!error)
		error = range_of(v, file, wanted, &lock);
	if (error)
		return vg_remote_explain(v, error, NULL);
	error = carry_out(v, file, &lock, &request);
	if (!error && lock.flags & VG_FILE_LOCK_TEST)
		error = tell(&request, wanted);
	return error;
}
