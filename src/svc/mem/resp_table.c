/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one table of commands: what dispatch, routing, COMMAND and the checks of arguments know comes from here. Arity,
 * flags, categories and key positions are those of redis-server 7.0 (tests/oracle/test_resp.sh compares them).
 */
#include <assert.h>

#include "svc/mem/cmd.h"

#define R VG_CMD_READONLY
#define W VG_CMD_WRITE
#define WM (VG_CMD_WRITE | VG_CMD_DENYOOM)
#define F VG_CMD_FAST
#define ANYTIME (VG_CMD_LOADING | VG_CMD_STALE)
#define ADMIN (VG_CMD_ADMIN | VG_CMD_NOSCRIPT | ANYTIME)
#define SAVING (VG_CMD_ADMIN | VG_CMD_NOSCRIPT | VG_CMD_NO_ASYNC_LOADING)
#define OWN (VG_CMD_NOSCRIPT | ANYTIME | VG_CMD_SESSION)
#define OPEN (OWN | F | VG_CMD_NO_AUTH | VG_CMD_ALLOW_BUSY)

/* Categories that the flags imply are added when they are shown; a row names the others. */
#define STRING VG_ACL_STRING
#define KEYSPACE VG_ACL_KEYSPACE
#define CONN VG_ACL_CONNECTION
#define DANGER VG_ACL_DANGEROUS
#define TRANSACTION VG_ACL_TRANSACTION
#define MULTI (OWN | F | VG_CMD_ALLOW_BUSY)

#define NO_KEY 0, 0, 0, VG_ROUTE_HERE
#define ONE_KEY 1, 1, 1, VG_ROUTE_KEYS
#define SUB_KEY 2, 2, 1, VG_ROUTE_KEYS
/* Shard channels stand where keys do; nothing is kept under them. */
#define SHARD_ONE 1, 1, 1, VG_ROUTE_HERE
#define SHARD_MANY 1, -1, 1, VG_ROUTE_HERE
#define TWO_KEYS 1, 2, 1, VG_ROUTE_KEYS

#define SHARDS "request_policy:all_shards"
#define SPLIT "request_policy:multi_shard"
#define ND "nondeterministic_output"
#define NODES "request_policy:all_nodes"

static const struct vg_command object_subs[] = {
	{ "object|encoding", vg_cmd_object_encoding, NULL, 3, R, KEYSPACE, SUB_KEY, "generic", "2.2.3", "RO", ND,
	  "How Redis would keep the value: int, embstr or raw." },
	{ "object|freq", vg_cmd_object_freq, NULL, 3, R, KEYSPACE, SUB_KEY, "generic", "4.0.0", "RO", ND,
	  "Refused: uses are not counted." },
	{ "object|help", vg_cmd_object_help, NULL, 2, ANYTIME, KEYSPACE, NO_KEY, "generic", "6.2.0", "", "",
	  "Says what OBJECT can do." },
	{ "object|idletime", vg_cmd_object_idletime, NULL, 3, R, KEYSPACE, SUB_KEY, "generic", "2.2.3", "RO", ND,
	  "Seconds since the key was last used." },
	{ "object|refcount", vg_cmd_object_refcount, NULL, 3, R, KEYSPACE, SUB_KEY, "generic", "2.2.3", "RO", ND,
	  "How many share the value: one." },
	{ NULL },
};

static const struct vg_command memory_subs[] = {
	{ "memory|help", vg_cmd_memory_help, NULL, 2, ANYTIME, 0, NO_KEY, "server", "4.0.0", "", "",
	  "Says what MEMORY can do." },
	{ "memory|usage", vg_cmd_memory_usage, NULL, -3, R, 0, SUB_KEY, "server", "4.0.0", "RO", "",
	  "Bytes a key and its value take." },
	{ NULL },
};

static const struct vg_command command_subs[] = {
	{ "command|count", vg_cmd_command_count, NULL, 2, ANYTIME, CONN, NO_KEY, "server", "2.8.13", "", "",
	  "How many commands there are." },
	{ "command|docs", vg_cmd_command_docs, NULL, -2, ANYTIME, CONN, NO_KEY, "server", "7.0.0", "", ND "_order",
	  "What commands do, in a sentence each." },
	{ "command|getkeys", vg_cmd_command_getkeys, NULL, -4, ANYTIME, CONN, NO_KEY, "server", "2.8.13", "", "",
	  "Which arguments of a command are keys." },
	{ "command|help", vg_cmd_command_help, NULL, 2, ANYTIME, CONN, NO_KEY, "server", "5.0.0", "", "",
	  "Says what COMMAND can do." },
	{ "command|info", vg_cmd_command_info, NULL, -2, ANYTIME, CONN, NO_KEY, "server", "2.8.13", "", ND "_order",
	  "Arity, flags and key positions of commands." },
	{ "command|list", vg_cmd_command_list, NULL, -2, ANYTIME, CONN, NO_KEY, "server", "7.0.0", "", ND "_order",
	  "The names of all commands." },
	{ NULL },
};

