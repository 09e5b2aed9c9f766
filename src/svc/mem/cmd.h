/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The handlers that the command table names; one file a family (cmd_*.c). */
#ifndef VG_MEM_CMD_H
#define VG_MEM_CMD_H

#include "svc/mem/resp_call.h"

/* cmd_string.c, cmd_value.c */
int vg_cmd_get(struct vg_call *call);
int vg_cmd_set(struct vg_call *call);
int vg_cmd_setnx(struct vg_call *call);
int vg_cmd_setex(struct vg_call *call);
int vg_cmd_psetex(struct vg_call *call);
int vg_cmd_getset(struct vg_call *call);
int vg_cmd_getdel(struct vg_call *call);
int vg_cmd_getex(struct vg_call *call);
int vg_cmd_mget(struct vg_call *call);
int vg_cmd_mset(struct vg_call *call);
int vg_cmd_msetnx(struct vg_call *call);
int vg_cmd_append(struct vg_call *call);
int vg_cmd_strlen(struct vg_call *call);
int vg_cmd_getrange(struct vg_call *call);
int vg_cmd_setrange(struct vg_call *call);
/* One element of MGET: also for keys that are found here while others were asked for. */
void vg_cmd_get_one(struct vg_call *call, const struct vg_key *key);

/* cmd_number.c */
int vg_cmd_incr(struct vg_call *call);
int vg_cmd_decr(struct vg_call *call);
int vg_cmd_incrby(struct vg_call *call);
int vg_cmd_decrby(struct vg_call *call);
int vg_cmd_incrbyfloat(struct vg_call *call);

/* cmd_key.c */
int vg_cmd_del(struct vg_call *call);
int vg_cmd_exists(struct vg_call *call);
int vg_cmd_touch(struct vg_call *call);
int vg_cmd_type(struct vg_call *call);
int vg_cmd_rename(struct vg_call *call);
int vg_cmd_renamenx(struct vg_call *call);
int vg_cmd_copy(struct vg_call *call);
int vg_cmd_object_encoding(struct vg_call *call);
int vg_cmd_object_refcount(struct vg_call *call);
int vg_cmd_object_idletime(struct vg_call *call);
int vg_cmd_object_freq(struct vg_call *call);
int vg_cmd_object_help(struct vg_call *call);
int vg_cmd_memory_usage(struct vg_call *call);
int vg_cmd_memory_help(struct vg_call *call);

/* cmd_expire.c */
int vg_cmd_expire(struct vg_call *call);
int vg_cmd_pexpire(struct vg_call *call);
int vg_cmd_expireat(struct vg_call *call);
int vg_cmd_pexpireat(struct vg_call *call);
int vg_cmd_ttl(struct vg_call *call);
int vg_cmd_pttl(struct vg_call *call);
int vg_cmd_expiretime(struct vg_call *call);
int vg_cmd_pexpiretime(struct vg_call *call);
int vg_cmd_persist(struct vg_call *call);

/* The options that say when a key ends: EX PX EXAT PXAT with a number. */
struct vg_deadline {
	bool given, absolute, seconds;
	int position; /* of the number */
};
/* Is args[*at] such an option with something behind it? Then *at moves on to the number. */
bool vg_deadline_option(const struct vg_call *call, int *at, struct vg_deadline *deadline);
/* The deadline in Unix milliseconds; false: an error was answered. */
bool vg_deadline_read(struct vg_call *call, const struct vg_deadline *deadline, __u64 *ret_expire_ms);

/* cmd_scan.c */
int vg_cmd_keys(struct vg_call *call);
int vg_cmd_scan(struct vg_call *call);
int vg_cmd_randomkey(struct vg_call *call);
int vg_cmd_dbsize(struct vg_call *call);
int vg_cmd_flush(struct vg_call *call);

/* glob.c: Redis's patterns: * ? [a-z] [^a] and backslash. */
bool vg_glob_match(const char *pattern, size_t pattern_length, const char *text, size_t length, bool any_case);

/* cmd_connection.c */
int vg_cmd_ping(struct vg_call *call);
int vg_cmd_echo(struct vg_call *call);
int vg_cmd_hello(struct vg_call *call);
int vg_cmd_auth(struct vg_call *call);
int vg_cmd_select(struct vg_call *call);
int vg_cmd_quit(struct vg_call *call);
int vg_cmd_reset(struct vg_call *call);

