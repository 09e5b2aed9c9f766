/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/snapshot.h"

#include <errno.h>
#include <string.h>

#include "pool/lock.h"
#include "pool/snapshot.h"
#include "svc/mem/handle.h"
#include "svc/mem/shared.h"
#include "virgo/hash.h"

#define REAP_NS 5000000000ULL
#define PACKED_MAX (16u << 20) /* what a packed block of a client may unpack to */

/* A backup under way: what the source gave last, and how much of it has been sent. */
struct backup {
	__u64 view; /* 0: free */
	bool busy;  /* a worker is at it */
	bool last;
	struct vg_snapshot_source *source;
	struct iovec vectors[VG_SNAPSHOT_VECTORS];
	int count, first;
};

struct vg_backups {
	const struct vg_mem *mem;
	struct vg_lock lock;
	bool reaping; /* a timer is armed */
	struct backup backup[VG_BACKUPS_MAX];
};

int vg_backups_new(struct vg_backups **ret_backups, const struct vg_mem *mem)
{
	struct vg_backups *backups = mem->alloc(mem->context, sizeof(*backups));

	if (!backups)
		return -ENOMEM;
	*backups = (struct vg_backups){ .mem = mem };
	*ret_backups = backups;
	return 0;
}

void vg_backups_free(struct vg_backups *backups)
{
	if (!backups)
		return;
	for (int i = 0; i < VG_BACKUPS_MAX; i++)
		vg_snapshot_source_free(backups->backup[i].source);
	backups->mem->free(backups->mem->context, backups);
}

static void say(struct vg_mem_answer *answer, __u8 status, const char *text)
{
	answer->status = status;
	answer->text = text;
}

static void say_error(struct vg_mem_answer *answer, int error)
{
	switch (error) {
	case -ESTALE:
		return say(answer, VG_STATUS_GONE, "there is no such snapshot: it was closed, or never opened");
	case -ENOSPC:
		return say(answer, VG_STATUS_GONE,
			   "the snapshot was ended: more was changed meanwhile than there is memory to keep");
	case -ETIMEDOUT:
		return say(answer, VG_STATUS_GONE, "the snapshot was ended: nobody asked for it for too long");
	case -EBUSY:
		return say(answer, VG_STATUS_BUSY, "too many snapshots are open, or all keys are just being removed");
	case -EILSEQ:
		return say(answer, VG_STATUS_BAD_REQUEST, "the block is damaged, or is none");
	}
	say(answer, vg_mem_status_of(error), NULL);
}

static __u64 lease_until_ms(const struct vg_env *env)
{
	return vg_clock_unix_ms(env->clock) + VG_SNAPSHOT_LEASE_MS;
}

/* ---- backups --------------------------------------------------------------------------------------------------- */

/* Take it for this worker. NULL: there is none (0), or somebody is at it (-EALREADY). */
static struct backup *backup_take(struct vg_backups *backups, __u64 view, int *ret_error)
{
	struct backup *found = NULL;

	*ret_error = 0;
	vg_lock_take(&backups->lock);
	for (int i = 0; i < VG_BACKUPS_MAX && view; i++)
		if (backups->backup[i].view == view)
			found = &backups->backup[i];
	if (found && found->busy) {
		*ret_error = -EALREADY;
		found = NULL;
	} else if (found) {
		found->busy = true;
	}
	vg_lock_give(&backups->lock);
	return found;
}

static void backup_give(struct vg_backups *backups, struct backup *backup)
{
	vg_lock_take(&backups->lock);
	backup->busy = false;
	vg_lock_give(&backups->lock);
}

static void backup_end(struct vg_backups *backups, struct backup *backup)
{
	vg_snapshot_source_free(backup->source);
	vg_lock_take(&backups->lock);
	*backup = (struct backup){ 0 };
	vg_lock_give(&backups->lock);
}

/* Now and then, while there are backups: what has lost its view is let go. */
static void reap(void *context)
{
	struct vg_env *env = context;
	struct vg_backups *backups = vg_mem_shared(env)->backups;
	bool any = false;
	int error;

	for (int i = 0; i < VG_BACKUPS_MAX; i++) {
		__u64 view = __atomic_load_n(&backups->backup[i].view, __ATOMIC_RELAXED);
		struct backup *backup = view ? backup_take(backups, view, &error) : NULL;

		if (backup && vg_cut_check(env->store, view, 0))
			backup_end(backups, backup);
		else if (backup)
			backup_give(backups, backup);
		any |= view != 0;
	}
	vg_lock_take(&backups->lock);
	backups->reaping = any && !vg_env_timer(env, REAP_NS, reap, env);
	vg_lock_give(&backups->lock);
}