static const struct vg_command config_subs[] = {
	{ "config|get", vg_cmd_config_get, NULL, -3, ADMIN, 0, NO_KEY, "server", "2.0.0", "", "",
	  "Reads settings whose names match." },
	{ "config|help", vg_cmd_config_help, NULL, 2, ANYTIME, 0, NO_KEY, "server", "5.0.0", "", "",
	  "Says what CONFIG can do." },
	{ "config|resetstat", vg_cmd_config_resetstat, NULL, 2, ADMIN, 0, NO_KEY, "server", "2.0.0", "", "",
	  "Counts from zero again." },
	{ "config|set", vg_cmd_config_set, NULL, -4, ADMIN, 0, NO_KEY, "server", "2.0.0", "",
	  NODES " response_policy:all_succeeded", "Changes settings." },
	{ NULL },
};

static const struct vg_command client_subs[] = {
	{ "client|caching", vg_cmd_client_caching, NULL, 3, OWN, CONN, NO_KEY, "connection", "6.0.0", "", "",
	  "Whether the next command's keys are kept as copies." },
	{ "client|getname", vg_cmd_client_getname, NULL, 2, OWN, CONN, NO_KEY, "connection", "2.6.9", "", "",
	  "The connection's name." },
	{ "client|getredir", vg_cmd_client_getredir, NULL, 2, OWN, CONN, NO_KEY, "connection", "6.0.0", "", "",
	  "Which connection is told instead when copies are stale." },
	{ "client|help", vg_cmd_client_help, NULL, 2, ANYTIME, CONN, NO_KEY, "connection", "5.0.0", "", "",
	  "Says what CLIENT can do." },
	{ "client|id", vg_cmd_client_id, NULL, 2, OWN, CONN, NO_KEY, "connection", "5.0.0", "", "",
	  "The connection's number." },
	{ "client|info", vg_cmd_client_info, NULL, 2, OWN, CONN, NO_KEY, "connection", "6.2.0", "", ND,
	  "What is known of this connection." },
	{ "client|kill", vg_cmd_client_kill, NULL, -3, ADMIN, CONN, NO_KEY, "connection", "2.4.0", "", "",
	  "Closes connections." },
	{ "client|list", vg_cmd_client_list, NULL, -2, ADMIN, CONN, NO_KEY, "connection", "2.4.0", "", ND,
	  "What is known of all connections." },
	{ "client|no-evict", vg_cmd_client_no_evict, NULL, 3, ADMIN | VG_CMD_SESSION, CONN, NO_KEY, "connection",
	  "7.0.0", "", "", "Marks the connection; connections are not evicted anyway." },
	{ "client|no-touch", vg_cmd_client_no_touch, NULL, 3, OWN, CONN, NO_KEY, "connection", "7.2.0", "", "",
	  "Accepted; reads count as uses all the same." },
	{ "client|pause", vg_cmd_client_pause, NULL, -3, ADMIN, CONN, NO_KEY, "connection", "2.9.50", "", "",
	  "Lets commands wait for so many milliseconds." },
	{ "client|reply", vg_cmd_client_reply, NULL, 3, OWN, CONN, NO_KEY, "connection", "3.2.0", "", "",
	  "Turns answers off, on, or off for one command." },
	{ "client|setinfo", vg_cmd_client_setinfo, NULL, 4, OWN, CONN, NO_KEY, "connection", "7.2.0", "", "",
	  "Names the client library." },
	{ "client|setname", vg_cmd_client_setname, NULL, 3, OWN, CONN, NO_KEY, "connection", "2.6.9", "", "",
	  "Names the connection." },
	{ "client|tracking", vg_cmd_client_tracking, NULL, -3, OWN, CONN, NO_KEY, "connection", "6.0.0", "", "",
	  "Tells the connection when what it has read has changed." },
	{ "client|trackinginfo", vg_cmd_client_trackinginfo, NULL, 2, OWN, CONN, NO_KEY, "connection", "6.2.0", "",
	  "", "How tracking is set." },
	{ "client|unblock", vg_cmd_client_unblock, NULL, -3, ADMIN, CONN, NO_KEY, "connection", "5.0.0", "", "",
	  "Nobody is blocked." },
	{ "client|unpause", vg_cmd_client_unpause, NULL, 2, ADMIN, CONN, NO_KEY, "connection", "6.2.0", "", "",
	  "Lets commands go on." },
	{ NULL },
};

