// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * FILE_WATCH: changes that clients want to hear of. One inotify descriptor for all; what is watched has one number
 * there (a target), however many watch it, and each of them gets the events of its own mask.
 *
 * In a cluster a change of a name is seen by several nodes: the file's home, its name node that has the stub, and
 * where copies of the directory are. Its name node alone tells of it; of bytes and attributes the home does.
 */
#include <errno.h>
#include <string.h>
#include <sys/inotify.h>

#include "svc/file/disk.h"
#include "svc/file/hold.h"

#define WATCHES_MAX 8192	/* of the node */
#define WATCHES_CLIENT_MAX 1024 /* of one session */
#define BUCKETS 1024
#define EVENTS_BYTES 65536	/* read at once */
#define AGAIN_NS 100000000ull	/* who had no room for an event is told so a little later */
#define NAMES (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define ALWAYS (IN_IGNORED | IN_UNMOUNT) /* the end of a watch */

struct watch {
	struct watch *next_of_target, *next_of_client;
	struct target *target;
	struct vg_file_client *client;
	__u64 wire_client, ident;
	__u32 mask;
	bool lost; /* events were: it is to be told */
};

struct target {
	struct target *next; /* of its bucket */
	int number;
	bool root;
	struct watch *watches;
};

struct watches {
	int fd;
	vg_io_op op;
	__u32 count, adding; /* adding: on helper threads; their targets are not known here yet */
	__u64 idents;
	bool telling; /* a timer runs for those that lost something */
	struct target *bucket[BUCKETS];
	__u8 events[EVENTS_BYTES] __attribute__((aligned(8)));
};

static struct watches *watches_of(const struct vg_file_pool *pool)
{
	return pool->watches;
}

static void count(struct vg_file_pool *pool)
{
	__atomic_store_n(&pool->counts.watches, watches_of(pool)->count, __ATOMIC_RELAXED);
}

/* ---- what is watched ------------------------------------------------------------------------------------------- */

static struct target **target_link(struct watches *watches, int number)
{
	struct target **link = &watches->bucket[(__u32)number % BUCKETS];

	while (*link && (*link)->number != number)
		link = &(*link)->next;
	return link;
}

static void target_free(struct vg_file_pool *pool, struct target *target)
{
	*target_link(pool->watches, target->number) = target->next;
	vg_file_free(pool, target);
}

/*
 * Nobody watches it any more. While somebody else is adding one, which may be of the same thing, it stays: its events
 * are dropped, until the next one goes.
 */
static void target_release(struct vg_file_pool *pool, struct target *target)
{
	struct watches *watches = pool->watches;

	if (target->watches || watches->adding)
		return;
	vg_disk_unwatch(watches->fd, target->number);
	target_free(pool, target);
}

/* Those that were kept because somebody was adding. */
static void release_unused(struct vg_file_pool *pool)
{
	struct watches *watches = pool->watches;

	if (watches->adding)
		return;
	for (__u32 i = 0; i < BUCKETS; i++)
		for (struct target *target = watches->bucket[i], *next; target; target = next) {
			next = target->next;
			target_release(pool, target);
		}
}

/* It is out of its target's list. */
static void watch_free(struct vg_file_pool *pool, struct watch *watch)
{
	struct watch **link = (struct watch **)&watch->client->watches;

	while (*link != watch)
		link = &(*link)->next_of_client;
	*link = watch->next_of_client;
	watches_of(pool)->count--;
	count(pool);
	vg_file_free(pool, watch);
}

static void watch_end(struct vg_file_pool *pool, struct watch *watch)
{
	struct target *target = watch->target;
	struct watch **link = &target->watches;

	while (*link != watch)
		link = &(*link)->next_of_target;
	*link = watch->next_of_target;
	watch_free(pool, watch);
	target_release(pool, target);
}

/* ---- events ---------------------------------------------------------------------------------------------------- */

static void on_tell_again(void *context);

static bool tell(struct watch *watch, __u32 mask, __u32 cookie, const char *name, __u32 length)
{
	struct vg_file_pool *pool = watch->client->pool;
	struct {
		struct vg_file_event event;
		char name[VG_FILE_NAME_MAX];
	} body;

	body.event = (struct vg_file_event){
		.mask = VG_HTOBE32(mask), .cookie = VG_HTOBE32(cookie), .name_length = VG_HTOBE32(length)
	};
	memcpy(body.name, name, length);
	if (!vg_file_tell(watch->client, watch->wire_client, VG_OP_FILE_EVENT, watch->ident, &body,
			  (__u32)sizeof(body.event) + length))
		return false;
	__atomic_store_n(&pool->counts.events, pool->counts.events + 1, __ATOMIC_RELAXED);
	return true;
}

