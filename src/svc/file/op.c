// SPDX-License-Identifier: GPL-3.0-or-later
/* Requests in flight: their memory, how many there may be, and who waits when there are too many. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "svc/file/disk.h"
#include "svc/file/file.h"

#define WAITING_LOOK 256 /* connections looked at for one that reads */

int vg_ops_init(struct vg_file_pool *pool)
{
	/* Blocks are larger than what is charged for them: twice as large at most. */
	int error = vg_buffers_init(&pool->buffers, 2 * pool->settings->memory_bytes);

	if (error)
		return error;
	pool->op = vg_file_alloc(pool, VG_FILE_OPS_MAX * sizeof(*pool->op));
	return pool->op ? 0 : -ENOMEM;
}

void vg_ops_deinit(struct vg_file_pool *pool)
{
	if (pool->ops)
		return; /* some are under way: all that they may look at stays */
	vg_file_free(pool, pool->client);
	vg_file_free(pool, pool->descriptor);
	vg_file_free(pool, pool->inode);
	vg_file_free(pool, pool->inodes);
	vg_file_free(pool, pool->op);
	vg_buffers_deinit(&pool->buffers);
	vg_file_free(pool, pool);
}

/* ---- bounds ---------------------------------------------------------------------------------------------------- */

/*
 * A connection that has nothing in memory gets what there is; one that has gets no more than is left, so that few
 * connections with slow readers cannot take all, however much memory there is.
 */
static bool has_room(const struct vg_file_link *link, __u64 bytes)
{
	const struct vg_file_pool *pool = link->pool;
	__u64 limit = pool->settings->memory_bytes, left = pool->bytes < limit ? limit - pool->bytes : 0;

	return !link->bytes || !bytes ? bytes <= left || !pool->bytes : link->bytes + bytes <= left;
}

static bool is_within(const struct vg_file_link *link, __u64 bytes)
{
	return link->in_flight < VG_FILE_IN_FLIGHT_MAX &&
	       (!link->bytes || link->bytes + bytes <= VG_FILE_LINK_BYTES_MAX);
}

void vg_link_wait(struct vg_file_link *link, struct vg_session *session, __u64 bytes)
{
	struct vg_file_pool *pool = link->pool;

	pool->counts.waits++;
	vg_session_pause(session);
	if (!is_within(link, bytes)) {
		link->paused = true; /* until its own requests have ended */
		return;
	}
	link->waiting = true;
	link->next_waiting = NULL;
	if (pool->waiting_last)
		pool->waiting_last->next_waiting = link;
	else
		pool->waiting_first = link;
	pool->waiting_last = link;
}

static void resume(struct vg_file_link *link)
{
	struct vg_session *session = link->gone ? NULL : vg_session_find(link->pool->env, link->session);

	if (session)
		vg_session_resume(session);
}

void vg_link_unwait(struct vg_file_link *link)
{
	struct vg_file_pool *pool = link->pool;
	struct vg_file_link **at = &pool->waiting_first, *before = NULL;

	if (!link->waiting)
		return;
	for (; *at != link; at = &before->next_waiting)
		before = *at;
	*at = link->next_waiting;
	if (pool->waiting_last == link)
		pool->waiting_last = before;
	link->waiting = false;
}

/* Who waited longest of those that have read what they were sent; else who waited longest. */
static struct vg_file_link *next_waiting(struct vg_file_pool *pool)
{
	struct vg_file_link *link = pool->waiting_first;

	for (int i = 0; link && i < WAITING_LOOK; i++, link = link->next_waiting) {
		struct vg_session *session = vg_session_find(pool->env, link->session);

		if (session && !session->out->bytes)
			return link;
	}
	return pool->waiting_first;
}

/* They try again, and wait again if it is too little. */
void vg_links_wake(struct vg_file_pool *pool, int most)
{
	for (; most && pool->waiting_first && pool->ops < VG_FILE_OPS_MAX &&
	       (!pool->bytes || pool->bytes < pool->settings->memory_bytes);
	     most--) {
		struct vg_file_link *link = next_waiting(pool);

		vg_link_unwait(link);
		resume(link);
	}
}

/* Something has been given back. */
static void wake(struct vg_file_link *link)
{
	if (link->paused && link->in_flight <= VG_FILE_IN_FLIGHT_MAX / 2 && link->bytes <= VG_FILE_LINK_BYTES_MAX / 2) {
		link->paused = false;
		resume(link);
	}
	vg_links_wake(link->pool, 1);
}

/* ---- getting and giving back ----------------------------------------------------------------------------------- */

