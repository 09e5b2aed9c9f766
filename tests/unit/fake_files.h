/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A node around the file pool alone, on a real directory: the functions of svc.h and io.h that it calls. What blocks is
 * done here and now, and its end is told in an order of no order by run(). Included by one file of a test program.
 */
#ifndef TESTS_FAKE_FILES_H
#define TESTS_FAKE_FILES_H

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/out.h"
#include "svc/file/disk.h"
#include "svc/file/file.h"

#define FILES_INPUT_MAX 4096
#define LINKS 2
#define IDENTS 16
#define PENDING_MAX 8192

static void expect(bool holds)
{
	if (!holds)
		abort();
}

/* ---- a node ----------------------------------------------------------------------------------------------------- */

struct vg_cluster {
	__u16 unused;
};
struct vg_io_fake {
	enum { CALL, READ, WRITE, FSYNC } kind;
	vg_io_op number; /* 0: the place is free */
	vg_io_fn fn;
	void *owner;
	vg_io_call_fn call;
	void *argument;
	int fd;
	struct iovec vectors[VG_IO_VECTORS];
	int count;
	__u64 offset;
	bool done;
	int result;
};
struct own_session {
	struct vg_session session; /* first */
	struct vg_out out;
	bool open;
	__u32 generation;
	__u8 input[FILES_INPUT_MAX * 64];
	size_t length;
};

static struct {
	struct vg_env env;
	struct vg_clock clock;
	struct vg_stats stats;
	struct vg_settings settings;
	struct vg_file_settings file;
	struct vg_cluster cluster;
	struct vg_out_pool chunks;
	struct own_session session[LINKS];
	struct vg_io_fake pending[PENDING_MAX];
	vg_io_op last_op;
	int pending_count;
	void (*timer[8])(void *context);
	void *timer_context[8];
	char root[64], outside[64];
	long memory_out;
	__u64 random;
	/* What the answers said. */
	__u64 ident[IDENTS], session_id;
	__u8 secret[16];
	unsigned int answers, events;
} node;

static void *get(void *context, size_t bytes)
{
	void *memory = malloc(bytes);

	expect(memory);
	memset(memory, 0xa5, bytes < 4096 ? bytes : 4096);
	node.memory_out++;
	return memory;
}

static void put(void *context, void *memory)
{
	node.memory_out -= !!memory;
	free(memory);
}

static const struct vg_mem mem = { get, put, NULL };

__u16 vg_cluster_self(const struct vg_cluster *cluster)
{
	return 0;
}
__u16 vg_cluster_nodes(const struct vg_cluster *cluster)
{
	return 1;
}
__u32 vg_cluster_epoch(const struct vg_cluster *cluster)
{
	return 1;
}
__u16 vg_cluster_owner(const struct vg_cluster *cluster, __u16 partition)
{
	return 0;
}
const char *vg_cluster_address(const struct vg_cluster *cluster, __u16 number)
{
	return "192.0.2.1:30000";
}
const __u64 *vg_cluster_key(const struct vg_cluster *cluster)
{
	return NULL;
}
void vg_peers_ask(struct vg_peers *peers, __u16 number, const struct vg_peer_request *request, vg_peer_fn fn,
		  void *context)
{
	abort(); /* there is nobody */
}
__u16 vg_peers_pick(struct vg_peers *peers)
{
	return 0;
}
void vg_env_turn(struct vg_env *env)
{
}
__u64 vg_env_random(struct vg_env *env)
{
	return node.random = node.random * 6364136223846793005ULL + 1442695040888963407ULL;
}
void vg_env_status_json(struct vg_env *env, struct vg_out *out)
{
	vg_out_append(out, "{}", 2);
}
void vg_env_topology_json(struct vg_env *env, struct vg_out *out)
{
	vg_out_append(out, "{}", 2);
}
int vg_env_timer(struct vg_env *env, __u64 delay_ns, void (*fn)(void *context), void *context)
{
	for (int i = 0; i < 8; i++) {
		if (node.timer[i])
			continue;
		node.timer[i] = fn;
		node.timer_context[i] = context;
		return 0;
	}
	return -ENOMEM;
}

void vg_session_pause(struct vg_session *session)
{
	session->paused = true;
}
void vg_session_resume(struct vg_session *session)
{
	session->paused = false;
}
void vg_session_flush(struct vg_session *session)
{
}
bool vg_session_kill(struct vg_env *env, __u64 id)
{
	return true;
}
struct vg_session_ref vg_session_ref(const struct vg_session *session)
{
	const struct own_session *own = (const struct own_session *)session;

	return (struct vg_session_ref){ (__u32)(own - node.session), own->generation };
}
struct vg_session *vg_session_find(struct vg_env *env, struct vg_session_ref ref)
{
	struct own_session *own = &node.session[ref.slot];

	return own->open && own->generation == ref.generation ? &own->session : NULL;
}

/* ---- I/O: done when it is asked to, told later --------------------------------------------------------------------
 */