static const struct vg_command debug_subs[] = {
	{ "debug|help", vg_cmd_debug_help, NULL, 2, ADMIN, 0, NO_KEY, "server", "1.0.0", "", "",
	  "Says what DEBUG can do." },
	{ "debug|sleep", vg_cmd_debug_sleep, NULL, 3, ADMIN, 0, NO_KEY, "server", "1.0.0", "", "",
	  "Answers after so many seconds; nobody else waits." },
	{ NULL },
};

static const struct vg_command latency_subs[] = {
	{ "latency|doctor", vg_cmd_latency_doctor, NULL, 2, ADMIN, 0, NO_KEY, "server", "2.8.13", "",
	  ND " " NODES " response_policy:special", "What slow commands have in common." },
	{ "latency|help", vg_cmd_latency_help, NULL, 2, ANYTIME, 0, NO_KEY, "server", "2.8.13", "", "",
	  "Says what LATENCY can do." },
	{ "latency|history", vg_cmd_latency_history, NULL, 3, ADMIN, 0, NO_KEY, "server", "2.8.13", "",
	  ND " " NODES " response_policy:special", "The last slow moments of an event." },
	{ "latency|latest", vg_cmd_latency_latest, NULL, 2, ADMIN, 0, NO_KEY, "server", "2.8.13", "",
	  ND " " NODES " response_policy:special", "The last slow moment of every event." },
	{ "latency|reset", vg_cmd_latency_reset, NULL, -2, ADMIN, 0, NO_KEY, "server", "2.8.13", "",
	  NODES " response_policy:all_succeeded", "Forgets slow moments." },
	{ NULL },
};

#define PUBSUB (VG_CMD_PUBSUB | ANYTIME)
#define SUBSCRIBER (VG_CMD_PUBSUB | OWN)
static const struct vg_command pubsub_subs[] = {
	{ "pubsub|channels", vg_cmd_pubsub_channels, NULL, -2, PUBSUB, VG_ACL_PUBSUB, NO_KEY, "pubsub", "2.8.0", "", "",
	  "Channels that somebody has subscribed to." },
	{ "pubsub|help", vg_cmd_pubsub_help, NULL, 2, ANYTIME, 0, NO_KEY, "pubsub", "6.2.0", "", "",
	  "Says what PUBSUB can do." },
	{ "pubsub|numpat", vg_cmd_pubsub_numpat, NULL, 2, PUBSUB, VG_ACL_PUBSUB, NO_KEY, "pubsub", "2.8.0", "", "",
	  "How many patterns are subscribed to." },
	{ "pubsub|numsub", vg_cmd_pubsub_numsub, NULL, -2, PUBSUB, VG_ACL_PUBSUB, NO_KEY, "pubsub", "2.8.0", "", "",
	  "How many subscribers channels have." },
	{ "pubsub|shardchannels", vg_cmd_pubsub_shardchannels, NULL, -2, PUBSUB, VG_ACL_PUBSUB, NO_KEY, "pubsub",
	  "7.0.0", "", "", "Shard channels that somebody has subscribed to." },
	{ "pubsub|shardnumsub", vg_cmd_pubsub_shardnumsub, NULL, -2, PUBSUB, VG_ACL_PUBSUB, NO_KEY, "pubsub", "7.0.0",
	  "", "", "How many subscribers shard channels have." },
	{ NULL },
};

#define LOG (VG_CMD_ADMIN | ANYTIME)
static const struct vg_command slowlog_subs[] = {
	{ "slowlog|get", vg_cmd_slowlog_get, NULL, -2, LOG, 0, NO_KEY, "server", "2.2.12", "", NODES " " ND,
	  "The last slow commands." },
	{ "slowlog|help", vg_cmd_slowlog_help, NULL, 2, ANYTIME, 0, NO_KEY, "server", "6.2.0", "", "",
	  "Says what SLOWLOG can do." },
	{ "slowlog|len", vg_cmd_slowlog_len, NULL, 2, LOG, 0, NO_KEY, "server", "2.2.12", "",
	  NODES " response_policy:agg_sum " ND, "How many slow commands are kept." },
	{ "slowlog|reset", vg_cmd_slowlog_reset, NULL, 2, LOG, 0, NO_KEY, "server", "2.2.12", "",
	  NODES " response_policy:all_succeeded", "Forgets slow commands." },
	{ NULL },
};

