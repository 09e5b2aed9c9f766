// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Group commit. Who wants a file on stable storage joins its group; one sync at a time runs for a file, and while it
 * does the next group gathers. A helper thread writes the small writes of a group and syncs once for all: of thirty-two
 * writers each waits for two syncs at most, and none has one for himself.
 *
 * An error of writing back is told by the kernel once to each open file. A group is synced through one of its file's
 * descriptors, the keeper, so who else must hear of the error is our business: errors are counted, and a descriptor
 * that has not heard of the last one is told at its next sync. What happened before a descriptor joined for the first
 * time is asked of the kernel, through its own fd.
 */
#include <assert.h>
#include <errno.h>

#include "svc/file/bytes.h"

/*
 * A second way, for the only writer of a file, who writes over pages and does not read: past the page cache, through
 * the ring, complete when it is on stable storage. No thread waits for it, whatever the number of such files.
 */
enum direct { DIRECT_UNKNOWN, DIRECT_OPENING, DIRECT_READY, DIRECT_NONE };

/* inode->sync; lives while a descriptor of the inode does. */
struct vg_sync {
	struct vg_file_pool *pool;
	struct vg_file_descriptor *keeper;
	struct vg_file_op *waiting, **waiting_end;
	__u32 errors;
	int last_error;
	/* The run: the helper's while it is under way. */
	bool running, data_only;
	struct vg_file_op *run;
	struct vg_file_descriptor *run_keeper; /* a reference */
	int run_error;
	enum direct direct;
	int direct_fd; /* while it is ready */
	__u32 direct_writes; /* under way */
};

static struct vg_sync *sync_of(struct vg_file_pool *pool, struct vg_file_inode *inode)
{
	struct vg_sync *sync = inode->sync;

	if (sync)
		return sync;
	sync = vg_file_alloc(pool, sizeof(*sync));
	if (!sync)
		return NULL;
	*sync = (struct vg_sync){ .pool = pool };
	sync->waiting_end = &sync->waiting;
	inode->sync = sync;
	return sync;
}

void vg_bytes_descriptor_gone(struct vg_file_descriptor *descriptor)
{
	struct vg_sync *sync = descriptor->inode->sync;

	assert(!descriptor->changes_first);
	if (!sync)
		return;
	if (sync->keeper == descriptor)
		sync->keeper = NULL;
	if (descriptor->inode->refs > 1)
		return;
	assert(!sync->running && !sync->waiting);
	if (sync->direct == DIRECT_READY)
		vg_io_try_close(sync->pool->env->io, sync->direct_fd);
	descriptor->inode->sync = NULL;
	vg_file_free(sync->pool, sync);
}

/* ---- a run ------------------------------------------------------------------------------------------------------ */

/* On a helper thread: the ops of the run are its own. */
static int run_on_helper(void *argument)
{
	struct vg_sync *sync = argument;
	struct vg_file_op *op;

	for (op = sync->run; op; op = vg_bytes_op(op)->next_synced) {
		struct vg_bytes_op *own = vg_bytes_op(op);

		own->result = own->with_write ? vg_disk_write(op) : 0;
	}
	sync->run_error = vg_disk_sync(sync->run_keeper->fd, sync->data_only);
	for (op = sync->run; op; op = vg_bytes_op(op)->next_synced) {
		struct vg_bytes_op *own = vg_bytes_op(op);

		if (own->first && op->descriptor != sync->run_keeper && !own->result)
			own->result = vg_disk_sync(op->descriptor->fd, sync->data_only);
	}
	return 0;
}

static void start_run(struct vg_sync *sync);

/* No helper and no room to wait for one: nothing was written or synced. False: nobody has joined meanwhile. */
static bool refuse_run(struct vg_sync *sync)
{
	struct vg_file_op *op = sync->run, *next;
	struct vg_file_descriptor *keeper = sync->run_keeper;
	bool more;

	sync->run = NULL;
	for (; op; op = next) {
		next = vg_bytes_op(op)->next_synced;
		vg_bytes_op(op)->then(op, -EBUSY);
	}
	sync->running = false;
	more = sync->waiting;
	vg_descriptor_put(keeper); /* perhaps the last: then there is no sync any more */
	return more;
}

/* What the run means for one of its ops. */
static int verdict(const struct vg_sync *sync, struct vg_file_op *op)
{
	struct vg_file_descriptor *descriptor = op->descriptor;
	bool missed = descriptor->sync_errors_seen != sync->errors && descriptor->synced;

	descriptor->sync_errors_seen = sync->errors;
	descriptor->synced = true;
	if (sync->run_error)
		return sync->run_error;
	if (vg_bytes_op(op)->result)
		return vg_bytes_op(op)->result;
	return missed ? sync->last_error : 0;
}

static void end_run(struct vg_sync *sync)
{
	struct vg_file_op *op = sync->run, *next;
	struct vg_file_descriptor *keeper = sync->run_keeper;

	if (sync->run_error) {
		sync->errors++;
		sync->last_error = sync->run_error;
	}
	sync->run = NULL;
	for (; op; op = next) {
		next = vg_bytes_op(op)->next_synced;
		vg_bytes_op(op)->then(op, verdict(sync, op));
	}
	sync->running = false;
	if (sync->waiting)
		start_run(sync);
	vg_descriptor_put(keeper); /* perhaps the last: then there is no sync any more */
}

