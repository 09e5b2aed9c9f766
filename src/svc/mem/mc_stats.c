// SPDX-License-Identifier: GPL-3.0-or-later
/* What concerns the server: stats in memcached's words, and flush_all. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string.h>

#include "svc/mem/mc.h"

#define WORKERS_MAX 256

/*
 * Each worker counts for itself; whoever is asked adds up. Counts are read while their owner changes them: each is a
 * word of its own, and none is followed.
 */
static struct vg_mc_counts *counts_of_worker[WORKERS_MAX];
static struct vg_mc_counts counts_base; /* at the last `stats reset` */

int vg_mem_mc_init(struct vg_env *env)
{
	struct vg_mc_counts *counts;

	if (env->worker >= WORKERS_MAX)
		return -ENOSPC;
	counts = env->mem->alloc(env->mem->context, sizeof(*counts));
	if (!counts)
		return -ENOMEM;
	memset(counts, 0, sizeof(*counts));
	vg_mem_worker(env)->mc = counts;
	__atomic_store_n(&counts_of_worker[env->worker], counts, __ATOMIC_RELEASE);
	return 0;
}

void vg_mem_mc_deinit(struct vg_env *env)
{
	struct vg_mc_counts *counts = vg_mem_worker(env)->mc;

	if (!counts)
		return;
	__atomic_store_n(&counts_of_worker[env->worker], NULL, __ATOMIC_RELEASE);
	env->mem->free(env->mem->context, counts);
	vg_mem_worker(env)->mc = NULL;
}

static void sum_all(struct vg_mc_counts *ret_sum)
{
	*ret_sum = (struct vg_mc_counts){ 0 };
	for (int w = 0; w < WORKERS_MAX; w++) {
		const struct vg_mc_counts *counts = __atomic_load_n(&counts_of_worker[w], __ATOMIC_ACQUIRE);

		if (!counts)
			continue;
#define X(name) ret_sum->name += __atomic_load_n(&counts->name, __ATOMIC_RELAXED);
		VG_MC_COUNTS(X)
#undef X
	}
}

void vg_mc_counts_sum(struct vg_mc_counts *ret_sum)
{
	sum_all(ret_sum);
#define X(name) ret_sum->name -= __atomic_load_n(&counts_base.name, __ATOMIC_RELAXED);
	VG_MC_COUNTS(X)
#undef X
}

void vg_mc_counts_reset(void)
{
	struct vg_mc_counts now;

	sum_all(&now);
#define X(name) __atomic_store_n(&counts_base.name, now.name, __ATOMIC_RELAXED);
	VG_MC_COUNTS(X)
#undef X
}

/* ---- stats ----------------------------------------------------------------------------------------------------- */

