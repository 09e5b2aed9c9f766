/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/resp_watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "svc/mem/cmd.h"
#include "svc/mem/mem.h"

#define LARGE_BYTES 65536      /* a request as long as this is timed */
#define EVERYTHING_BELOW_US 1000 /* a threshold below this is passed by ordinary commands: all are timed */
#define WORKERS_MAX 256

struct vg_watch_settings vg_watch_settings = { .slower_than_us = 10000, .slowlog_length_max = 128 };

/* Under the lock: everything below. Slow commands are rare, and the lock is never held for long. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vg_slow_entry *slow[VG_SLOWLOG_ENTRIES_MAX]; /* a ring: slow_first is the oldest */
static int slow_first, slow_count;
static __s64 slow_next_id;
static struct vg_latency latency;
static struct vg_command_count *counts_of_worker[WORKERS_MAX];
static struct vg_command_count *counts_base; /* what had been counted at the last reset */
static const struct vg_mem *counts_base_mem; /* of the node that was made first, when tests run several */

static struct vg_command_count *counts_new(const struct vg_mem *mem)
{
	size_t bytes = (size_t)vg_commands_count * sizeof(struct vg_command_count);
	struct vg_command_count *counts = mem->alloc(mem->context, bytes);

	if (counts)
		memset(counts, 0, bytes);
	return counts;
}

int vg_mem_resp_init(struct vg_env *env)
{
	struct vg_command_count *counts;

	if (env->worker >= WORKERS_MAX)
		return -ENOMEM;
	counts = counts_new(env->mem);
	if (!counts)
		return -ENOMEM;
	pthread_mutex_lock(&lock);
	vg_commands_init();
	if (!counts_base) {
		counts_base = counts_new(env->mem);
		counts_base_mem = env->mem;
	}
	counts_of_worker[env->worker] = counts;
	pthread_mutex_unlock(&lock);
	vg_mem_worker(env)->resp = counts;
	return 0;
}

void vg_mem_resp_deinit(struct vg_env *env)
{
	const struct vg_mem *mem = env->mem;
	bool last = true;

	pthread_mutex_lock(&lock);
	mem->free(mem->context, counts_of_worker[env->worker]);
	counts_of_worker[env->worker] = NULL;
	vg_mem_worker(env)->resp = NULL;
	for (int i = 0; i < WORKERS_MAX; i++)
		if (counts_of_worker[i])
			last = false;
	if (last && counts_base) {
		counts_base_mem->free(counts_base_mem->context, counts_base);
		counts_base = NULL;
	}
	pthread_mutex_unlock(&lock);
	if (last)
		vg_slowlog_reset();
}

/* ---- counting -------------------------------------------------------------------------------------------------- */

struct vg_command_count *vg_watch_count(const struct vg_env *env, const struct vg_command *command)
{
	struct vg_command_count *counts = vg_mem_worker(env)->resp;

	if (command < vg_commands ||
	    command >= vg_commands + vg_commands_count) /* a subcommand counts for its parent */
		command = vg_command_find(command->name, strcspn(command->name, "|"));
	return &counts[vg_command_index(command)];
}

void vg_watch_count_sum(int index, struct vg_command_count *ret_sum)
{
	struct vg_command_count sum = { 0 };

	pthread_mutex_lock(&lock);
	for (int i = 0; i < WORKERS_MAX; i++) {
		const struct vg_command_count *counts = counts_of_worker[i];

		if (!counts)
			continue;
		/* Each word is written by one thread; a reader sees some recent value of each. */
		sum.calls += __atomic_load_n(&counts[index].calls, __ATOMIC_RELAXED);
		sum.timed += __atomic_load_n(&counts[index].timed, __ATOMIC_RELAXED);
		sum.timed_ns += __atomic_load_n(&counts[index].timed_ns, __ATOMIC_RELAXED);
		sum.rejected += __atomic_load_n(&counts[index].rejected, __ATOMIC_RELAXED);
	}
	if (counts_base) {
		sum.calls -= counts_base[index].calls;
		sum.timed -= counts_base[index].timed;
		sum.timed_ns -= counts_base[index].timed_ns;
		sum.rejected -= counts_base[index].rejected;
	}
	pthread_mutex_unlock(&lock);
	*ret_sum = sum;
}

static void reset_errors(void);

void vg_watch_reset_counts(void)
{
	reset_errors();
	for (int i = 0; i < vg_commands_count; i++) {
		struct vg_command_count sum;

		vg_watch_count_sum(i, &sum);
		pthread_mutex_lock(&lock);
		if (counts_base) {
			counts_base[i].calls += sum.calls;
			counts_base[i].timed += sum.timed;
			counts_base[i].timed_ns += sum.timed_ns;
			counts_base[i].rejected += sum.rejected;
		}
		pthread_mutex_unlock(&lock);
	}
}