static int submit(struct vg_io_fake what, vg_io_op *ret_op)
{
	for (int i = 0; i < PENDING_MAX; i++) {
		if (node.pending[i].number)
			continue;
		what.number = ++node.last_op;
		node.pending[i] = what;
		node.pending_count++;
		if (ret_op)
			*ret_op = what.number;
		return 0;
	}
	abort();
}

int vg_io_call(struct vg_io *io, vg_io_call_fn call, void *argument, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return submit((struct vg_io_fake){ CALL, .call = call, .argument = argument, .fn = fn, .owner = owner },
		      ret_op);
}
int vg_io_call_brief(struct vg_io *io, vg_io_call_fn call, void *argument, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return vg_io_call(io, call, argument, fn, owner, ret_op);
}
static int submit_vectors(int kind, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
			  void *owner, vg_io_op *ret_op)
{
	struct vg_io_fake what = { .kind = kind, .fd = fd, .count = count, .offset = offset, .fn = fn, .owner = owner };

	memcpy(what.vectors, vectors, (size_t)count * sizeof(*vectors));
	return submit(what, ret_op);
}
int vg_io_read(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn, void *owner,
	       vg_io_op *ret_op)
{
	return submit_vectors(READ, fd, vectors, count, offset, fn, owner, ret_op);
}
int vg_io_read_aside(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
		     void *owner, vg_io_op *ret_op)
{
	return vg_io_read(io, fd, vectors, count, offset, fn, owner, ret_op);
}
int vg_io_write(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
		void *owner, vg_io_op *ret_op)
{
	return submit_vectors(WRITE, fd, vectors, count, offset, fn, owner, ret_op);
}
int vg_io_write_durable(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
			void *owner, vg_io_op *ret_op)
{
	return submit_vectors(WRITE, fd, vectors, count, offset, fn, owner, ret_op);
}
int vg_io_fsync(struct vg_io *io, int fd, bool data_only, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return submit((struct vg_io_fake){ FSYNC, .fd = fd, .fn = fn, .owner = owner }, ret_op);
}
void vg_io_cancel(struct vg_io *io, vg_io_op op)
{
	for (int i = 0; i < PENDING_MAX; i++)
		if (op && node.pending[i].number == op) {
			node.pending[i].number = 0;
			node.pending_count--;
		}
}
void vg_io_stop(struct vg_io *io, vg_io_op op)
{
}
void vg_io_close(struct vg_io *io, int fd)
{
	close(fd);
}
void vg_io_try_close(struct vg_io *io, int fd)
{
	close(fd);
}
int vg_io_try_open(struct vg_io *io, int dir_fd, const char *path, const struct open_how *how)
{
	return node.random++ % 3 ? vg_disk_open_how(dir_fd, path, how) : -EAGAIN;
}
int vg_io_try_stat(struct vg_io *io, int fd, struct statx *ret_status)
{
	return vg_disk_fstat(fd, ret_status);
}
int vg_io_try_read(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset)
{
	ssize_t got = node.random++ % 3 ? preadv(fd, vectors, count, (off_t)offset) : -1;

	return got < 0 ? -EAGAIN : (int)got;
}
int vg_io_sendto(struct vg_io *io, int fd, const void *data, size_t bytes, const struct sockaddr *peer,
		 socklen_t peer_length)
{
	return 0;
}

static void do_one(struct vg_io_fake *what)
{
	struct pollfd waiting = { .fd = what->fd, .events = POLLIN };
	ssize_t got = 0;

	if (what->done)
		return;
	if (what->kind == READ && what->offset == VG_IO_STREAM && poll(&waiting, 1, 0) < 1)
		return;
	if (what->kind == CALL)
		what->result = what->call(what->argument);
	else if (what->kind == READ && what->offset == VG_IO_STREAM)
		got = readv(what->fd, what->vectors, what->count);
	else if (what->kind == READ)
		got = preadv(what->fd, what->vectors, what->count, (off_t)what->offset);
	else if (what->kind == WRITE)
		got = pwritev(what->fd, what->vectors, what->count, (off_t)what->offset);
	if (what->kind != CALL)
		what->result = got < 0 ? -errno : (int)got;
	what->done = true;
}

/* All that is under way is done, and told in an order of no order; false: there was nothing to tell. */
static bool run_some(void)
{
	int at = (int)(vg_env_random(&node.env) % PENDING_MAX);
	bool any = false;

	for (int n = 0; n < PENDING_MAX && node.pending_count; n++, at = (at + 1) % PENDING_MAX) {
		struct vg_io_fake what;

		if (!node.pending[at].number)
			continue;
		do_one(&node.pending[at]);
		if (!node.pending[at].done)
			continue;
		what = node.pending[at];
		node.pending[at].number = 0;
		node.pending_count--;
		what.fn(what.owner, &(const struct vg_io_event){ .result = what.result });
		any = true;
	}
	return any;
}

static void run(void)
{
	while (run_some())
		;
}

#endif
