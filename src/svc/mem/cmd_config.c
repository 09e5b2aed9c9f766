/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * CONFIG: what Redis clients and dashboards ask for, by Redis's names. Settings come from virgo.conf; what can change
 * while the daemon runs is what is watched.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <strings.h>

#include "svc/mem/cmd.h"
#include "base/number.h"
#include "svc/mem/events.h"
#include "svc/mem/hub.h"
#include "pool/durable.h"
#include "svc/mem/resp_watch.h"
#include "svc/persist.h"
#include "svc/mem/tracking.h"

#define VALUE_BYTES 320

struct parameter {
	const char *name;
	const char *fixed;			/* the value, when it is always the same */
	void (*read)(const struct vg_env *env, char value[VALUE_BYTES]);
	__s64 *number;				/* can be set */
	__s64 low, high;
	/* A text that can be set: NULL, or what is wrong with it; it is taken over only with `set`. */
	const char *(*write)(struct vg_env *env, const struct vg_resp_arg *value, bool set);
};

static void read_bind(const struct vg_env *env, char value[VALUE_BYTES])
{
	const char *address = vg_cluster_address(env->cluster, vg_cluster_self(env->cluster));

	snprintf(value, VALUE_BYTES, "%.*s", address ? (int)strcspn(address, ":") : 0, address ? address : "");
}

static void read_maxmemory(const struct vg_env *env, char value[VALUE_BYTES])
{
	enum vg_eviction policy;
	__u64 maxmemory;

	vg_store_limit_get(env->store, &policy, &maxmemory);
	snprintf(value, VALUE_BYTES, "%llu", (unsigned long long)maxmemory);
}

static const char *write_maxmemory(struct vg_env *env, const struct vg_resp_arg *value, bool set)
{
	enum vg_eviction policy;
	char text[VALUE_BYTES];
	__u64 maxmemory;

	if (value->length >= sizeof(text))
		return "argument must be a memory value";
	memcpy(text, value->data, value->length);
	text[value->length] = '\0';
	if (vg_size_parse(text, 1ULL << 50, &maxmemory))
		return "argument must be a memory value";
	if (!set)
		return NULL;
	vg_store_limit_get(env->store, &policy, &(__u64){ 0 });
	vg_store_limit(env->store, policy, maxmemory);
	return NULL;
}

static void read_policy(const struct vg_env *env, char value[VALUE_BYTES])
{
	enum vg_eviction policy;
	__u64 maxmemory;

	vg_store_limit_get(env->store, &policy, &maxmemory);
	snprintf(value, VALUE_BYTES, "%s", vg_eviction_text(policy));
}

static const char *write_policy(struct vg_env *env, const struct vg_resp_arg *value, bool set)
{
	enum vg_eviction policy, before;
	__u64 maxmemory;

	if (vg_eviction_parse(value->data, value->length, &policy))
		return "argument must be one of the following: " VG_EVICTION_NAMES;
	vg_store_limit_get(env->store, &before, &maxmemory);
	if (set)
		vg_store_limit(env->store, policy, maxmemory);
	return NULL;
}

static void read_port(const struct vg_env *env, char value[VALUE_BYTES])
{
	snprintf(value, VALUE_BYTES, "%u", env->settings->port[VG_DOOR_MEM]);
}

static void read_value_max(const struct vg_env *env, char value[VALUE_BYTES])
{
	snprintf(value, VALUE_BYTES, "%d", VG_VALUE_MAX);
}

static void read_password(const struct vg_env *env, char value[VALUE_BYTES])
{
	snprintf(value, VALUE_BYTES, "%s", env->settings->password);
}

static void read_timeout(const struct vg_env *env, char value[VALUE_BYTES])
{
	snprintf(value, VALUE_BYTES, "%u", env->settings->idle_timeout_s);
}

static void read_notify(const struct vg_env *env, char value[VALUE_BYTES])
{
	vg_event_classes_write(vg_events_classes(vg_mem_shared(env)), value);
}

static const char *write_notify(struct vg_env *env, const struct vg_resp_arg *value, bool set)
{
	__u32 classes;

	if (!vg_event_classes_read(value->data, value->length, &classes))
		return "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
	if (set)
		vg_events_set_classes(vg_mem_shared(env), classes);
	return NULL;
}