/* ---- errors ---------------------------------------------------------------------------------------------------- */

/* A worker's; a word is written before its place is counted in `used`, and stays. */
static struct error_kinds {
	__u32 used;
	struct {
		char word[VG_RESP_ERROR_WORD];
		__u64 count, base; /* base: under the lock */
	} kind[VG_ERROR_KINDS_MAX];
} error_kinds[WORKERS_MAX];

void vg_watch_error(const struct vg_env *env, const char *word)
{
	struct error_kinds *own = &error_kinds[env->worker];
	__u32 i = 0;

	while (i < own->used && strcmp(own->kind[i].word, word) != 0)
		i++;
	if (i == own->used && i == VG_ERROR_KINDS_MAX)
		return;
	if (i == own->used) {
		snprintf(own->kind[i].word, sizeof(own->kind[i].word), "%s", word);
		__atomic_store_n(&own->used, i + 1, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&own->kind[i].count, own->kind[i].count + 1, __ATOMIC_RELAXED);
}

void vg_watch_errors_each(void (*fn)(void *context, const char *word, __u64 count), void *context)
{
	pthread_mutex_lock(&lock);
	for (int w = 0; w < WORKERS_MAX; w++) {
		__u32 used = __atomic_load_n(&error_kinds[w].used, __ATOMIC_ACQUIRE);

		for (__u32 i = 0; i < used; i++)
			fn(context, error_kinds[w].kind[i].word,
			   __atomic_load_n(&error_kinds[w].kind[i].count, __ATOMIC_RELAXED) -
				   error_kinds[w].kind[i].base);
	}
	pthread_mutex_unlock(&lock);
}

static void reset_errors(void)
{
	pthread_mutex_lock(&lock);
	for (int w = 0; w < WORKERS_MAX; w++)
		for (__u32 i = 0; i < __atomic_load_n(&error_kinds[w].used, __ATOMIC_ACQUIRE); i++)
			error_kinds[w].kind[i].base =
				__atomic_load_n(&error_kinds[w].kind[i].count, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&lock);
}

/* ---- timing ---------------------------------------------------------------------------------------------------- */

bool vg_watch_wants_time(const struct vg_call *call)
{
	__s64 threshold_us = __atomic_load_n(&vg_watch_settings.slower_than_us, __ATOMIC_RELAXED);

	return call->command->flags & VG_CMD_LONG || call->raw_length >= LARGE_BYTES ||
	       (threshold_us >= 0 && threshold_us < EVERYTHING_BELOW_US);
}

__u64 vg_watch_now_ns(void)
{
	struct vg_clock clock;

	vg_clock_update(&clock);
	return clock.monotonic_ns;
}

/* Arguments are cut as Redis cuts them: long ones say how much is missing, and so does a long list. */
static void copy_args(struct vg_slow_entry *entry, const struct vg_call *call)
{
	int shown = call->args < VG_SLOWLOG_ARGS_MAX ? call->args : VG_SLOWLOG_ARGS_MAX;

	entry->args = shown;
	for (int i = 0; i < shown; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];
		char *text = entry->arg[i].text;
		int length;

		if (call->args > shown && i == shown - 1) {
			length = snprintf(text, sizeof(entry->arg[i].text), "... (%d more arguments)",
					  call->args - shown + 1);
		} else if (call->command->flags & VG_CMD_SECRET && i) {
			length = snprintf(text, sizeof(entry->arg[i].text), "(redacted)");
		} else if (arg->length > VG_SLOWLOG_ARG_BYTES) {
			memcpy(text, arg->data, VG_SLOWLOG_ARG_BYTES);
			length =
				VG_SLOWLOG_ARG_BYTES + snprintf(text + VG_SLOWLOG_ARG_BYTES, 32, "... (%zu more bytes)",
								arg->length - VG_SLOWLOG_ARG_BYTES);
		} else {
			memcpy(text, arg->data, arg->length);
			length = (int)arg->length;
		}
		entry->arg[i].length = (__u32)length;
	}
}

/* With the lock held: make room for one more by dropping the oldest. */
static void drop_slow(int keep)
{
	while (slow_count > keep) {
		struct vg_slow_entry *entry = slow[slow_first];

		slow[slow_first] = NULL;
		entry->mem->free(entry->mem->context, entry);
		slow_first = (slow_first + 1) % VG_SLOWLOG_ENTRIES_MAX;
		slow_count--;
	}
}