static struct vg_file_op *op_get(struct vg_file_pool *pool)
{
	struct vg_file_op *op = pool->op_free;

	if (pool->ops == VG_FILE_OPS_MAX)
		return NULL;
	if (op)
		pool->op_free = op->next_free;
	else
		op = &pool->op[pool->ops_touched++]; /* those of the list are touched already: memory as it is used */
	pool->ops++;
	memset(op, 0, offsetof(struct vg_file_op, names));
	op->pool = pool;
	op->holds = 1;
	op->started_ns = pool->env->clock->monotonic_ns;
	return op;
}

struct vg_file_op *vg_op_new(struct vg_file_link *link, __u64 bytes)
{
	struct vg_file_pool *pool = link->pool;
	struct vg_file_op *op = is_within(link, bytes) && has_room(link, bytes) ? op_get(pool) : NULL;

	if (!op)
		return NULL;
	op->link = link;
	op->charged = bytes;
	link->refs++;
	link->in_flight++;
	link->bytes += bytes;
	pool->bytes += bytes;
	__atomic_store_n(&pool->counts.in_flight, pool->ops, __ATOMIC_RELAXED);
	__atomic_store_n(&pool->counts.memory_bytes, pool->bytes, __ATOMIC_RELAXED);
	return op;
}

struct vg_file_op *vg_op_new_local(struct vg_file_pool *pool, __u8 opcode,
				   void (*ended)(struct vg_file_op *op, int error))
{
	struct vg_file_op *op = op_get(pool);

	if (!op)
		return NULL;
	op->local = op->kept = true;
	op->opcode = opcode;
	op->operation = vg_file_operation(opcode);
	op->export = &pool->exports[0];
	op->ended = ended;
	return op;
}

static void op_free(struct vg_file_op *op)
{
	struct vg_file_pool *pool = op->pool;
	struct vg_file_link *link = op->link;

	if (op->descriptor)
		vg_descriptor_put(op->descriptor);
	if (op->client)
		vg_client_put(op->client);
	if (op->buffer)
		vg_buffer_put(&pool->buffers, op->buffer);
	for (int i = 0; i < 4; i++)
		vg_file_free(pool, op->names_got[i]);
	op->next_free = pool->op_free;
	pool->op_free = op;
	pool->ops--;
	pool->bytes -= op->charged;
	__atomic_store_n(&pool->counts.in_flight, pool->ops, __ATOMIC_RELAXED);
	__atomic_store_n(&pool->counts.memory_bytes, pool->bytes, __ATOMIC_RELAXED);
	if (!link)
		return;
	link->bytes -= op->charged;
	wake(link);
	vg_link_put(link);
}

static void hold_less(struct vg_file_op *op)
{
	assert(op->holds);
	if (!--op->holds)
		op_free(op);
}

static void leave(struct vg_file_link *link, const struct vg_file_op *op)
{
	struct vg_session *session = link->gone ? NULL : vg_session_find(link->pool->env, link->session);

	link->in_flight--;
	link->parked -= op->parked;
	if (!session)
		return;
	session->owed = link->in_flight > link->parked;
	session->working = link->parked;
	if (!op->session)
		vg_session_flush(session);
}

void vg_op_end(struct vg_file_op *op)
{
	assert(op->answered);
	if (op->link)
		leave(op->link, op);
	hold_less(op);
}

void vg_op_release(void *op)
{
	hold_less(op);
}

void vg_op_lend(struct vg_file_op *op)
{
	op->holds++;
}

void vg_op_move(struct vg_file_op *op, struct vg_file_link *link, __u64 wire_client, __u64 sequence)
{
	struct vg_file_link *from = op->link;

	op->wire_client = wire_client;
	op->sequence = sequence;
	if (from == link)
		return;
	leave(from, op);
	from->bytes -= op->charged;
	op->link = link;
	link->refs++;
	link->in_flight++;
	link->parked += op->parked;
	link->bytes += op->charged;
	vg_link_put(from);
}

/* ---- what belongs to it ---------------------------------------------------------------------------------------- */

/* "prefix/path" with a NUL behind it; short ones, both of an op together, live in op->names. */
static int set_name(struct vg_file_op *op, const struct vg_file_export *export, const void *path, __u32 length,
		    char **ret_name, __u32 *ret_length)
{
	__u32 front = export->prefix_length, slash = front && length ? 1 : 0, all = front + slash + length;
	char *name = op->names + op->names_used;

	if (all > VG_FILE_PATH_MAX)
		return -ENAMETOOLONG;
	if (op->names_used + all + 1 > sizeof(op->names)) {
		name = op->names_got_count < 4 ? vg_file_alloc(op->pool, all + 1) : NULL;
		if (!name)
			return -ENOMEM;
		op->names_got[op->names_got_count++] = name;
	} else {
		op->names_used += all + 1;
	}
	memcpy(name, export->prefix, front);
	if (slash)
		name[front] = '/';
	if (length)
		memcpy(name + front + slash, path, length);
	name[all] = '\0';
	*ret_name = name;
	*ret_length = all;
	return 0;
}