static int backup_open(struct vg_env *env, bool compress, __u64 *ret_view)
{
	struct vg_backups *backups = vg_mem_shared(env)->backups;
	const struct vg_snapshot_source_config config = {
		.store = env->store,
		.now_ms = vg_clock_unix_ms(env->clock),
		.lease_until_ms = lease_until_ms(env),
		.identity = vg_env_random(env),
		.node = vg_cluster_self(env->cluster),
		.compress = compress,
	};
	struct vg_snapshot_source *source;
	struct backup *free = NULL;
	int error = vg_snapshot_source_new(&source, &config);

	if (error)
		return error;
	vg_lock_take(&backups->lock);
	for (int i = 0; i < VG_BACKUPS_MAX && !free; i++)
		free = backups->backup[i].view ? NULL : &backups->backup[i];
	if (free)
		*free = (struct backup){ .view = vg_snapshot_source_view(source), .source = source };
	if (free && !backups->reaping)
		backups->reaping = !vg_env_timer(env, REAP_NS, reap, env);
	vg_lock_give(&backups->lock);
	if (!free) {
		vg_snapshot_source_free(source);
		return -EBUSY;
	}
	*ret_view = vg_snapshot_source_view(source);
	return 0;
}

/* As many bytes as there is room for; fewer only at the end. */
static int backup_fill(struct backup *backup, __u8 *to, __u64 room, __u64 *ret_filled)
{
	__u64 filled = 0;

	while (filled < room) {
		struct iovec *vector = &backup->vectors[backup->first];
		__u64 part;
		int more;

		if (backup->first < backup->count) {
			part = vector->iov_len < room - filled ? vector->iov_len : room - filled;
			memcpy(to + filled, vector->iov_base, part);
			vector->iov_base = (__u8 *)vector->iov_base + part;
			vector->iov_len -= part;
			backup->first += !vector->iov_len;
			filled += part;
			continue;
		}
		if (backup->last)
			break;
		backup->first = 0;
		more = vg_snapshot_source_next(backup->source, backup->vectors, &backup->count);
		if (more < 0)
			return more;
		backup->last = !more;
	}
	*ret_filled = filled;
	return 0;
}

static void read_part(struct vg_env *env, const struct vg_mem_request *request, struct vg_mem_answer *answer)
{
	struct vg_backups *backups = vg_mem_shared(env)->backups;
	struct backup *backup;
	__u64 filled = 0;
	__u8 *part;
	int error = vg_cut_check(env->store, request->ident, lease_until_ms(env)), taken;

	if (error)
		return say_error(answer, error);
	backup = backup_take(backups, request->ident, &taken);
	if (!backup)
		return say(answer, VG_STATUS_BAD_REQUEST,
			   taken ? "somebody else is reading this snapshot" :
				   "this snapshot was not opened for a backup");
	part = vg_handle_data_new(env, VG_SNAPSHOT_PART_BYTES);
	error = part ? backup_fill(backup, part, VG_SNAPSHOT_PART_BYTES, &filled) : -ENOMEM;
	if (!error) {
		answer->argument = 0;
		if (!backup->last || backup->first < backup->count)
			answer->argument = vg_snapshot_source_permille(backup->source) + 1;
		answer->body = part;
		answer->body_length = filled;
		answer->release = vg_handle_data_free;
		answer->release_context = part;
	} else {
		if (part)
			vg_handle_data_free(part);
		say_error(answer, error);
	}
	backup_give(backups, backup);
}

static void close_one(struct vg_env *env, const struct vg_mem_request *request, struct vg_mem_answer *answer)
{
	struct vg_backups *backups = vg_mem_shared(env)->backups;
	int error = vg_cut_check(env->store, request->ident, 0), taken;
	struct backup *backup = backup_take(backups, request->ident, &taken);

	if (taken)
		return say(answer, VG_STATUS_BUSY, "somebody is reading this snapshot");
	if (backup)
		backup_end(backups, backup);
	else
		vg_cut_close(env->store, request->ident);
	if (error)
		say_error(answer, error);
}