static void stat(struct vg_out *out, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void stat(struct vg_out *out, const char *name, const char *format, ...)
{
	char line[256];
	va_list values;
	int length = snprintf(line, sizeof(line), "STAT %s ", name);

	va_start(values, format);
	length += vsnprintf(line + length, sizeof(line) - (size_t)length, format, values);
	va_end(values);
	if ((size_t)length > sizeof(line) - 1)
		length = sizeof(line) - 1;
	vg_out_append(out, line, (size_t)length);
	vg_out_append(out, "\r\n", 2);
}

#define STAT_U64(out, name, value) stat(out, name, "%llu", (unsigned long long)(value))

static void end(struct vg_mc_call *call)
{
	vg_out_append(call->out, "END\r\n", 5);
}

static void general(struct vg_mc_call *call)
{
	struct vg_env *env = call->env;
	struct vg_store_stats store;
	struct vg_mc_counts counts;
	struct vg_stats stats;
	struct rusage usage = { 0 };

	vg_env_stats_sum(env, &stats);
	vg_store_stats(env->store, &store);
	vg_mc_counts_sum(&counts);
	getrusage(RUSAGE_SELF, &usage);
	stat(call->out, "pid", "%d", getpid());
	STAT_U64(call->out, "uptime", vg_env_uptime_s(env));
	STAT_U64(call->out, "time", env->clock->unix_ns / 1000000000);
	stat(call->out, "version", "%s", VG_MC_VERSION_TEXT);
	stat(call->out, "virgo_version", "%s", VG_VERSION);
	STAT_U64(call->out, "pointer_size", 8 * sizeof(void *));
	stat(call->out, "rusage_user", "%ld.%06ld", (long)usage.ru_utime.tv_sec, (long)usage.ru_utime.tv_usec);
	stat(call->out, "rusage_system", "%ld.%06ld", (long)usage.ru_stime.tv_sec, (long)usage.ru_stime.tv_usec);
	STAT_U64(call->out, "curr_connections", stats.connections_open);
	STAT_U64(call->out, "total_connections", stats.connections_accepted);
#define X(name) STAT_U64(call->out, #name, counts.name);
	VG_MC_COUNTS(X)
#undef X
	STAT_U64(call->out, "bytes_read", stats.bytes_in);
	STAT_U64(call->out, "bytes_written", stats.bytes_out);
	STAT_U64(call->out, "limit_maxbytes", store.arena_bytes + store.heap_bytes);
	STAT_U64(call->out, "threads", env->workers);
	STAT_U64(call->out, "curr_items", store.keys);
	STAT_U64(call->out, "bytes", store.arena_used + store.heap_used);
	STAT_U64(call->out, "virgo_hits_all_protocols", stats.hits);
	STAT_U64(call->out, "virgo_misses_all_protocols", stats.misses);
	STAT_U64(call->out, "virgo_expired", store.expired);
	STAT_U64(call->out, "evictions", store.evicted);
	end(call);
}

static void settings(struct vg_mc_call *call)
{
	const struct vg_settings *settings = call->env->settings;
	struct vg_store_stats store;
	enum vg_eviction policy;
	__u64 limit;

	vg_store_stats(call->env->store, &store);
	vg_store_limit_get(call->env->store, &policy, &limit);
	STAT_U64(call->out, "maxbytes", limit ?: store.arena_bytes + store.heap_bytes);
	STAT_U64(call->out, "tcpport", settings->port[VG_DOOR_MEMCACHE] ?: settings->port[VG_DOOR_MEM]);
	stat(call->out, "evictions", "%s", limit && policy != VG_EVICTION_NONE ? "on" : "off");
	stat(call->out, "eviction_policy", "%s", vg_eviction_text(policy));
	STAT_U64(call->out, "num_threads", call->env->workers);
	stat(call->out, "cas_enabled", "yes");
	stat(call->out, "auth_enabled_ascii", "%s", settings->password[0] ? "yes" : "no");
	STAT_U64(call->out, "item_size_max",
		 settings->value_bytes_max < VG_VALUE_MAX ? settings->value_bytes_max : VG_VALUE_MAX);
	stat(call->out, "flush_enabled", "yes");
	end(call);
}

/* The store has no classes that a client could act upon: one line each for what lies in the arena and in the heap. */
static void items(struct vg_mc_call *call)
{
	struct vg_store_stats store;

	vg_store_stats(call->env->store, &store);
	STAT_U64(call->out, "items:1:number", store.keys);
	STAT_U64(call->out, "items:1:evicted", store.evicted);
	end(call);
}

static void slabs(struct vg_mc_call *call)
{
	struct vg_store_stats store;

	vg_store_stats(call->env->store, &store);
	STAT_U64(call->out, "1:mem_requested", store.arena_used);
	STAT_U64(call->out, "2:mem_requested", store.heap_used);
	stat(call->out, "active_slabs", "2");
	STAT_U64(call->out, "total_malloced", store.arena_bytes + store.heap_bytes);
	end(call);
}

static void sizes(struct vg_mc_call *call)
{
	stat(call->out, "sizes_status", "disabled");
	end(call);
}

static void reset(struct vg_mc_call *call)
{
	vg_mc_counts_reset();
	vg_out_append(call->out, "RESET\r\n", 7);
}

void vg_mc_stats(struct vg_mc_call *call)
{
	static const struct {
		const char *name;
		void (*run)(struct vg_mc_call *call);
	} kinds[] = { { "settings", settings }, { "items", items }, { "slabs", slabs }, { "sizes", sizes },
		      { "reset", reset } };
	struct vg_mc_word rest = call->request->rest, kind;

	if (!vg_mc_next(&rest, &kind)) {
		general(call);
		return;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strlen(kinds[i].name) == kind.length && !memcmp(kinds[i].name, kind.data, kind.length)) {
			kinds[i].run(call);
			return;
		}
	}
	vg_refuse(call->env, VG_REFUSAL_UNKNOWN_COMMAND);
	vg_mc_say(call, "ERROR");
}

/* ---- flush_all ------------------------------------------------------------------------------------------------- */

/* A later flush_all takes the place of one that was put off, whichever worker it reached. */
static __u64 flush_generation;

struct flush {
	struct vg_env *env;
	__u64 generation;
};

static void flush_later(void *context)
{
	struct flush flush = *(struct flush *)context;

	flush.env->mem->free(flush.env->mem->context, context);
	if (flush.generation == __atomic_load_n(&flush_generation, __ATOMIC_RELAXED))
		vg_store_clear(flush.env->store);
}

static bool put_off(struct vg_env *env, __u64 generation, __u64 delay_ms)
{
	struct flush *flush = env->mem->alloc(env->mem->context, sizeof(*flush));

	if (!flush)
		return false;
	*flush = (struct flush){ env, generation };
	if (vg_env_timer(env, delay_ms * 1000000, flush_later, flush) == 0)
		return true;
	env->mem->free(env->mem->context, flush);
	return false;
}

void vg_mc_flush_all(struct vg_mc_call *call)
{
	__u64 generation = __atomic_add_fetch(&flush_generation, 1, __ATOMIC_RELAXED);
	__u64 deadline_ms =
		call->request->exptime > 0 ? vg_mc_deadline_ms(call->request->exptime, call->now_ms) : 0;

	vg_mc_counts(call->env)->cmd_flush++;
	if (deadline_ms <= call->now_ms)
		vg_store_clear(call->env->store);
	else if (!put_off(call->env, generation, deadline_ms - call->now_ms)) {
		vg_mc_say(call, "SERVER_ERROR out of memory");
		return;
	}
	vg_mc_say(call, "OK");
}