int vg_op_set_path(struct vg_file_op *op, const struct vg_file_export *export, const void *path, __u32 length)
{
	return set_name(op, export, path, length, &op->path, &op->path_length);
}

int vg_op_set_other(struct vg_file_op *op, const struct vg_file_export *export, const void *path, __u32 length)
{
	return set_name(op, export, path, length, &op->other, &op->other_length);
}

int vg_op_set_key(struct vg_file_op *op, const void *key, __u32 length)
{
	static const struct vg_file_export root = { .prefix = "" };
	char *name;
	int error = set_name(op, &root, key, length, &name, &op->key_length);

	op->key_bytes = (const __u8 *)name;
	return error;
}

int vg_op_buffer(struct vg_file_op *op, __u32 bytes)
{
	/* A body that was kept while the op waited for its turn, and is done with, makes room. */
	assert(!op->buffer || !op->body_length);
	if (op->buffer)
		vg_buffer_put(&op->pool->buffers, op->buffer);
	op->buffer = vg_buffer_get(&op->pool->buffers, bytes);
	if (!op->buffer)
		return -ENOMEM;
	op->buffer_bytes = bytes;
	return 0;
}

bool vg_op_charge(struct vg_file_op *op, __u64 bytes)
{
	struct vg_file_pool *pool = op->pool;

	if (!op->link || op->link->bytes + bytes > VG_FILE_LINK_BYTES_MAX || !has_room(op->link, bytes))
		return !op->link;
	op->charged += bytes;
	op->link->bytes += bytes;
	pool->bytes += bytes;
	__atomic_store_n(&pool->counts.memory_bytes, pool->bytes, __ATOMIC_RELAXED);
	return true;
}

int vg_op_keep(struct vg_file_op *op)
{
	if (op->kept)
		return 0;
	op->kept = true;
	op->session = NULL;
	if (!op->body_length || op->body == op->buffer)
		return 0;
	if (vg_op_buffer(op, op->body_length)) {
		op->body_length = 0;
		vg_op_fail(op, -ENOMEM);
		return -ENOMEM;
	}
	memcpy(op->buffer, op->body, op->body_length);
	op->body = op->buffer;
	return 0;
}

struct vg_session *vg_op_session(struct vg_file_op *op)
{
	if (op->session)
		return op->session;
	return op->link && !op->link->gone ? vg_session_find(op->pool->env, op->link->session) : NULL;
}

int vg_op_park(struct vg_file_op *op)
{
	struct vg_file_link *link = op->link;
	struct vg_session *session = vg_op_session(op);

	if (link->parked >= VG_FILE_PARKED_MAX)
		return -ENOLCK;
	op->parked = true;
	link->parked++;
	if (session) {
		session->owed = link->in_flight > link->parked;
		session->working = true;
	}
	return 0;
}

/* ---- helper threads -------------------------------------------------------------------------------------------- */

static int work(void *argument)
{
	struct vg_file_op *op = argument;

	vg_disk_enter();
	return op->work(op);
}

static void on_worked(void *owner, const struct vg_io_event *event)
{
	struct vg_file_op *op = owner;

	vg_env_turn(op->pool->env);
	op->io_op = 0;
	op->done(op, event->result);
}

static void begin_work(struct vg_file_op *op, int (*work_fn)(struct vg_file_op *op),
		       void (*done)(struct vg_file_op *op, int result), bool brief)
{
	struct vg_io *io = op->pool->env->io;
	int error;

	if (vg_op_keep(op))
		return;
	op->work = work_fn;
	op->done = done;
	error = (brief ? vg_io_call_brief : vg_io_call)(io, work, op, on_worked, op, &op->io_op);
	if (error)
		done(op, error);
}

void vg_op_work(struct vg_file_op *op, int (*work_fn)(struct vg_file_op *op),
		void (*done)(struct vg_file_op *op, int result))
{
	begin_work(op, work_fn, done, true);
}

void vg_op_work_long(struct vg_file_op *op, int (*work_fn)(struct vg_file_op *op),
		     void (*done)(struct vg_file_op *op, int result))
{
	begin_work(op, work_fn, done, false);
}