const struct vg_command vg_commands[] = {
	{ "append", vg_cmd_append, NULL, 3, WM | F, STRING, ONE_KEY, "string", "2.0.0", "RW insert", "",
	  "Adds to the end of a value." },
	{ "auth", vg_cmd_auth, NULL, -2, OPEN | VG_CMD_SECRET, CONN, NO_KEY, "connection", "1.0.0", "", "",
	  "Gives the password." },
	{ "bgrewriteaof", vg_cmd_bgrewriteaof, NULL, 1, SAVING, 0, NO_KEY, "server", "1.0.0", "", "",
	  "Makes the log shorter, by a snapshot." },
	{ "bgsave", vg_cmd_bgsave, NULL, -1, SAVING, 0, NO_KEY, "server", "1.0.0", "", "",
	  "Makes a snapshot while all goes on." },
	{ "client", NULL, client_subs, -2, 0, 0, NO_KEY, "connection", "2.4.0", "", "", "About connections." },
	{ "command", vg_cmd_command, command_subs, -1, ANYTIME, CONN, NO_KEY, "server", "2.8.13", "", ND "_order",
	  "What is known of all commands." },
	{ "config", NULL, config_subs, -2, 0, 0, NO_KEY, "server", "2.0.0", "", "", "About settings." },
	{ "copy", vg_cmd_copy, NULL, -3, WM | VG_CMD_LONG, KEYSPACE, TWO_KEYS, "generic", "6.2.0",
	  "RO access;OW update", "", "Copies a key to another." },
	{ "dbsize", vg_cmd_dbsize, NULL, 1, R | F, KEYSPACE, NO_KEY, "server", "1.0.0", "",
	  SHARDS " response_policy:agg_sum", "How many keys the cluster has." },
	{ "debug", NULL, debug_subs, -2, ADMIN, 0, NO_KEY, "server", "1.0.0", "", "", "For tests." },
	{ "decr", vg_cmd_decr, NULL, 2, WM | F, STRING, ONE_KEY, "string", "1.0.0", "RW access update", "",
	  "Takes one from a number." },
	{ "decrby", vg_cmd_decrby, NULL, 3, WM | F, STRING, ONE_KEY, "string", "1.0.0", "RW access update", "",
	  "Takes so many from a number." },
	{ "del", vg_cmd_del, NULL, -2, W, KEYSPACE, 1, -1, 1, VG_ROUTE_SUM, "generic", "1.0.0", "RM delete",
	  SPLIT " response_policy:agg_sum", "Removes keys." },
	{ "discard", vg_cmd_discard, NULL, 1, MULTI, TRANSACTION, NO_KEY, "transactions", "2.0.0", "", "",
	  "Forgets the commands that waited." },
	{ "dump", vg_cmd_dump, NULL, 2, R | VG_CMD_LONG, KEYSPACE, ONE_KEY, "generic", "2.6.0", "RO access", ND,
	  "A value as bytes that RESTORE takes." },
	{ "echo", vg_cmd_echo, NULL, 2, ANYTIME | F, CONN, NO_KEY, "connection", "1.0.0", "", "", "Says it back." },
	{ "exec", vg_cmd_exec, NULL, 1, OWN | VG_CMD_SKIP_SLOWLOG, TRANSACTION, NO_KEY, "transactions", "1.2.0", "", "",
	  "Runs the commands that waited, as one." },
	{ "exists", vg_cmd_exists, NULL, -2, R | F, KEYSPACE, 1, -1, 1, VG_ROUTE_SUM, "generic", "1.0.0", "RO",
	  SPLIT " response_policy:agg_sum", "How many of the keys exist." },
	{ "expire", vg_cmd_expire, NULL, -3, W | F, KEYSPACE, ONE_KEY, "generic", "1.0.0", "RW update", "",
	  "Gives a key so many seconds." },
	{ "expireat", vg_cmd_expireat, NULL, -3, W | F, KEYSPACE, ONE_KEY, "generic", "1.2.0", "RW update", "",
	  "Gives a key an end, in Unix seconds." },
	{ "expiretime", vg_cmd_expiretime, NULL, 2, R | F, KEYSPACE, ONE_KEY, "generic", "7.0.0", "RO access", "",
	  "The end of a key, in Unix seconds." },
	{ "flushall", vg_cmd_flush, NULL, -1, W | VG_CMD_LONG, KEYSPACE | DANGER, NO_KEY, "server", "1.0.0", "",
	  SHARDS " response_policy:all_succeeded", "Removes all keys of the cluster." },
	{ "flushdb", vg_cmd_flush, NULL, -1, W | VG_CMD_LONG, KEYSPACE | DANGER, NO_KEY, "server", "1.0.0", "",
	  SHARDS " response_policy:all_succeeded", "The same: there is one database." },
	{ "get", vg_cmd_get, NULL, 2, R | F, STRING, ONE_KEY, "string", "1.0.0", "RO access", "", "Reads a value." },
	{ "getdel", vg_cmd_getdel, NULL, 2, W | F, STRING, ONE_KEY, "string", "6.2.0", "RW access delete", "",
	  "Reads a value and removes it." },
	{ "getex", vg_cmd_getex, NULL, -2, W | F, STRING, ONE_KEY, "string", "6.2.0", "RW access update", "",
	  "Reads a value and changes its end." },
	{ "getrange", vg_cmd_getrange, NULL, 4, R, STRING, ONE_KEY, "string", "2.4.0", "RO access", "",
	  "Reads a part of a value." },
	{ "getset", vg_cmd_getset, NULL, 3, WM | F, STRING, ONE_KEY, "string", "1.0.0", "RW access update", "",
	  "Writes a value and answers the old one." },
	{ "hello", vg_cmd_hello, NULL, -1, OPEN | VG_CMD_SECRET, CONN, NO_KEY, "connection", "6.0.0", "", "",
	  "Chooses the version of the protocol." },
	{ "incr", vg_cmd_incr, NULL, 2, WM | F, STRING, ONE_KEY, "string", "1.0.0", "RW access update", "",
	  "Adds one to a number." },
	{ "incrby", vg_cmd_incrby, NULL, 3, WM | F, STRING, ONE_KEY, "string", "1.0.0", "RW access update", "",
	  "Adds so many to a number." },
	{ "incrbyfloat", vg_cmd_incrbyfloat, NULL, 3, WM | F, STRING, ONE_KEY, "string", "2.6.0", "RW access update",
	  "", "Adds to a number with a fraction." },
	{ "info", vg_cmd_info, NULL, -1, ANYTIME, DANGER, NO_KEY, "server", "1.0.0", "",
	  ND " " SHARDS " response_policy:special", "Figures of this node." },
	{ "keys", vg_cmd_keys, NULL, 2, R | VG_CMD_LONG, KEYSPACE | DANGER, NO_KEY, "generic", "1.0.0", "",
	  SHARDS " " ND "_order", "All keys of the cluster that match." },
	{ "lastsave", vg_cmd_lastsave, NULL, 1, ANYTIME | F, VG_ACL_ADMIN | DANGER, NO_KEY, "server", "1.0.0", "", ND,
	  "When the last snapshot was made." },
	{ "latency", NULL, latency_subs, -2, 0, 0, NO_KEY, "server", "2.8.13", "", "", "About slow moments." },
	{ "lcs", vg_cmd_lcs, NULL, -3, R | VG_CMD_LONG, STRING, TWO_KEYS, "string", "7.0.0", "RO access", "",
	  "The longest common subsequence of two values." },
	{ "memory", NULL, memory_subs, -2, 0, 0, NO_KEY, "server", "4.0.0", "", "", "About memory." },
	{ "mget", vg_cmd_mget, NULL, -2, R | F, STRING, 1, -1, 1, VG_ROUTE_LIST, "string", "1.0.0", "RO access", SPLIT,
	  "Reads several values." },
	{ "monitor", vg_cmd_monitor, NULL, 1, ADMIN | VG_CMD_SESSION, 0, NO_KEY, "server", "1.0.0", "", "",
	  "Shows every command that is run." },
	{ "mset", vg_cmd_mset, NULL, -3, WM, STRING, 1, -1, 2, VG_ROUTE_OK, "string", "1.0.1", "OW update",
	  SPLIT " response_policy:all_succeeded", "Writes several values; atomic on each node." },
	{ "msetnx", vg_cmd_msetnx, NULL, -3, WM, STRING, 1, -1, 2, VG_ROUTE_KEYS, "string", "1.0.1", "OW insert",
	  SPLIT " response_policy:agg_min", "Writes several values if none of the keys exists." },
	{ "multi", vg_cmd_multi, NULL, 1, MULTI, TRANSACTION, NO_KEY, "transactions", "1.2.0", "", "",
	  "The commands that follow wait for EXEC." },
	{ "object", NULL, object_subs, -2, 0, 0, NO_KEY, "generic", "2.2.3", "", "", "About values." },
	{ "persist", vg_cmd_persist, NULL, 2, W | F, KEYSPACE, ONE_KEY, "generic", "2.2.0", "RW update", "",
	  "Takes the end from a key." },
	{ "pexpire", vg_cmd_pexpire, NULL, -3, W | F, KEYSPACE, ONE_KEY, "generic", "2.6.0", "RW update", "",
	  "Gives a key so many milliseconds." },
	{ "pexpireat", vg_cmd_pexpireat, NULL, -3, W | F, KEYSPACE, ONE_KEY, "generic", "2.6.0", "RW update", "",
	  "Gives a key an end, in Unix milliseconds." },
	{ "pexpiretime", vg_cmd_pexpiretime, NULL, 2, R | F, KEYSPACE, ONE_KEY, "generic", "7.0.0", "RO access", "",
	  "The end of a key, in Unix milliseconds." },
	{ "ping", vg_cmd_ping, NULL, -1, F, CONN, NO_KEY, "connection", "1.0.0", "",
	  SHARDS " response_policy:all_succeeded", "Is anybody there?" },
	{ "psetex", vg_cmd_psetex, NULL, 4, WM, STRING, ONE_KEY, "string", "2.6.0", "OW update", "",
	  "Writes a value for so many milliseconds." },
	{ "psubscribe", vg_cmd_psubscribe, NULL, -2, SUBSCRIBER, VG_ACL_PUBSUB, NO_KEY, "pubsub", "2.0.0", "", "",
	  "Hears what is published to channels that match." },
	{ "pttl", vg_cmd_pttl, NULL, 2, R | F, KEYSPACE, ONE_KEY, "generic", "2.6.0", "RO access", ND,
	  "How many milliseconds a key still has." },
	{ "publish", vg_cmd_publish, NULL, 3, PUBSUB | F, VG_ACL_PUBSUB, NO_KEY, "pubsub", "2.0.0", "", "",
	  "Says something to all subscribers of a channel." },
	{ "pubsub", NULL, pubsub_subs, -2, 0, 0, NO_KEY, "pubsub", "2.8.0", "", "", "About subscriptions." },
	{ "punsubscribe", vg_cmd_punsubscribe, NULL, -1, SUBSCRIBER, VG_ACL_PUBSUB, NO_KEY, "pubsub", "2.0.0", "", "",
	  "Hears no more of channels that match." },
	{ "quit", vg_cmd_quit, NULL, -1, OPEN, CONN, NO_KEY, "connection", "1.0.0", "", "", "Closes the connection." },
	{ "randomkey", vg_cmd_randomkey, NULL, 1, R, KEYSPACE, NO_KEY, "generic", "1.0.0", "", SHARDS " " ND,
	  "Some key." },
	{ "rename", vg_cmd_rename, NULL, 3, W, KEYSPACE, TWO_KEYS, "generic", "1.0.0", "RW access delete;OW update", "",
	  "Gives a key another name." },
	{ "renamenx", vg_cmd_renamenx, NULL, 3, W | F, KEYSPACE, TWO_KEYS, "generic", "1.0.0",
	  "RW access delete;OW insert", "", "Gives a key another name that is free." },
	{ "reset", vg_cmd_reset, NULL, 1, OPEN, CONN, NO_KEY, "connection", "6.2.0", "", "",
	  "Makes the connection as it was when new." },
	{ "restore", vg_cmd_restore, NULL, -4, WM | VG_CMD_LONG, KEYSPACE | DANGER, ONE_KEY, "generic", "2.6.0",
	  "OW update", "", "Makes a key of what DUMP gave." },
	{ "role", vg_cmd_role, NULL, 1, VG_CMD_NOSCRIPT | ANYTIME | F, VG_ACL_ADMIN | DANGER, NO_KEY, "server",
	  "2.8.12", "", "", "A node is nobody's replica." },
	{ "save", vg_cmd_save, NULL, 1, SAVING | VG_CMD_NO_MULTI, 0, NO_KEY, "server", "1.0.0", "", "",
	  "Makes a snapshot and waits for it." },
	{ "scan", vg_cmd_scan, NULL, -2, R | VG_CMD_LONG, KEYSPACE, NO_KEY, "generic", "2.8.0", "",
	  ND " request_policy:special", "All keys of the cluster, step by step." },
	{ "select", vg_cmd_select, NULL, 2, ANYTIME | F, CONN, NO_KEY, "connection", "1.0.0", "", "",
	  "Chooses database 0, the only one." },
	{ "set", vg_cmd_set, NULL, -3, WM, STRING, ONE_KEY, "string", "1.0.0", "RW access update variable_flags", "",
	  "Writes a value." },
	{ "setex", vg_cmd_setex, NULL, 4, WM, STRING, ONE_KEY, "string", "2.0.0", "OW update", "",
	  "Writes a value for so many seconds." },
	{ "setnx", vg_cmd_setnx, NULL, 3, WM | F, STRING, ONE_KEY, "string", "1.0.0", "OW insert", "",
	  "Writes a value if there is none." },
	{ "setrange", vg_cmd_setrange, NULL, 4, WM, STRING, ONE_KEY, "string", "2.2.0", "RW update", "",
	  "Writes a part of a value." },
	{ "shutdown", vg_cmd_shutdown, NULL, -1, ADMIN | VG_CMD_NO_MULTI | VG_CMD_ALLOW_BUSY, 0, NO_KEY, "server",
	  "1.0.0", "", "", "Ends this node." },
	{ "slowlog", NULL, slowlog_subs, -2, 0, 0, NO_KEY, "server", "2.2.12", "", "", "About slow commands." },
	{ "spublish", vg_cmd_spublish, NULL, 3, PUBSUB | F, VG_ACL_PUBSUB, SHARD_ONE, "pubsub", "7.0.0", "not_key", "",
	  "Says something to all subscribers of a shard channel." },
	{ "ssubscribe", vg_cmd_ssubscribe, NULL, -2, SUBSCRIBER, VG_ACL_PUBSUB, SHARD_MANY, "pubsub", "7.0.0",
	  "not_key", "", "Hears what is published to shard channels." },
	{ "strlen", vg_cmd_strlen, NULL, 2, R | F, STRING, ONE_KEY, "string", "2.2.0", "RO", "",
	  "How long a value is." },
	{ "subscribe", vg_cmd_subscribe, NULL, -2, SUBSCRIBER, VG_ACL_PUBSUB, NO_KEY, "pubsub", "2.0.0", "", "",
	  "Hears what is published to channels." },
	{ "substr", vg_cmd_getrange, NULL, 4, R, STRING, ONE_KEY, "string", "1.0.0", "RO access", "",
	  "The old name of GETRANGE." },
	{ "sunsubscribe", vg_cmd_sunsubscribe, NULL, -1, SUBSCRIBER, VG_ACL_PUBSUB, SHARD_MANY, "pubsub", "7.0.0",
	  "not_key", "", "Hears no more of shard channels." },
	{ "time", vg_cmd_time, NULL, 1, ANYTIME | F, 0, NO_KEY, "server", "2.6.0", "", ND, "The time of this node." },
	{ "touch", vg_cmd_touch, NULL, -2, R | F, KEYSPACE, 1, -1, 1, VG_ROUTE_SUM, "generic", "3.2.1", "RO",
	  SPLIT " response_policy:agg_sum", "Marks keys as used." },
	{ "ttl", vg_cmd_ttl, NULL, 2, R | F, KEYSPACE, ONE_KEY, "generic", "1.0.0", "RO access", ND,
	  "How many seconds a key still has." },
	{ "type", vg_cmd_type, NULL, 2, R | F, KEYSPACE, ONE_KEY, "generic", "1.0.0", "RO", "",
	  "What kind of value it is." },
	{ "unlink", vg_cmd_del, NULL, -2, W | F, KEYSPACE, 1, -1, 1, VG_ROUTE_SUM, "generic", "4.0.0", "RM delete",
	  SPLIT " response_policy:agg_sum", "Removes keys." },
	{ "unsubscribe", vg_cmd_unsubscribe, NULL, -1, SUBSCRIBER, VG_ACL_PUBSUB, NO_KEY, "pubsub", "2.0.0", "", "",
	  "Hears no more of channels." },
	{ "unwatch", vg_cmd_unwatch, NULL, 1, MULTI, TRANSACTION, NO_KEY, "transactions", "2.2.0", "", "",
	  "Watches no key any more." },
	{ "virgo.alloc", vg_cmd_virgo_alloc, NULL, 2, WM, 0, NO_KEY, "virgo", "0.1.0", "", "",
	  "Memory of so many bytes; answers its handle." },
	{ "virgo.exec", vg_cmd_virgo_exec, NULL, -3, W, 0, NO_KEY, "virgo", "0.2.0", "", "",
	  "Runs commands as one: the number of words of each, then the words." },
	{ "virgo.free", vg_cmd_virgo_free, NULL, 2, W, 0, NO_KEY, "virgo", "0.1.0", "", "", "Gives memory back." },
	{ "virgo.get", vg_cmd_virgo_get, NULL, 4, R, 0, NO_KEY, "virgo", "0.1.0", "", "",
	  "Reads bytes of memory: handle, offset, length." },
	{ "virgo.hotkeys", vg_cmd_virgo_hotkeys, NULL, -1, R, 0, NO_KEY, "virgo", "0.2.0", "", ND,
	  "Keys most asked for on this node, their share of all in ten thousandths, and how wrong that may be." },
	{ "virgo.set", vg_cmd_virgo_set, NULL, 4, W, 0, NO_KEY, "virgo", "0.1.0", "", "",
	  "Writes bytes of memory: handle, offset, data." },
	{ "wait", vg_cmd_wait, NULL, 3, VG_CMD_NOSCRIPT, CONN, NO_KEY, "generic", "3.0.0", "",
	  SHARDS " response_policy:agg_min", "Waits for replicas, of which there are none." },
	{ "watch", vg_cmd_watch, NULL, -2, MULTI, TRANSACTION, 1, -1, 1, VG_ROUTE_HERE, "transactions", "2.2.0", "RO",
	  "", "EXEC does nothing if one of the keys has changed until then." },
};
const int vg_commands_count = sizeof(vg_commands) / sizeof(vg_commands[0]);