static void note_slow(const struct vg_call *call, __s64 duration_us)
{
	__s64 keep = __atomic_load_n(&vg_watch_settings.slowlog_length_max, __ATOMIC_RELAXED);
	struct vg_slow_entry *entry;

	if (keep > VG_SLOWLOG_ENTRIES_MAX)
		keep = VG_SLOWLOG_ENTRIES_MAX;
	entry = keep > 0 ? call->env->mem->alloc(call->env->mem->context, sizeof(*entry)) : NULL;
	if (!entry)
		return;
	entry->mem = call->env->mem;
	entry->unix_seconds = (__s64)(call->env->clock->unix_ns / 1000000000);
	entry->duration_us = duration_us;
	entry->peer[0] = entry->name[0] = '\0';
	if (call->client) {
		const struct vg_session *session = vg_client_session(call->client);

		snprintf(entry->peer, sizeof(entry->peer), "%s", session->peer);
		snprintf(entry->name, sizeof(entry->name), "%s", session->name);
	}
	copy_args(entry, call);
	pthread_mutex_lock(&lock);
	drop_slow((int)keep - 1);
	entry->id = slow_next_id++;
	slow[(slow_first + slow_count) % VG_SLOWLOG_ENTRIES_MAX] = entry;
	slow_count++;
	pthread_mutex_unlock(&lock);
}

static void note_latency(const struct vg_call *call, __s64 duration_ms)
{
	__s64 now = (__s64)(call->env->clock->unix_ns / 1000000000);
	int last;

	pthread_mutex_lock(&lock);
	if (duration_ms > latency.worst_ms)
		latency.worst_ms = duration_ms;
	last = latency.count - 1;
	if (last >= 0 && latency.sample[last].unix_seconds == now) { /* one sample a second, the worst of it */
		if (duration_ms > latency.sample[last].milliseconds)
			latency.sample[last].milliseconds = duration_ms;
	} else {
		if (latency.count == VG_LATENCY_SAMPLES)
			memmove(latency.sample, latency.sample + 1,
				(size_t)--latency.count * sizeof(latency.sample[0]));
		latency.sample[latency.count].unix_seconds = now;
		latency.sample[latency.count++].milliseconds = duration_ms;
	}
	pthread_mutex_unlock(&lock);
}

void vg_watch_note(struct vg_call *call, __u64 duration_ns)
{
	struct vg_command_count *count = vg_watch_count(call->env, call->command);
	__s64 threshold_us, threshold_ms, duration_us = (__s64)(duration_ns / 1000);

	__atomic_store_n(&count->calls, count->calls + 1, __ATOMIC_RELAXED);
	if (!duration_ns)
		return;
	__atomic_store_n(&count->timed, count->timed + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&count->timed_ns, count->timed_ns + duration_ns, __ATOMIC_RELAXED);
	threshold_us = __atomic_load_n(&vg_watch_settings.slower_than_us, __ATOMIC_RELAXED);
	threshold_ms = __atomic_load_n(&vg_watch_settings.latency_threshold_ms, __ATOMIC_RELAXED);
	if (threshold_us >= 0 && duration_us >= threshold_us)
		note_slow(call, duration_us);
	if (threshold_ms > 0 && duration_us / 1000 >= threshold_ms)
		note_latency(call, duration_us / 1000);
}

/* ---- reading them ---------------------------------------------------------------------------------------------- */

void vg_slowlog_each(int count, void (*fn)(void *context, const struct vg_slow_entry *entry), void *context)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < slow_count && i < count; i++)
		fn(context, slow[(slow_first + slow_count - 1 - i) % VG_SLOWLOG_ENTRIES_MAX]);
	pthread_mutex_unlock(&lock);
}

int vg_slowlog_length(void)
{
	int length;

	pthread_mutex_lock(&lock);
	length = slow_count;
	pthread_mutex_unlock(&lock);
	return length;
}

void vg_slowlog_reset(void)
{
	pthread_mutex_lock(&lock);
	drop_slow(0);
	pthread_mutex_unlock(&lock);
}

void vg_latency_read(struct vg_latency *ret_latency)
{
	pthread_mutex_lock(&lock);
	*ret_latency = latency;
	pthread_mutex_unlock(&lock);
}

int vg_latency_reset(void)
{
	int had;

	pthread_mutex_lock(&lock);
	had = latency.count > 0;
	latency = (struct vg_latency){ 0 };
	pthread_mutex_unlock(&lock);
	return had;
}