/* cmd_client.c */
int vg_cmd_client_id(struct vg_call *call);
int vg_cmd_client_getname(struct vg_call *call);
int vg_cmd_client_setname(struct vg_call *call);
int vg_cmd_client_setinfo(struct vg_call *call);
int vg_cmd_client_list(struct vg_call *call);
int vg_cmd_client_info(struct vg_call *call);
int vg_cmd_client_kill(struct vg_call *call);
int vg_cmd_client_no_evict(struct vg_call *call);
int vg_cmd_client_no_touch(struct vg_call *call);
int vg_cmd_client_reply(struct vg_call *call);
int vg_cmd_client_help(struct vg_call *call);
/* cmd_tracking.c */
int vg_cmd_client_tracking(struct vg_call *call);
int vg_cmd_client_caching(struct vg_call *call);
int vg_cmd_client_trackinginfo(struct vg_call *call);
int vg_cmd_client_getredir(struct vg_call *call);
/* A name for a connection: printable, without blanks; false otherwise. */
bool vg_client_name_is_valid(const char *name, size_t length);

/* cmd_command.c */
int vg_cmd_command(struct vg_call *call);
int vg_cmd_command_count(struct vg_call *call);
int vg_cmd_command_info(struct vg_call *call);
int vg_cmd_command_docs(struct vg_call *call);
int vg_cmd_command_list(struct vg_call *call);
int vg_cmd_command_getkeys(struct vg_call *call);
int vg_cmd_command_help(struct vg_call *call);

/* cmd_config.c */
int vg_cmd_config_get(struct vg_call *call);
int vg_cmd_config_set(struct vg_call *call);
int vg_cmd_config_resetstat(struct vg_call *call);
int vg_cmd_config_help(struct vg_call *call);
/* The sum over all workers, counted from the last CONFIG RESETSTAT on. */
void vg_config_stats(const struct vg_env *env, struct vg_stats *ret_stats);

/* cmd_info.c */
int vg_cmd_info(struct vg_call *call);

/* cmd_save.c */
int vg_cmd_save(struct vg_call *call);
int vg_cmd_bgsave(struct vg_call *call);
int vg_cmd_lastsave(struct vg_call *call);
int vg_cmd_bgrewriteaof(struct vg_call *call);
int vg_cmd_shutdown(struct vg_call *call);

/* cmd_server.c */
int vg_cmd_time(struct vg_call *call);
int vg_cmd_debug_sleep(struct vg_call *call);
int vg_cmd_wait(struct vg_call *call);
int vg_cmd_role(struct vg_call *call);
int vg_cmd_virgo_hotkeys(struct vg_call *call);
int vg_cmd_debug_help(struct vg_call *call);
int vg_cmd_slowlog_get(struct vg_call *call);
int vg_cmd_slowlog_len(struct vg_call *call);
int vg_cmd_slowlog_reset(struct vg_call *call);
int vg_cmd_slowlog_help(struct vg_call *call);
int vg_cmd_latency_latest(struct vg_call *call);
int vg_cmd_latency_history(struct vg_call *call);
int vg_cmd_latency_reset(struct vg_call *call);
int vg_cmd_latency_doctor(struct vg_call *call);
int vg_cmd_latency_help(struct vg_call *call);

/* cmd_dump.c, cmd_lcs.c, cmd_monitor.c, pause.c */
int vg_cmd_dump(struct vg_call *call);
int vg_cmd_restore(struct vg_call *call);
int vg_cmd_lcs(struct vg_call *call);
int vg_cmd_monitor(struct vg_call *call);
int vg_cmd_client_pause(struct vg_call *call);
int vg_cmd_client_unpause(struct vg_call *call);
int vg_cmd_client_unblock(struct vg_call *call);

/* cmd_pubsub.c */
int vg_cmd_subscribe(struct vg_call *call);
int vg_cmd_psubscribe(struct vg_call *call);
int vg_cmd_ssubscribe(struct vg_call *call);
int vg_cmd_unsubscribe(struct vg_call *call);
int vg_cmd_punsubscribe(struct vg_call *call);
int vg_cmd_sunsubscribe(struct vg_call *call);
int vg_cmd_publish(struct vg_call *call);
int vg_cmd_spublish(struct vg_call *call);
int vg_cmd_pubsub_channels(struct vg_call *call);
int vg_cmd_pubsub_numsub(struct vg_call *call);
int vg_cmd_pubsub_numpat(struct vg_call *call);
int vg_cmd_pubsub_shardchannels(struct vg_call *call);
int vg_cmd_pubsub_shardnumsub(struct vg_call *call);
int vg_cmd_pubsub_help(struct vg_call *call);

/* cmd_multi.c */
int vg_cmd_multi(struct vg_call *call);
int vg_cmd_exec(struct vg_call *call);
int vg_cmd_discard(struct vg_call *call);
int vg_cmd_watch(struct vg_call *call);
int vg_cmd_unwatch(struct vg_call *call);
int vg_cmd_virgo_exec(struct vg_call *call);

/* cmd_handle.c */
int vg_cmd_virgo_alloc(struct vg_call *call);
int vg_cmd_virgo_get(struct vg_call *call);
int vg_cmd_virgo_set(struct vg_call *call);
int vg_cmd_virgo_free(struct vg_call *call);

#endif