/* ---- by name --------------------------------------------------------------------------------------------------- */

#define NAME_MAX_BYTES 16
#define INDEX_SIZE 512 /* a power of two, several times the commands: most names are found at the first look */

struct name_words {
	__u64 word[2];
};

static struct {
	struct name_words name;
	size_t length;
	const struct vg_command *command;
} name_index[INDEX_SIZE];

/* The name in two words, letters lower-cased by their bit; shorter names end in blanks. */
static inline struct name_words words_of(const char *name, size_t length)
{
	struct name_words words = { { 0, 0 } };

	if (length >= 8) {
		words.word[0] = vg_load64(name);
		if (length > 8)
			words.word[1] = vg_load64(name + length - 8) >> 8 * (16 - length);
	} else if (length >= 4) {
		words.word[0] = vg_load32(name) | (__u64)vg_load32(name + length - 4) << 8 * (length - 4);
	} else {
		for (size_t i = 0; i < length; i++)
			words.word[0] |= (__u64)(unsigned char)name[i] << 8 * i;
	}
	words.word[0] |= 0x2020202020202020ULL;
	words.word[1] |= 0x2020202020202020ULL;
	return words;
}

static inline __u32 slot_of(struct name_words words)
{
	return (__u32)((words.word[0] ^ vg_rotl64(words.word[1], 23)) * VG_XXH_PRIME1 >> 32) % INDEX_SIZE;
}

