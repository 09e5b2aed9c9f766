/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pool/wal_private.h"

#define SYNC_INTERVAL_NS 500000000ULL	/* so that with the time it takes it is a second */
#define WRITE_LAG_NS 500000000ULL	/* everysec: older changes than that should be written, … */
#define SYNC_LAG_NS 1000000000ULL	/* … and these synced; else no more are taken until they are */

_Thread_local __u64 vg_wal_thread_sequence;
static _Thread_local bool in_transaction; /* this thread holds the lock from BEGIN to END */

/* ---- taking changes -------------------------------------------------------------------------------------------- */

static struct region *filling(struct vg_wal *wal)
{
	return &wal->region[wal->filling];
}

static struct region *going_out(struct vg_wal *wal)
{
	return &wal->region[!wal->filling];
}

static bool is_empty(const struct region *region)
{
	return region->used == REGION_HEAD;
}

/* Room for a record behind what is there, or NULL: then the log is broken. */
static __u8 *reserve(struct vg_wal *wal, __u64 bytes)
{
	struct region *region = filling(wal);

	if (wal->wants_snapshot)
		return NULL;
	if (bytes > VG_RECORD_BYTES_MAX || region->used + bytes > REGION_BYTES) {
		vg_wal_break(wal, -ENOBUFS);
		return NULL;
	}
	return region->memory + region->used;
}

/* The record at the end of the region is a change of its own: number it. */
static void finish_record(struct vg_wal *wal, void *record, __u64 bytes)
{
	struct region *region = filling(wal);

	vg_record_seal(record, vg_record_body_crc(record), wal->sequence);
	if (is_empty(region))
		region->first = wal->sequence;
	region->last = wal->sequence;
	region->used += bytes;
	__atomic_store_n(&wal->pending, region->used - REGION_HEAD, __ATOMIC_RELAXED);
}

static void begin_transaction(struct vg_wal *wal)
{
	vg_lock_take(&wal->lock);
	in_transaction = true;
	wal->transaction = sizeof(struct vg_record_header);
}

static void add_to_transaction(struct vg_wal *wal, struct vg_observed *observed, __u64 bytes)
{
	__u8 *at = reserve(wal, wal->transaction + bytes);

	observed->sequence = wal->sequence + 1;
	if (!at)
		return;
	vg_record_write(at + wal->transaction, observed);
	wal->transaction += bytes;
}

static void end_transaction(struct vg_wal *wal)
{
	__u8 *at = reserve(wal, wal->transaction);

	if (wal->transaction > sizeof(struct vg_record_header)) {
		vg_wal_thread_sequence = ++wal->sequence;
		if (at) {
			vg_record_write_transaction(at, wal->transaction - sizeof(struct vg_record_header));
			finish_record(wal, at, wal->transaction);
		}
	}
	wal->transaction = 0;
	in_transaction = false;
	vg_lock_give(&wal->lock);
}

static void add_record(struct vg_wal *wal, struct vg_observed *observed, __u64 bytes)
{
	__u8 *at;

	vg_lock_take(&wal->lock);
	at = reserve(wal, bytes);
	observed->sequence = vg_wal_thread_sequence = ++wal->sequence;
	if (at) {
		vg_record_write(at, observed);
		finish_record(wal, at, bytes);
	}
	vg_lock_give(&wal->lock);
}

void vg_wal_observe(void *context, struct vg_observed *observed)
{
	struct vg_wal *wal = context;
	__u64 bytes;

	if (observed->kind == VG_OBSERVED_BEGIN) {
		begin_transaction(wal);
		return;
	}
	if (observed->kind == VG_OBSERVED_END) {
		end_transaction(wal);
		return;
	}
	bytes = vg_record_bytes(observed);
	if (!bytes)
		return;
	if (in_transaction)
		add_to_transaction(wal, observed, bytes);
	else
		add_record(wal, observed, bytes);
}

/* ---- what failed ----------------------------------------------------------------------------------------------- */

void vg_wal_set_error(struct vg_wal *wal, int error)
{
	if (error && !wal->error)
		wal->stats.failures++;
	__atomic_store_n(&wal->error, error, __ATOMIC_RELEASE);
}

static void region_reset(struct vg_wal *wal, struct region *region)
{
	if (region->used > REGION_KEEP_BYTES)
		(void)madvise(region->memory + REGION_KEEP_BYTES, region->used - REGION_KEEP_BYTES, MADV_DONTNEED);
	region->used = REGION_HEAD;
	if (region == filling(wal))
		__atomic_store_n(&wal->pending, 0, __ATOMIC_RELAXED);
}