static void tell_or_lose(struct watch *watch, __u32 mask, __u32 cookie, const char *name, __u32 length)
{
	struct vg_file_pool *pool = watch->client->pool;
	struct watches *watches = pool->watches;

	if (watch->lost)
		watch->lost = !tell(watch, IN_Q_OVERFLOW, 0, "", 0);
	if (!watch->lost && mask != IN_Q_OVERFLOW)
		watch->lost = !tell(watch, mask, cookie, name, length);
	if (watch->lost && !watches->telling && !pool->stopping)
		watches->telling = !vg_env_timer(pool->env, AGAIN_NS, on_tell_again, pool);
}

static void on_tell_again(void *context)
{
	struct vg_file_pool *pool = context;
	struct watches *watches = pool->watches;

	if (!watches) /* it has ended */
		return;
	watches->telling = false;
	for (__u32 i = 0; i < BUCKETS; i++)
		for (struct target *target = watches->bucket[i]; target; target = target->next)
			for (struct watch *watch = target->watches; watch; watch = watch->next_of_target)
				if (watch->lost)
					tell_or_lose(watch, IN_Q_OVERFLOW, 0, "", 0);
}

/* The kernel had no room: everybody may have lost something. */
static void lose_all(struct vg_file_pool *pool)
{
	struct watches *watches = pool->watches;

	for (__u32 i = 0; i < BUCKETS; i++)
		for (struct target *target = watches->bucket[i]; target; target = target->next)
			for (struct watch *watch = target->watches; watch; watch = watch->next_of_target) {
				watch->lost = true;
				tell_or_lose(watch, IN_Q_OVERFLOW, 0, "", 0);
			}
}

/* Whether this node tells of what happened to that name. */
static bool is_ours(const struct vg_file_pool *pool, const struct target *target, __u32 mask, const char *name,
		    __u32 length)
{
	if (!length)
		return true;
	if (target->root && length >= VG_FILE_RESERVED_LENGTH &&
	    !memcmp(name, VG_FILE_RESERVED, VG_FILE_RESERVED_LENGTH))
		return false;
	return pool->alone || !(mask & NAMES) ||
	       vg_cluster_owner(pool->env->cluster, vg_file_partition(name, length)) == pool->self;
}

static void take_event(struct vg_file_pool *pool, const struct inotify_event *event)
{
	struct target *target = *target_link(pool->watches, event->wd);
	__u32 length = event->len ? (__u32)strnlen(event->name, event->len) : 0;

	if (event->mask & IN_Q_OVERFLOW) {
		lose_all(pool);
		return;
	}
	if (!target || length > VG_FILE_NAME_MAX || !is_ours(pool, target, event->mask, event->name, length))
		return;
	for (struct watch *watch = target->watches; watch; watch = watch->next_of_target)
		if (event->mask & (watch->mask | ALWAYS))
			tell_or_lose(watch, event->mask, event->cookie, event->name, length);
	if (!(event->mask & IN_IGNORED))
		return;
	while (target->watches) { /* it is no more, and its number may be another's soon */
		struct watch *watch = target->watches;

		target->watches = watch->next_of_target;
		watch_free(pool, watch);
	}
	target_free(pool, target);
}

static int read_events(struct vg_file_pool *pool);

static void on_events(void *owner, const struct vg_io_event *event)
{
	struct vg_file_pool *pool = owner;
	struct watches *watches = pool->watches;
	size_t length = event->result > 0 ? (size_t)event->result : 0;

	vg_env_turn(pool->env);
	watches->op = 0;
	for (size_t at = 0; at + sizeof(struct inotify_event) <= length;) {
		const struct inotify_event *one = (const void *)(watches->events + at);

		at += sizeof(*one) + one->len;
		if (at <= length)
			take_event(pool, one);
	}
	if (event->result < 0 && event->result != -EINTR && event->result != -EAGAIN)
		lose_all(pool);
	if (!pool->stopping && read_events(pool))
		lose_all(pool);
}