void vg_commands_init(void)
{
	if (name_index[slot_of(words_of(vg_commands[0].name, strlen(vg_commands[0].name)))].command)
		return;
	for (int i = 0; i < vg_commands_count; i++) {
		size_t length = strlen(vg_commands[i].name);
		struct name_words words = words_of(vg_commands[i].name, length);
		__u32 slot = slot_of(words);

		assert(length <= NAME_MAX_BYTES);
		while (name_index[slot].command)
			slot = (slot + 1) % INDEX_SIZE;
		name_index[slot].name = words;
		name_index[slot].length = length;
		name_index[slot].command = &vg_commands[i];
	}
}

const struct vg_command *vg_command_find(const char *name, size_t length)
{
	struct name_words words;

	if (length == 0 || length > NAME_MAX_BYTES)
		return NULL;
	words = words_of(name, length);
	for (__u32 slot = slot_of(words); name_index[slot].command; slot = (slot + 1) % INDEX_SIZE)
		if (name_index[slot].name.word[0] == words.word[0] && name_index[slot].name.word[1] == words.word[1] &&
		    name_index[slot].length == length)
			return name_index[slot].command;
	return NULL;
}

const struct vg_command *vg_command_find_sub(const struct vg_command *parent, const char *name, size_t length)
{
	size_t prefix = strlen(parent->name) + 1;

	for (const struct vg_command *sub = parent->subs; sub && sub->name; sub++)
		if (strlen(sub->name + prefix) == length && strncasecmp(sub->name + prefix, name, length) == 0)
			return sub;
	return NULL;
}