/* The file being written ends where its last whole batch does. */
static void retire(struct vg_wal *wal)
{
	if (wal->fd < 0)
		return;
	assert(wal->retired.fd < 0);
	wal->retired = (struct retired){ wal->fd, wal->position, wal->written, wal->written_ns };
	if (wal->files < wal->files_room) {
		wal->file[wal->files].number = wal->number;
		wal->file[wal->files].last = wal->written;
		wal->file[wal->files++].bytes = wal->position;
	}
	wal->fd = -1;
	vg_wal_keep_wake(wal);
}

void vg_wal_break(struct vg_wal *wal, int error)
{
	vg_wal_set_error(wal, error);
	__atomic_store_n(&wal->wants_snapshot, true, __ATOMIC_RELEASE);
}

/* Nobody is writing: forget what will not be written. */
static void drop_broken(struct vg_wal *wal)
{
	for (int i = 0; i < 2; i++)
		region_reset(wal, &wal->region[i]);
	wal->out_sealed = false;
	if (wal->retired.fd < 0)
		retire(wal);
}

/* The batch stays where it is, and is written again, whole, to another file. */
static void fail_write(struct vg_wal *wal, int error, __u64 now_ns)
{
	vg_wal_set_error(wal, error);
	wal->retry_ns = now_ns + VG_WAL_RETRY_NS;
	wal->out_at = VG_RECORD_SEGMENT_BYTES;
	wal->position = wal->batch_position;
	if (wal->fd >= 0 && wal->retired.fd < 0)
		retire(wal);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static void seal(struct vg_wal *wal, __u64 now_ns)
{
	struct region *region = filling(wal);

	region->sealed_ns = now_ns;
	vg_record_write_batch(region->memory + VG_RECORD_SEGMENT_BYTES, region->first, wal->durable);
	__atomic_store_n(&wal->sealed, region->last, __ATOMIC_RELEASE);
	wal->filling = !wal->filling;
	wal->out_sealed = true;
	wal->out_at = VG_RECORD_SEGMENT_BYTES;
	__atomic_store_n(&wal->pending, 0, __ATOMIC_RELAXED);
}

/* A file that takes the batch. False: the keeper has none ready. */
static bool have_file(struct vg_wal *wal)
{
	struct region *region = going_out(wal);
	__u64 bytes = region->used - VG_RECORD_SEGMENT_BYTES;

	if (wal->fd >= 0 && wal->position + bytes <= wal->config.segment_bytes)
		return true;
	if (wal->next_fd < 0 || wal->retired.fd >= 0) {
		wal->waits_for_next = true;
		if (wal->keeper_error)
			vg_wal_set_error(wal, wal->keeper_error);
		vg_wal_keep_wake(wal);
		return false;
	}
	retire(wal);
	wal->fd = wal->next_fd;
	wal->number = wal->next_number;
	wal->position = 0;
	wal->next_fd = -1;
	wal->waits_for_next = false;
	wal->out_at = 0;
	vg_record_write_segment(region->memory, region->first, wal->config.identity, wal->number, wal->config.node);
	vg_wal_keep_wake(wal);
	return true;
}

static void write_step(struct vg_wal *wal, struct vg_wal_step *ret_step)
{
	struct region *region = going_out(wal);

	wal->writing = true;
	wal->syncing = false;
	*ret_step = (struct vg_wal_step){
		.what = VG_WAL_WRITE,
		.fd = wal->fd,
		.data = region->memory + wal->out_at,
		.bytes = region->used - wal->out_at,
		.offset = wal->position,
		.durable = wal->sync == VG_WAL_SYNC_ALWAYS && wal->written == wal->durable,
	};
}

static bool sync_is_due(const struct vg_wal *wal, __u64 now_ns)
{
	if (wal->written == wal->durable || wal->fd < 0 || wal->retired.fd >= 0)
		return false;
	return wal->sync == VG_WAL_SYNC_ALWAYS ||
	       (wal->sync == VG_WAL_SYNC_EVERYSEC && now_ns >= wal->synced_ns + SYNC_INTERVAL_NS);
}

/* With the lock, and nobody writing. */
static bool choose(struct vg_wal *wal, __u64 now_ns, struct vg_wal_step *ret_step)
{
	if (wal->wants_snapshot) {
		drop_broken(wal);
		return false;
	}
	if (wal->error && now_ns < wal->retry_ns)
		return false;
	if (sync_is_due(wal, now_ns)) {
		wal->writing = wal->syncing = true;
		*ret_step = (struct vg_wal_step){ .what = VG_WAL_SYNC, .fd = wal->fd };
		return true;
	}
	if (!wal->out_sealed) {
		if (is_empty(filling(wal)))
			return false;
		seal(wal, now_ns);
	}
	if (!have_file(wal))
		return false;
	wal->batch_position = wal->position;
	write_step(wal, ret_step);
	return true;
}

/* A second's promise cannot be kept by memory that waits: then those who write wait too. */
static void update_lag(struct vg_wal *wal, __u64 now_ns)
{
	bool lags;

	if (is_empty(filling(wal)) && !wal->out_sealed)
		wal->written_ns = now_ns;
	if (wal->durable == wal->written)
		wal->durable_ns = wal->written_ns;
	lags = wal->sync == VG_WAL_SYNC_EVERYSEC &&
	       (now_ns > wal->written_ns + WRITE_LAG_NS || now_ns > wal->durable_ns + SYNC_LAG_NS);
	__atomic_store_n(&wal->lags, lags, __ATOMIC_RELAXED);
}

bool vg_wal_next(struct vg_wal *wal, __u64 now_ns, struct vg_wal_step *ret_step)
{
	bool chosen;

	vg_lock_take(&wal->lock);
	chosen = !wal->writing && choose(wal, now_ns, ret_step);
	update_lag(wal, now_ns);
	vg_lock_give(&wal->lock);
	return chosen;
}

void vg_wal_update_settled(struct vg_wal *wal)
{
	__atomic_store_n(&wal->settled, wal->sync == VG_WAL_SYNC_ALWAYS ? wal->durable : ~0ULL, __ATOMIC_RELEASE);
}

static void synced(struct vg_wal *wal, int result, __u64 now_ns)
{
	if (result < 0) {
		vg_wal_break(wal, result);
		return;
	}
	wal->durable = wal->written;
	wal->durable_ns = wal->written_ns;
	wal->synced_ns = now_ns;
	wal->stats.syncs++;
}

/* True: a part of it is still to be written. */
static bool wrote(struct vg_wal *wal, int result, __u64 now_ns, const struct vg_wal_step *step)
{
	struct region *region = going_out(wal);

	if (result <= 0) {
		fail_write(wal, result ? result : -EIO, now_ns);
		return false;
	}
	wal->position += (__u64)result;
	wal->out_at += (size_t)result;
	wal->stats.bytes += (__u64)result;
	if (wal->out_at < region->used)
		return true;
	if (step->durable)
		wal->durable = region->last;
	wal->written = region->last;
	wal->written_ns = region->sealed_ns;
	wal->stats.batches++;
	wal->out_sealed = false;
	region_reset(wal, region);
	vg_wal_set_error(wal, 0);
	return false;
}

bool vg_wal_done(struct vg_wal *wal, int result, __u64 now_ns, struct vg_wal_step *step)
{
	bool again = result == -EINTR || result == -EAGAIN, more;

	vg_lock_take(&wal->lock);
	assert(wal->writing);
	if (!again && wal->syncing)
		synced(wal, result, now_ns);
	else if (!again)
		again = wrote(wal, result, now_ns, step);
	if (again && !wal->syncing) {
		bool durable = step->durable;

		write_step(wal, step);
		step->durable = durable;
	}
	wal->writing = again;
	vg_wal_update_settled(wal);
	/* Under `always` the next batch is not begun here: it may be worth waiting for those who are answered now. */
	more = again || ((wal->sync != VG_WAL_SYNC_ALWAYS || wal->written != wal->durable) &&
			 choose(wal, now_ns, step));
	update_lag(wal, now_ns);
	vg_lock_give(&wal->lock);
	return more;
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

__u64 vg_wal_sequence(struct vg_wal *wal)
{
	__u64 sequence;

	vg_lock_take(&wal->lock);
	sequence = wal->sequence;
	vg_lock_give(&wal->lock);
	return sequence;
}

__u64 vg_wal_settled(const struct vg_wal *wal)
{
	return __atomic_load_n(&wal->settled, __ATOMIC_ACQUIRE);
}

__u64 vg_wal_sealed(const struct vg_wal *wal)
{
	return __atomic_load_n(&wal->sealed, __ATOMIC_ACQUIRE);
}

int vg_wal_error(const struct vg_wal *wal)
{
	return __atomic_load_n(&wal->error, __ATOMIC_ACQUIRE);
}

bool vg_wal_wants_snapshot(struct vg_wal *wal)
{
	return __atomic_load_n(&wal->wants_snapshot, __ATOMIC_ACQUIRE);
}

bool vg_wal_full(const struct vg_wal *wal)
{
	return __atomic_load_n(&wal->pending, __ATOMIC_RELAXED) > VG_WAL_HIGH_BYTES ||
	       __atomic_load_n(&wal->lags, __ATOMIC_RELAXED);
}

enum vg_wal_sync vg_wal_sync(const struct vg_wal *wal)
{
	return __atomic_load_n(&wal->sync, __ATOMIC_RELAXED);
}

void vg_wal_set_sync(struct vg_wal *wal, enum vg_wal_sync sync)
{
	vg_lock_take(&wal->lock);
	__atomic_store_n(&wal->sync, sync, __ATOMIC_RELAXED);
	vg_wal_update_settled(wal);
	vg_lock_give(&wal->lock);
	vg_wal_wake(wal);
}

static const char *const sync_words[VG_WAL_SYNC_MAX] = { "no", "everysec", "always" };

int vg_wal_sync_parse(const char *word, enum vg_wal_sync *ret_sync)
{
	for (int i = 0; i < VG_WAL_SYNC_MAX; i++)
		if (!strcmp(word, sync_words[i])) {
			*ret_sync = (enum vg_wal_sync)i;
			return 0;
		}
	return -EINVAL;
}

const char *vg_wal_sync_text(enum vg_wal_sync sync)
{
	return sync_words[sync];
}

void vg_wal_stats(struct vg_wal *wal, struct vg_wal_stats *ret_stats)
{
	vg_lock_take(&wal->lock);
	*ret_stats = wal->stats;
	ret_stats->sequence = wal->sequence;
	ret_stats->written = wal->written;
	ret_stats->durable = wal->durable;
	ret_stats->pending_bytes = filling(wal)->used + going_out(wal)->used - 2 * REGION_HEAD;
	ret_stats->segments = wal->files + (wal->fd >= 0);
	ret_stats->current_bytes = wal->fd >= 0 ? wal->position : 0;
	for (__u32 i = 0; i < wal->files; i++)
		ret_stats->current_bytes += wal->file[i].bytes;
	ret_stats->error = wal->error;
	ret_stats->keeper_error = wal->keeper_error;
	ret_stats->wants_snapshot = wal->wants_snapshot;
	ret_stats->sync = wal->sync;
	vg_lock_give(&wal->lock);
}

/* ---- making and ending ----------------------------------------------------------------------------------------- */

static int map_region(struct region *region)
{
	void *memory = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	region->memory = memory;
	region->used = REGION_HEAD;
	return 0;
}

#define FILES_MAX 65536 /* what a directory may hold of them; more are kept until the next start */

int vg_wal_new(struct vg_wal **ret_wal, const struct vg_wal_config *config)
{
	struct vg_wal *wal = aligned_alloc(64, VG_ALIGN_UP(sizeof(*wal), 64UL));
	int error;

	if (!wal)
		return -ENOMEM;
	memset(wal, 0, sizeof(*wal));
	wal->config = *config;
	wal->sync = config->sync;
	wal->sequence = wal->written = wal->durable = wal->sealed = config->sequence;
	wal->last_number = config->segment;
	wal->fd = wal->next_fd = wal->retired.fd = -1;
	sem_init(&wal->keeper, 0, 1);
	vg_wal_update_settled(wal);
	wal->file = calloc(FILES_MAX, sizeof(*wal->file));
	wal->files_room = wal->file ? FILES_MAX : 0;
	error = wal->file ? map_region(&wal->region[0]) ?: map_region(&wal->region[1]) : -ENOMEM;
	if (error) {
		vg_wal_free(wal);
		return error;
	}
	*ret_wal = wal;
	return 0;
}

static int carry_out(const struct vg_wal_step *step)
{
	ssize_t result;

	if (step->what == VG_WAL_SYNC)
		return fdatasync(step->fd) ? -errno : 0;
	result = pwrite(step->fd, step->data, step->bytes < 1u << 30 ? step->bytes : 1u << 30, (off_t)step->offset);
	if (result > 0 && step->durable && fdatasync(step->fd))
		return -errno;
	return result < 0 ? -errno : (int)result;
}

int vg_wal_finish(struct vg_wal *wal)
{
	struct vg_wal_step step;
	struct vg_wal_stats stats;

	/* Every round writes what there is or makes a file ready for it; two that do neither are an error. */
	for (int idle = 0; idle < 2; idle++) {
		bool more = vg_wal_next(wal, ~0ULL >> 1, &step);

		for (; more; idle = 0)
			more = vg_wal_done(wal, carry_out(&step), ~0ULL >> 1, &step);
		vg_wal_keep(wal);
	}
	vg_lock_take(&wal->lock);
	if (!wal->error && wal->fd >= 0 && wal->written > wal->durable && !fdatasync(wal->fd))
		wal->durable = wal->written;
	vg_lock_give(&wal->lock);
	vg_wal_stats(wal, &stats);
	return stats.error ? stats.error : stats.pending_bytes ? -EIO : 0;
}

void vg_wal_free(struct vg_wal *wal)
{
	if (!wal)
		return;
	for (int i = 0; i < 2; i++)
		if (wal->region[i].memory)
			munmap(wal->region[i].memory, REGION_BYTES);
	if (wal->fd >= 0)
		close(wal->fd);
	if (wal->next_fd >= 0)
		close(wal->next_fd);
	if (wal->retired.fd >= 0)
		close(wal->retired.fd);
	close(wal->config.directory_fd);
	sem_destroy(&wal->keeper);
	free(wal->file);
	free(wal);
}