static int read_events(struct vg_file_pool *pool)
{
	struct watches *watches = pool->watches;
	const struct iovec vector = { watches->events, sizeof(watches->events) };

	return vg_io_read(pool->env->io, watches->fd, &vector, 1, VG_IO_STREAM, on_events, pool, &watches->op);
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

static int work(struct vg_file_op *op)
{
	return vg_disk_watch(op->pool->root_fd, watches_of(op->pool)->fd, op->path, (__u32)op->argument, op->target);
}

static struct target *target_get(struct vg_file_pool *pool, int number, bool root)
{
	struct target **link = target_link(pool->watches, number), *target = *link;

	if (target)
		return target;
	target = vg_file_alloc(pool, sizeof(*target));
	if (target) {
		*target = (struct target){ .number = number, .root = root };
		*link = target;
	}
	return target;
}

static int begin(struct vg_file_op *op, int number)
{
	struct vg_file_pool *pool = op->pool;
	struct watches *watches = pool->watches;
	struct target *target = target_get(pool, number, !op->path_length);
	struct watch *watch;

	if (!target) {
		vg_disk_unwatch(watches->fd, number);
		return -ENOMEM;
	}
	watch = op->client->ended ? NULL : vg_file_alloc(pool, sizeof(*watch));
	if (!watch) {
		target_release(pool, target);
		return op->client->ended ? -ESTALE : -ENOMEM;
	}
	*watch = (struct watch){
		.next_of_target = target->watches,
		.next_of_client = op->client->watches,
		.target = target,
		.client = op->client,
		.wire_client = op->wire_client,
		.ident = (__u64)pool->self << VG_FILE_NODE_SHIFT | ++watches->idents,
		.mask = (__u32)op->argument,
	};
	target->watches = op->client->watches = watch;
	watches->count++;
	count(pool);
	op->answer.ident = watch->ident;
	return 0;
}

static void done(struct vg_file_op *op, int number)
{
	struct vg_file_pool *pool = op->pool;
	int error = number < 0 ? number : 0;

	watches_of(pool)->adding--;
	error = error ?: begin(op, number);
	release_unused(pool);
	if (error)
		vg_op_fail(op, error);
	else
		vg_op_ok(op);
}

static bool too_many(const struct vg_file_client *client)
{
	__u32 own = 0;

	for (const struct watch *watch = client->watches; watch; watch = watch->next_of_client)
		own++;
	return own >= WATCHES_CLIENT_MAX || watches_of(client->pool)->count >= WATCHES_MAX;
}

void vg_watch_run(struct vg_file_op *op)
{
	struct watches *watches = op->pool->watches;
	int error = 0;

	if (!op->argument || op->argument & ~(__u64)IN_ALL_EVENTS)
		error = -EINVAL;
	else if (too_many(op->client))
		error = -ENOSPC;
	if (!error && watches->fd < 0) {
		watches->fd = vg_disk_watcher_new();
		error = watches->fd < 0 ? watches->fd : 0;
	}
	if (!error && !watches->op)
		error = read_events(op->pool);
	if (error) {
		vg_op_fail(op, error);
		return;
	}
	watches->adding++;
	vg_op_work(op, work, done);
}

void vg_unwatch_run(struct vg_file_op *op)
{
	struct watch *watch = op->client->watches;

	while (watch && watch->ident != op->ident)
		watch = watch->next_of_client;
	if (!watch) {
		vg_op_fail(op, -EINVAL);
		return;
	}
	watch_end(op->pool, watch);
	vg_op_ok(op);
}

/* ---- beginning and endings ------------------------------------------------------------------------------------- */

void vg_watch_client_ended(struct vg_file_client *client)
{
	while (client->watches)
		watch_end(client->pool, client->watches);
}

int vg_watches_init(struct vg_file_pool *pool)
{
	struct watches *watches = vg_file_alloc(pool, sizeof(*watches));

	if (!watches)
		return -ENOMEM;
	memset(watches, 0, offsetof(struct watches, events));
	watches->fd = -1;
	pool->watches = watches;
	return 0;
}

/* A read may be under way, into memory that is then left to the heap tier. */
void vg_watches_deinit(struct vg_file_pool *pool)
{
	struct watches *watches = pool->watches;

	if (!watches)
		return;
	if (watches->fd >= 0)
		vg_io_close(pool->env->io, watches->fd);
	if (watches->op)
		vg_io_cancel(pool->env->io, watches->op);
	pool->watches = NULL;
	if (!watches->op)
		vg_file_free(pool, watches);
}
