// SPDX-License-Identifier: GPL-3.0-or-later
/* FILE_LOCK: requests on the table of locks, and what becomes of those that wait. */
#include <errno.h>
#include <string.h>

#include "svc/file/hold.h"
#include "svc/file/lock_table.h"

#define FLAGS_KNOWN (VG_FILE_LOCK_WAIT | VG_FILE_LOCK_WHOLE | VG_FILE_LOCK_TEST)

int vg_locks_init(struct vg_file_pool *pool)
{
	struct vg_locks *locks;
	int error = vg_locks_new(&locks, pool->env->mem, vg_env_random(pool->env) | 1);

	if (!error)
		pool->locks = locks;
	return error;
}

void vg_locks_deinit(struct vg_file_pool *pool)
{
	vg_locks_free(pool->locks);
	pool->locks = NULL;
}

static void count(struct vg_file_pool *pool)
{
	const struct vg_lock_figures *figures = vg_locks_figures(pool->locks);

	__atomic_store_n(&pool->counts.locks, figures->held, __ATOMIC_RELAXED);
	__atomic_store_n(&pool->counts.lock_waits, figures->waiting, __ATOMIC_RELAXED);
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

static struct vg_lock_session *session_of(struct vg_file_client *client)
{
	if (!client->locks) {
		client->locks = vg_file_alloc(client->pool, sizeof(struct vg_lock_session));
		if (client->locks)
			memset(client->locks, 0, sizeof(struct vg_lock_session));
	}
	return client->locks;
}

/* What is asked, as the table is asked. 0, or -errno. */
static int read_request(const struct vg_file_op *op, struct vg_file_lock *ret_wire, struct vg_lock_request *ret_request)
{
	const struct vg_file_descriptor *descriptor = op->descriptor;
	struct vg_file_lock wire;

	memcpy(&wire, op->body, sizeof(wire));
	if (wire.flags & ~FLAGS_KNOWN || wire.reserved || wire.kind > VG_FILE_LOCK_EXCLUSIVE)
		return -EINVAL;
	*ret_wire = wire;
	*ret_request = (struct vg_lock_request){
		.device = descriptor->inode->device,
		.inode = descriptor->inode->number,
		.session = session_of(op->client),
		.owner = VG_BE64TOH(wire.owner),
		.descriptor = vg_descriptor_ident(descriptor),
		.start = VG_BE64TOH(wire.start),
		.length = VG_BE64TOH(wire.length),
		.pid = VG_BE32TOH(wire.pid),
		.kind = wire.kind,
		.whole = wire.flags & VG_FILE_LOCK_WHOLE,
	};
	if (!ret_request->session)
		return -ENOLCK;
	/* As fcntl(2): a range is locked by who may do what the lock is for. flock(2) does not ask. */
	if (!ret_request->whole && !(wire.flags & VG_FILE_LOCK_TEST) &&
	    ((wire.kind == VG_FILE_LOCK_SHARED && !(descriptor->flags & VG_FILE_O_READ)) ||
	     (wire.kind == VG_FILE_LOCK_EXCLUSIVE && !(descriptor->flags & VG_FILE_O_WRITE))))
		return -EBADF;
	return 0;
}

static void test(struct vg_file_op *op, const struct vg_lock_request *request)
{
	struct vg_locks *locks = op->pool->locks;
	struct vg_lock_request holder;
	struct vg_file_lock wire;
	int error = vg_lock_test(locks, request, &holder);

	if (error) {
		vg_op_fail(op, error);
		return;
	}
	wire = (struct vg_file_lock){
		.owner = VG_HTOBE64(holder.owner),
		.start = VG_HTOBE64(holder.start),
		.length = VG_HTOBE64(holder.length),
		.kind = holder.kind,
		.flags = request->whole ? VG_FILE_LOCK_WHOLE : 0,
		.pid = VG_HTOBE32(holder.pid),
	};
	if (holder.kind != VG_FILE_UNLOCK)
		op->answer = (struct vg_file_answer){ .ident = 1, .body = &wire, .body_length = sizeof(wire) };
	vg_op_ok(op);
}

static void end(struct vg_file_op *op, int result)
{
	count(op->pool);
	if (result)
		vg_op_fail(op, result);
	else
		vg_op_ok(op);
}

static void on_result(void *context, int result)
{
	end(context, result);
}

void vg_lock_run(struct vg_file_op *op)
{
	struct vg_locks *locks = op->pool->locks;
	struct vg_lock_request request;
	struct vg_file_lock wire;
	bool waits, may_park;
	int result = read_request(op, &wire, &request);

	if (result) {
		vg_op_fail(op, result);
		return;
	}
	op->body_length = 0; /* it has been read: a request that waits needs no copy of it */
	if (wire.flags & VG_FILE_LOCK_TEST) {
		test(op, &request);
		return;
	}
	waits = wire.flags & VG_FILE_LOCK_WAIT;
	if (waits && wire.kind == VG_FILE_UNLOCK) {
		result = vg_lock_interrupt(locks, &request);
		end(op, result < 0 ? result : 0);
		return;
	}
	may_park = op->link->parked < VG_FILE_PARKED_MAX;
	result = vg_lock_set(locks, &request, waits && may_park ? on_result : NULL, op);
	if (result == -EINPROGRESS) {
		(void)vg_op_keep(op); /* nothing to copy, so nothing to go wrong */
		(void)vg_op_park(op); /* there is room: see above */
		count(op->pool);
	} else {
		end(op, result == -EAGAIN && waits ? -ENOLCK : result);
	}
}

/* ---- endings --------------------------------------------------------------------------------------------------- */

void vg_lock_descriptor_closed(struct vg_file_descriptor *descriptor)
{
	struct vg_file_client *client = descriptor->client;

	if (!client->locks)
		return;
	vg_locks_close(client->pool->locks, client->locks, descriptor->inode->device, descriptor->inode->number,
		       vg_descriptor_ident(descriptor));
	count(client->pool);
}

static void drop(void *context)
{
	vg_op_fail(context, -EINTR); /* nobody hears it: the session has no connection any more */
}

void vg_lock_client_ended(struct vg_file_client *client)
{
	if (!client->locks)
		return;
	vg_locks_end_session(client->pool->locks, client->locks, drop);
	vg_file_free(client->pool, client->locks);
	client->locks = NULL;
	count(client->pool);
}