static void on_run(void *owner, const struct vg_io_event *event)
{
	struct vg_sync *sync = owner;

	vg_env_turn(sync->pool->env);
	if (event->result < 0)
		sync->run_error = event->result; /* it was not carried out */
	vg_bytes_count(&sync->pool->counts.group_syncs, 1);
	end_run(sync);
}

static void begin_run(struct vg_sync *sync)
{
	struct vg_file_op *op;

	assert(!sync->running && sync->waiting);
	if (!sync->keeper)
		sync->keeper = sync->waiting->descriptor;
	sync->run = sync->waiting;
	sync->waiting = NULL;
	sync->waiting_end = &sync->waiting;
	sync->data_only = true;
	sync->run_error = 0;
	for (op = sync->run; op; op = vg_bytes_op(op)->next_synced) {
		sync->data_only &= vg_bytes_op(op)->data_only;
		vg_bytes_op(op)->first = !op->descriptor->synced;
	}
	sync->run_keeper = sync->keeper;
	vg_descriptor_ref(sync->run_keeper);
	sync->running = true;
}

static void start_run(struct vg_sync *sync)
{
	do {
		begin_run(sync);
		if (!vg_io_call(sync->pool->env->io, run_on_helper, sync, on_run, sync, NULL))
			return;
	} while (refuse_run(sync));
}

void vg_durable_join(struct vg_file_op *op, bool with_write, bool data_only,
		     void (*then)(struct vg_file_op *op, int error))
{
	struct vg_sync *sync = sync_of(op->pool, op->descriptor->inode);
	struct vg_bytes_op *own = vg_bytes_op(op);

	vg_bytes_count(&op->pool->counts.syncs, 1);
	if (!sync) {
		then(op, -ENOMEM);
		return;
	}
	own->with_write = with_write;
	own->data_only = data_only;
	own->then = then;
	own->next_synced = NULL;
	*sync->waiting_end = op;
	sync->waiting_end = &own->next_synced;
	if (!sync->running)
		start_run(sync);
}

/* ---- past the page cache --------------------------------------------------------------------------------------- */

static void on_direct(void *owner, const struct vg_io_event *event)
{
	struct vg_file_op *op = owner;
	struct vg_bytes_op *own = vg_bytes_op(op);
	struct vg_sync *sync = op->descriptor->inode->sync;

	vg_env_turn(op->pool->env);
	op->io_op = 0;
	sync->direct_writes--;
	if (event->result == -EINVAL || event->result == -EOPNOTSUPP) {
		if (sync->direct == DIRECT_READY)
			vg_io_close(op->pool->env->io, sync->direct_fd);
		sync->direct = DIRECT_NONE;
	}
	own->done = event->result > 0 ? (__u32)event->result : 0;
	if (own->done == own->length)
		own->then(op, 0);
	else if (event->result >= 0 || sync->direct == DIRECT_NONE)
		vg_durable_join(op, true, true, own->then);
	else
		own->then(op, event->result);
}

static void write_direct(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	struct vg_sync *sync = op->descriptor->inode->sync;
	struct iovec vector = { (void *)op->body, own->length };

	vg_bytes_count(&op->pool->counts.syncs, 1);
	if (vg_io_write_durable(op->pool->env->io, sync->direct_fd, &vector, 1, own->offset, on_direct, op, &op->io_op))
		own->then(op, -EBUSY);
	else
		sync->direct_writes++;
}

static void on_direct_opened(struct vg_file_op *op, int fd)
{
	struct vg_sync *sync = op->descriptor->inode->sync;

	sync->direct = fd < 0 ? DIRECT_NONE : DIRECT_READY;
	sync->direct_fd = fd;
	if (fd < 0)
		vg_durable_join(op, true, true, vg_bytes_op(op)->then);
	else
		write_direct(op);
}

static bool is_overwrite(struct vg_file_op *op)
{
	const struct vg_bytes_op *own = vg_bytes_op(op);
	struct statx stat;

	return !own->append && !(own->offset % VG_FILE_DIRECT_ALIGN) && !(own->length % VG_FILE_DIRECT_ALIGN) &&
	       !((unsigned long)op->body % VG_FILE_DIRECT_ALIGN) && !op->descriptor->was_read &&
	       !vg_io_try_stat(op->pool->env->io, op->descriptor->fd, &stat) &&
	       own->offset + own->length <= stat.stx_size;
}

void vg_durable_write(struct vg_file_op *op, void (*then)(struct vg_file_op *op, int error))
{
	struct vg_sync *sync = sync_of(op->pool, op->descriptor->inode);

	vg_bytes_op(op)->then = then;
	/* Who has company is better off in the group: one sync for all of them. */
	if (!sync || sync->direct == DIRECT_NONE || sync->direct == DIRECT_OPENING || sync->running ||
	    sync->direct_writes || !is_overwrite(op)) {
		vg_durable_join(op, true, true, then);
	} else if (sync->direct == DIRECT_UNKNOWN) {
		sync->direct = DIRECT_OPENING;
		vg_op_work(op, vg_disk_open_direct, on_direct_opened);
	} else {
		write_direct(op);
	}
}