static void read_buffer_limits(const struct vg_env *env, char value[VALUE_BYTES])
{
	snprintf(value, VALUE_BYTES, "normal 0 0 0 slave 268435456 67108864 60 pubsub %llu %llu %llu",
		 (unsigned long long)__atomic_load_n(&vg_hub_limits.hard_bytes, __ATOMIC_RELAXED),
		 (unsigned long long)__atomic_load_n(&vg_hub_limits.soft_bytes, __ATOMIC_RELAXED),
		 (unsigned long long)__atomic_load_n(&vg_hub_limits.soft_seconds, __ATOMIC_RELAXED));
}

/* "<class> <hard> <soft> <seconds>", several times; of them only pubsub has a meaning here. */
static const char *write_buffer_limits(struct vg_env *env, const struct vg_resp_arg *value, bool set)
{
	char text[VALUE_BYTES], *save = NULL, *word[4 * 4];
	int words = 0;

	if (value->length >= sizeof(text))
		return "Wrong number of arguments in buffer limit configuration.";
	memcpy(text, value->data, value->length);
	text[value->length] = '\0';
	for (char *at = strtok_r(text, " ", &save); at && words < 16; at = strtok_r(NULL, " ", &save))
		word[words++] = at;
	if (words % 4)
		return "Wrong number of arguments in buffer limit configuration.";
	for (int i = 0; i < words; i += 4) {
		bool pubsub = strcasecmp(word[i], "pubsub") == 0;
		__u64 hard, soft, seconds;

		if (!pubsub && strcasecmp(word[i], "normal") && strcasecmp(word[i], "slave") &&
		    strcasecmp(word[i], "replica"))
			return "Invalid client class specified in buffer limit configuration.";
		if (vg_size_parse(word[i + 1], UINT64_MAX, &hard) || vg_size_parse(word[i + 2], UINT64_MAX, &soft) ||
		    vg_number_parse(word[i + 3], UINT32_MAX, &seconds))
			return "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
		if (!set || !pubsub)
			continue;
		__atomic_store_n(&vg_hub_limits.hard_bytes, hard, __ATOMIC_RELAXED);
		__atomic_store_n(&vg_hub_limits.soft_bytes, soft, __ATOMIC_RELAXED);
		__atomic_store_n(&vg_hub_limits.soft_seconds, seconds, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void read_dir(const struct vg_env *env, char value[VALUE_BYTES])
{
	struct vg_persistence known;

	vg_env_persistence((struct vg_env *)env, &known);
	snprintf(value, VALUE_BYTES, "%s", known.directory);
}

static void read_compression(const struct vg_env *env, char value[VALUE_BYTES])
{
	struct vg_persistence known;

	vg_env_persistence((struct vg_env *)env, &known);
	snprintf(value, VALUE_BYTES, "%s", known.compress ? "yes" : "no");
}

static void read_save(const struct vg_env *env, char value[VALUE_BYTES])
{
	struct vg_persistence known;

	vg_env_persistence((struct vg_env *)env, &known);
	snprintf(value, VALUE_BYTES, "%s", known.rules);
}

static const char *write_save(struct vg_env *env, const struct vg_resp_arg *value, bool set)
{
	struct vg_save_rule rules[VG_SAVE_RULES_MAX];
	char text[256];

	if (value->length >= sizeof(text) || memchr(value->data, 0, value->length))
		return "Invalid save parameters";
	memcpy(text, value->data, value->length);
	text[value->length] = 0;
	if (vg_save_rules_parse(text, rules) < 0)
		return "Invalid save parameters";
	if (set)
		(void)vg_env_save_rules(env, text);
	return NULL;
}

static void read_appendonly(const struct vg_env *env, char value[VALUE_BYTES])
{
	snprintf(value, VALUE_BYTES, "%s", env->wal ? "yes" : "no");
}

static void read_appendfsync(const struct vg_env *env, char value[VALUE_BYTES])
{
	snprintf(value, VALUE_BYTES, "%s", env->wal ? vg_wal_sync_text(vg_wal_sync(env->wal)) : "everysec");
}

static const char *write_appendfsync(struct vg_env *env, const struct vg_resp_arg *value, bool set)
{
	enum vg_wal_sync sync;
	char word[16] = "";

	if (value->length < sizeof(word))
		memcpy(word, value->data, value->length);
	if (vg_wal_sync_parse(word, &sync))
		return "argument(s) must be one of the following: everysec, always, no";
	if (!env->wal)
		return "there is no log: the daemon has no --data-dir";
	if (set)
		vg_wal_set_sync(env->wal, sync);
	return NULL;
}

static const struct parameter parameters[] = {
	{ "appendfsync", NULL, read_appendfsync, .write = write_appendfsync },
	{ "appendonly", NULL, read_appendonly },
	{ "bind", NULL, read_bind },
	{ "client-output-buffer-limit", NULL, read_buffer_limits, .write = write_buffer_limits },
	{ "databases", "1" },
	{ "dbfilename", VG_SNAPSHOT_NAME },
	{ "dir", NULL, read_dir },
	{ "latency-monitor-threshold", NULL, NULL, &vg_watch_settings.latency_threshold_ms, 0, INT64_MAX / 1000000 },
	{ "maxmemory", NULL, read_maxmemory, .write = write_maxmemory },
	{ "maxmemory-policy", NULL, read_policy, .write = write_policy },
	{ "notify-keyspace-events", NULL, read_notify, .write = write_notify },
	{ "port", NULL, read_port },
	{ "proto-max-bulk-len", NULL, read_value_max },
	{ "rdbchecksum", "yes" },
	{ "rdbcompression", NULL, read_compression },
	{ "requirepass", NULL, read_password },
	{ "save", NULL, read_save, .write = write_save },
	{ "slowlog-log-slower-than", NULL, NULL, &vg_watch_settings.slower_than_us, -1, INT64_MAX },
	{ "slowlog-max-len", NULL, NULL, &vg_watch_settings.slowlog_length_max, 0, INT64_MAX },
	{ "timeout", NULL, read_timeout },
	{ "tracking-table-max-keys", NULL, NULL, &vg_tracking_keys_max, 0, INT64_MAX },
};
#define PARAMETERS ((int)(sizeof(parameters) / sizeof(parameters[0])))

/* The argument that asks for the parameter, by name or pattern; NULL: none does. */
static const struct vg_resp_arg *asked_by(const struct vg_call *call, const struct parameter *parameter)
{
	for (int i = 2; i < call->args; i++)
		if (vg_glob_match(call->arg[i].data, call->arg[i].length, parameter->name, strlen(parameter->name),
				  true))
			return &call->arg[i];
	return NULL;
}

int vg_cmd_config_get(struct vg_call *call)
{
	__u64 count = 0;

	for (int i = 0; i < PARAMETERS; i++)
		count += asked_by(call, &parameters[i]) != NULL;
	vg_resp_map(call->out, call->version, count);
	for (int i = 0; i < PARAMETERS; i++) {
		const struct parameter *parameter = &parameters[i];
		const struct vg_resp_arg *by = asked_by(call, parameter);
		char value[VALUE_BYTES];

		if (!by)
			continue;
		if (parameter->fixed)
			snprintf(value, sizeof(value), "%s", parameter->fixed);
		else if (parameter->number)
			snprintf(value, sizeof(value), "%lld",
				 (long long)__atomic_load_n(parameter->number, __ATOMIC_RELAXED));
		else
			parameter->read(call->env, value);
		/* Who asks by name gets the name as it was written. */
		vg_resp_bulk(call->out, vg_arg_is(by, parameter->name) ? by->data : parameter->name,
			     strlen(parameter->name));
		vg_resp_bulk_text(call->out, value);
	}
	return 0;
}

static const struct parameter *find_parameter(const struct vg_resp_arg *name)
{
	for (int i = 0; i < PARAMETERS; i++)
		if (vg_arg_is(name, parameters[i].name))
			return &parameters[i];
	return NULL;
}

static void refuse_setting(struct vg_call *call, const struct parameter *parameter, const char *why)
{
	vg_resp_error(call->out, "ERR CONFIG SET failed (possibly related to argument '%s') - %s", parameter->name,
		      why);
}

/* All or none: every pair is checked before the first is set. */
static bool check_settings(struct vg_call *call)
{
	for (int i = 2; i < call->args; i += 2) {
		const struct parameter *parameter = find_parameter(&call->arg[i]);
		char why[96];
		__s64 value;

		if (!parameter) {
			vg_resp_error(call->out, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
				      (int)(call->arg[i].length & 0x7f), call->arg[i].data);
			return false;
		}
		if (parameter->write) {
			const char *wrong = parameter->write(call->env, &call->arg[i + 1], false);

			if (!wrong)
				continue;
			refuse_setting(call, parameter, wrong);
			return false;
		}
		if (!parameter->number) {
			refuse_setting(call, parameter, "can't set immutable config");
			return false;
		}
		if (!vg_resp_number(call->arg[i + 1].data, call->arg[i + 1].length, &value)) {
			refuse_setting(call, parameter, "argument couldn't be parsed into an integer");
			return false;
		}
		if (value < parameter->low || value > parameter->high) {
			snprintf(why, sizeof(why), "argument must be between %lld and %lld inclusive",
				 (long long)parameter->low, (long long)parameter->high);
			refuse_setting(call, parameter, why);
			return false;
		}
	}
	return true;
}

int vg_cmd_config_set(struct vg_call *call)
{
	if (call->args % 2)
		return vg_call_syntax_error(call);
	if (!check_settings(call))
		return 0;
	for (int i = 2; i < call->args; i += 2) {
		const struct parameter *parameter = find_parameter(&call->arg[i]);
		__s64 value;

		if (parameter->write)
			(void)parameter->write(call->env, &call->arg[i + 1], true);
		else if (vg_resp_number(call->arg[i + 1].data, call->arg[i + 1].length, &value))
			__atomic_store_n(parameter->number, value, __ATOMIC_RELAXED);
	}
	vg_resp_simple(call->out, "OK");
	return 0;
}

/* ---- RESETSTAT ------------------------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vg_stats stats_base; /* what had been counted at the last reset; under the lock */

/* Workers and XDP together. */
static void count_all(const struct vg_env *env, struct vg_stats *ret_stats)
{
	struct vg_xdp_answers xdp;

	vg_env_stats_sum(env, ret_stats);
	vg_env_xdp_answers(env, &xdp);
	ret_stats->hits += xdp.hits;
	ret_stats->misses += xdp.misses;
	ret_stats->requests_datagram += xdp.hits + xdp.misses + xdp.others;
}

void vg_config_stats(const struct vg_env *env, struct vg_stats *ret_stats)
{
	count_all(env, ret_stats);
	pthread_mutex_lock(&lock);
	ret_stats->connections_accepted -= stats_base.connections_accepted;
	ret_stats->requests_stream -= stats_base.requests_stream;
	ret_stats->requests_datagram -= stats_base.requests_datagram;
	ret_stats->hits -= stats_base.hits;
	ret_stats->misses -= stats_base.misses;
	ret_stats->bytes_in -= stats_base.bytes_in;
	ret_stats->bytes_out -= stats_base.bytes_out;
	ret_stats->forwarded -= stats_base.forwarded;
	for (int i = 0; i < VG_REFUSAL_MAX; i++)
		ret_stats->refused[i] -= stats_base.refused[i];
	pthread_mutex_unlock(&lock);
}

int vg_cmd_config_resetstat(struct vg_call *call)
{
	struct vg_stats now;

	count_all(call->env, &now);
	pthread_mutex_lock(&lock);
	stats_base = now;
	pthread_mutex_unlock(&lock);
	vg_watch_reset_counts();
	vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_config_help(struct vg_call *call)
{
	static const char *const lines[] = {
		"GET <pattern> [<pattern> ...]", "    Settings whose names match.",
		"RESETSTAT", "    Count from zero again.",
		"SET <name> <value> [<name> <value> ...]",
		"    Change settings: client-output-buffer-limit, latency-monitor-threshold, notify-keyspace-events,",
		"    slowlog-log-slower-than, slowlog-max-len, tracking-table-max-keys.",
		NULL,
	};

	return vg_call_help(call, "CONFIG", lines);
}