static void open_one(struct vg_env *env, const struct vg_mem_request *request, struct vg_mem_answer *answer)
{
	int error;

	if (request->argument & ~(__u64)(VG_SNAPSHOT_FOR_BACKUP | VG_SNAPSHOT_COMPRESS))
		return say(answer, VG_STATUS_BAD_REQUEST, "an unknown kind of snapshot");
	if (request->argument & VG_SNAPSHOT_FOR_BACKUP)
		error = backup_open(env, request->argument & VG_SNAPSHOT_COMPRESS, &answer->ident);
	else
		error = vg_cut_open(env->store, false, vg_clock_unix_ms(env->clock), lease_until_ms(env),
				    &answer->ident);
	if (error)
		say_error(answer, error);
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

static void get_one(struct vg_env *env, const struct vg_mem_request *request, void *buffer,
		    struct vg_mem_answer *answer)
{
	const struct vg_key key = { request->key, request->key_length, request->ident };
	struct vg_block *block = NULL;
	__u16 owner;
	ssize_t length;
	int error = vg_cut_check(env->store, request->argument, lease_until_ms(env));

	if (request->ident != vg_hash64(request->key, request->key_length) ||
	    request->partition != vg_partition_of(request->key, request->key_length))
		return say(answer, VG_STATUS_BAD_REQUEST, "hash or partition is not the key's own");
	if (error)
		return say_error(answer, error);
	owner = vg_cluster_owner(env->cluster, request->partition);
	if (owner != vg_cluster_self(env->cluster)) {
		answer->argument = owner;
		return say(answer, VG_STATUS_WRONG_NODE, NULL);
	}
	length = vg_cut_get(env->store, request->argument, &key, buffer, VG_MEM_BUFFER_BYTES, &block, NULL);
	if (length == -ENOENT)
		return say(answer, VG_STATUS_NOT_FOUND, NULL);
	if (length < 0)
		return say_error(answer, (int)length);
	answer->body = block ? vg_block_data(block) : buffer;
	answer->body_length = (__u64)length;
	answer->release = block ? vg_block_put : NULL;
	answer->release_context = block;
}

/* ---- restoring ------------------------------------------------------------------------------------------------- */

struct loading {
	struct vg_env *env;
	bool replace;
	__u32 stored, skipped; /* skipped: there already, over, or a handle's */
};

static int load_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	const struct vg_record *record = context;

	*change = (struct vg_change){
		.action = VG_CHANGE_STORE,
		.expire_ms = record->expire_ms,
		.client_flags = record->client_flags,
		.marks = record->marks,
		.part = { { record->value, record->value_length } },
		.parts = 1,
	};
	return 0;
}

static int load_absent(void *context, const struct vg_entry *old, struct vg_change *change)
{
	return old->exists ? -EEXIST : load_update(context, old, change);
}

/*
 * Keys of other nodes are theirs to load: every node gets every block. Handles are names of places in the node that
 * gave them: they come back when a node starts from its snapshot, not into one that lives.
 */
static int load_record(void *context, const struct vg_record *record)
{
	struct loading *loading = context;
	struct vg_env *env = loading->env;
	__u64 now_ms = vg_clock_unix_ms(env->clock);
	struct vg_key key;
	int error;

	if (record->kind != VG_RECORD_SET)
		return 0;
	if (vg_cluster_owner(env->cluster, vg_partition_of(record->key, record->key_length)) !=
	    vg_cluster_self(env->cluster))
		return 0;
	if (record->expire_ms && record->expire_ms <= now_ms) {
		loading->skipped++;
		return 0;
	}
	key = (struct vg_key){ record->key, record->key_length, vg_hash64(record->key, record->key_length) };
	error = vg_store_update(env->store, &key, now_ms, loading->replace ? load_update : load_absent,
				(void *)record);
	loading->stored += !error;
	loading->skipped += error == -EEXIST;
	return error == -EEXIST ? 0 : error;
}

static void load(struct vg_env *env, const struct vg_mem_request *request, struct vg_mem_answer *answer)
{
	struct loading loading = { .env = env, .replace = request->argument & VG_SNAPSHOT_REPLACE };
	struct vg_snapshot_counts counts = { 0 };
	struct vg_snapshot_block block;
	int error = -EILSEQ;

	if (request->argument & ~(__u64)VG_SNAPSHOT_REPLACE)
		return say(answer, VG_STATUS_BAD_REQUEST, "an unknown way to load");
	if (request->body_length >= sizeof(block)) {
		memcpy(&block, request->body, sizeof(block));
		error = vg_snapshot_block_check(request->body, block.number, request->body_length - sizeof(block),
						&block);
	}
	if (!error && (block.kind != VG_SNAPSHOT_RECORDS ||
		       sizeof(block) + block.stored_bytes != request->body_length ||
		       (block.codec && block.raw_bytes > PACKED_MAX)))
		error = -EILSEQ;
	if (!error)
		error = vg_snapshot_block_read(request->body, &block, request->ident, &counts, load_record, &loading);
	answer->argument = (__u64)loading.stored << 32 | loading.skipped;
	if (error)
		say_error(answer, error);
}

void vg_mem_snapshot(struct vg_env *env, const struct vg_mem_request *request, void *buffer,
		     struct vg_mem_answer *answer)
{
	*answer = (struct vg_mem_answer){ .ident = request->ident };
	switch (request->opcode) {
	case VG_OP_SNAPSHOT_OPEN:
		return open_one(env, request, answer);
	case VG_OP_SNAPSHOT_GET:
		return get_one(env, request, buffer, answer);
	case VG_OP_SNAPSHOT_READ:
		return read_part(env, request, answer);
	case VG_OP_SNAPSHOT_CLOSE:
		return close_one(env, request, answer);
	case VG_OP_SNAPSHOT_LOAD:
		return load(env, request, answer);
	}
	say(answer, VG_STATUS_UNSUPPORTED, NULL);
}
