/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * VIRGO binary: the message that libvirgo, nodes and XDP exchange, one to a UDP datagram, framed back to back on TCP.
 *
 *   header (80 bytes) | key, zero-padded to 8 bytes | body | padding (datagrams only)
 *
 * All integers are big-endian. A request is padded so that its answer fits: an answer is never longer than the
 * datagram it answers, unless the source has proved itself (a valid tag, or TCP). The answer to a datagram has no key;
 * its body starts right behind the header.
 *
 * The tag is SipHash-2-4 under the cluster key over the header, with `hops` and `tag` taken as zero, and the padded
 * key. It covers the load stamp, so a stamp is believed only from a node that holds the key; whoever rewrites the stamp
 * (tc_egress) renews the tag.
 */
#ifndef VIRGO_WIRE_H
#define VIRGO_WIRE_H

#include "types.h"
#include "limits.h"

#define VG_WIRE_MAGIC 0x5647 /* "VG" */
#define VG_WIRE_VERSION 1

/* X(name, number, text) — numbers are the protocol: never reused. */
#define VG_OPCODES(X)                                                                     \
	X(PING, 1, "ping")            /* answer: the same, with a load stamp */           \
	X(GET, 2, "get")              /* key → body: value */                             \
	X(SET, 3, "set")              /* key, body: value; argument: expire_ms or 0 */    \
	X(DEL, 4, "del")              /* key */                                           \
	X(HANDLE_GET, 5, "handle-get")    /* ident: handle; argument: range → body */     \
	X(HANDLE_SET, 6, "handle-set")    /* ident: handle; argument: range; body: data */ \
	X(HANDLE_ALLOC, 7, "handle-alloc") /* argument: bytes → ident: handle */          \
	X(HANDLE_FREE, 8, "handle-free")  /* ident: handle */                             \
	X(COMMAND, 9, "command")      /* body: one RESP command → body: its RESP reply */ \
	X(STATUS, 10, "status")       /* → body: this node's state as JSON (TCP only) */  \
	X(TOPOLOGY, 11, "topology")   /* → body: nodes and epoch as JSON (TCP only) */    \
	X(CAS, 12, "cas")   /* key, body: value; argument: the version it must have → ident: the new one */ \
	X(MGET, 13, "mget") /* body: struct vg_mget_key, key, … → body: struct vg_mget_value, value, … */ \
	X(MEMCACHE, 14, "memcache") /* body: one memcached request → body: its reply (between nodes) */     \
	/* The CPU pool (job.h); key: the owner; ident: the job, but in CLONE the body's digest. */           \
	X(CLONE, 15, "clone")	    /* body: the job → ident: its number; JOB_OUTPUT …, JOB_END follow */     \
	X(JOB_INPUT, 16, "job-input")	/* argument: offset; body: for its stdin, empty: the end; unanswered */ \
	X(JOB_OUTPUT, 17, "job-output") /* from the node; argument: offset; partition: VG_JOB_STDOUT, … */    \
	X(JOB_WINDOW, 18, "job-window") /* both ways; partition, argument: taken up to there; unanswered */     \
	X(JOB_END, 19, "job-end")	/* from the node; body: struct vg_job_end */                          \
	X(JOB_SIGNAL, 20, "job-signal") /* argument: the signal */                                            \
	X(JOB_CANCEL, 21, "job-cancel") /* queued or running: it ends soon */                                 \
	X(JOB_ATTACH, 22, "job-attach") /* argument: offset of output to go on from → argument: input taken */ \
	X(JOB_LIST, 23, "job-list")	/* → body: struct vg_job_record and name, … */                        \
	X(JOB_STATUS, 24, "job-status") /* → the same for one job */                                          \
	X(JOB_RESIZE, 25, "job-resize") /* argument: rows << 16 | columns of its terminal; unanswered */      \
	/* Snapshots of one node, TCP only. */                                                                \
	X(SNAPSHOT_OPEN, 26, "snapshot-open")	/* argument: VG_SNAPSHOT_FOR_BACKUP … → ident: its number */  \
	X(SNAPSHOT_GET, 27, "snapshot-get")	/* key; argument: the number → body: value */                 \
	X(SNAPSHOT_READ, 28, "snapshot-read")	/* ident: its number → body; argument: done in ‰ + 1, 0: end */ \
	X(SNAPSHOT_CLOSE, 29, "snapshot-close") /* ident: the number */                                       \
	/* body: one block of a snapshot; ident: its file's identity → argument: stored << 32 | skipped */    \
	X(SNAPSHOT_LOAD, 30, "snapshot-load")                                                                 \
	/* The file pool (file.h), TCP only. key: a path, or ident: a descriptor; partition: VG_FILE_* flags. */ \
	X(FILE_SESSION, 31, "file-session") /* ident: 0 or one to join; body: struct vg_file_session, both ways */ \
	X(FILE_END, 32, "file-end") /* the session is over: everything it held is released */ \
	X(FILE_OPEN, 33, "file-open") /* key; argument: flags << 32 | mode → ident; body: struct vg_file_stat */ \
	X(FILE_CLOSE, 34, "file-close") /* ident */ \
	X(FILE_READ, 35, "file-read") /* ident; argument: offset; body: struct vg_file_span → body */ \
	X(FILE_WRITE, 36, "file-write") /* ident; argument: offset; body → argument: bytes; ident: written at */ \
	X(FILE_SYNC, 37, "file-sync") /* ident */ \
	X(FILE_STAT, 38, "file-stat") /* key or ident → body: struct vg_file_stat; follows no symlink */ \
	X(FILE_CHANGE, 39, "file-change") /* key or ident; body: struct vg_file_change → struct vg_file_stat */ \
	X(FILE_STATFS, 40, "file-statfs") /* → body: struct vg_file_statfs of this node */ \
	X(FILE_LIST, 41, "file-list") /* key; argument: cursor; body: struct vg_file_span → entries */ \
	X(FILE_RENAME, 42, "file-rename") /* key; body: the new path */ \
	X(FILE_LINK, 43, "file-link") /* key; body: the new path */ \
	X(FILE_UNLINK, 44, "file-unlink") /* key */ \
	X(FILE_MKDIR, 45, "file-mkdir") /* key; argument: mode → body: struct vg_file_stat */ \
	X(FILE_RMDIR, 46, "file-rmdir") /* key */ \
	X(FILE_SYMLINK, 47, "file-symlink") /* key; body: what it says → body: struct vg_file_stat */ \
	X(FILE_READLINK, 48, "file-readlink") /* key → body */ \
	X(FILE_XATTR_GET, 49, "file-xattr-get") /* key or ident; body: name → body: value */ \
	X(FILE_XATTR_SET, 50, "file-xattr-set") /* key or ident; body: struct vg_file_xattr, name, value */ \
	X(FILE_XATTR_LIST, 51, "file-xattr-list") /* key or ident → body: names, a NUL behind each */ \
	X(FILE_XATTR_REMOVE, 52, "file-xattr-remove") /* key or ident; body: name */ \
	X(FILE_LOCK, 53, "file-lock") /* ident; body: struct vg_file_lock */ \
	X(FILE_COPY, 54, "file-copy") /* ident; body: struct vg_file_copy → argument: bytes */ \
	X(FILE_ALLOCATE, 55, "file-allocate") /* ident; body: struct vg_file_range */ \
	X(FILE_SEEK, 56, "file-seek") /* ident; argument: offset → argument: of data, or of a hole */ \
	X(FILE_WATCH, 57, "file-watch") /* key; argument: mask → ident */ \
	X(FILE_UNWATCH, 58, "file-unwatch") /* ident */ \
	X(FILE_EVENT, 59, "file-event") /* from the node: ident: the watch; body: struct vg_file_event, name */ \
	X(FILE_FETCH, 60, "file-fetch") /* key: open, read, close → body: struct vg_file_stat, bytes */ \
	X(FILE_PUT, 61, "file-put") /* key; argument as OPEN's; body: bytes: create, write, close → stat */ \
	X(FILE_HOME, 62, "file-home") /* between nodes: key; argument: what (src/svc/file/tree_inner.h); body: a path */

enum vg_opcode {
#define X(name, number, text) VG_OP_##name = number,
	VG_OPCODES(X)
#undef X
	VG_OP_MAX
};

/* Arguments of SNAPSHOT_OPEN and SNAPSHOT_LOAD. */
#define VG_SNAPSHOT_FOR_BACKUP 1 /* its bytes will be read from start to end; else its keys, one by one */
#define VG_SNAPSHOT_COMPRESS 2
#define VG_SNAPSHOT_REPLACE 1	 /* keys that exist already too */

/* What a reply says. X(name, number, text) */
#define VG_STATUSES(X)                                                          \
	X(OK, 0, "ok")                                                          \
	X(NOT_FOUND, 1, "no such key")                                          \
	X(GONE, 2, "the handle is gone: freed, or of another life of the node") \
	X(BAD_REQUEST, 3, "malformed request")                                  \
	X(UNSUPPORTED, 4, "unknown version or operation")                       \
	X(TOO_BIG, 5, "the answer does not fit the request: pad it or use TCP") \
	X(NO_MEMORY, 6, "out of memory")                                        \
	X(UNAUTHORIZED, 7, "missing or wrong tag or password")                  \
	X(WRONG_NODE, 8, "this node does not own the key")                      \
	X(UNREACHABLE, 9, "the node that owns the key does not answer")         \
	X(BUSY, 10, "too many requests at once: try again")                     \
	X(REPLAYED, 11, "a request older than the window of its client")        \
	X(RANGE, 12, "outside the allocation")                                  \
	X(CONDITION, 13, "the condition was not met")                           \
	X(INTERNAL, 14, "internal error")                                       \
	X(NOT_LOGGED, 15, "changes are refused: the log cannot be written") \
	X(ERRNO, 16, "the file operation failed: the argument is its errno")

enum vg_status {
#define X(name, number, text) VG_STATUS_##name = number,
	VG_STATUSES(X)
#undef X
	VG_STATUS_MAX
};

/* vg_wire_header.flags: covered by the tag. */
#define VG_FLAG_REPLY 0x0001	   /* an answer: never answered */
#define VG_FLAG_TAGGED 0x0002	   /* the tag field is filled in */
#define VG_FLAG_FORWARDED 0x0004   /* from a node on behalf of a client: answer here, never forward again */
#define VG_FLAG_IF_ABSENT 0x0008   /* SET: only if the key does not exist */
#define VG_FLAG_IF_PRESENT 0x0010  /* SET: only if it does */
#define VG_FLAG_KEEP_TTL 0x0020	   /* SET: keep the deadline */
#define VG_FLAG_TEXT 0x0040	   /* reply: the body is an error text, not a value */
#define VG_FLAG_VERSION 0x0080	   /* GET: the answer's argument is the value's version, for a CAS */
#define VG_FLAGS_KNOWN 0x00ff

/* How busy a node is; every reply carries it, so each answer is also a load probe. All big-endian. */
struct vg_load_stamp {
	__be32 in_flight;	     /* requests received and not yet answered */
	__be32 service_ns;	     /* smoothed service time, nanoseconds */
	__be32 run_queue_delay_ns;   /* smoothed wait of a runnable thread for a CPU, nanoseconds; 0: not measured */
	__be16 memory_free_permille; /* free share of the memory pool */
	__be16 reserved;	     /* zero */
};
VG_ASSERT_SIZE(struct vg_load_stamp, 16);

struct vg_wire_header {
	__be16 magic;
	__u8 version;
	__u8 opcode;	       /* enum vg_opcode */
	__be16 flags;	       /* VG_FLAG_* */
	__u8 hops;	       /* times steered; not covered by the tag */
	__u8 status;	       /* enum vg_status; zero in a request */
	__be64 client;	       /* who asks: drawn at random by the client, names it over address changes */
	__be64 sequence;       /* the client's own count: (client, sequence) names the request */
	__be16 source_node;    /* the node that sent this message, VG_NODE_NONE for a client */
	__be16 partition;      /* the key's partition; 0 where there is no key */
	__be32 epoch;	       /* cluster epoch the sender routed with; 0: it does not know one */
	__be64 ident;	       /* hash of the key (vg_hash64), or the handle */
	__be32 key_length;     /* bytes, without padding */
	__be32 body_length;    /* bytes */
	/*
	 * SET: the deadline in Unix milliseconds, 0: none. HANDLE_GET, HANDLE_SET: offset << 32 | length. HANDLE_ALLOC:
	 * bytes. CAS: the version the value must have, 0: there must be none. MGET: how many keys. In answers:
	 * WRONG_NODE: the owner's number; HANDLE_GET of length 0: bytes of the allocation; GET with the VERSION flag:
	 * the version; else 0.
	 */
	__be64 argument;
	struct vg_load_stamp load;
	__be64 tag;
};
VG_ASSERT_SIZE(struct vg_wire_header, 80);
VG_ASSERT_OFFSET(struct vg_wire_header, client, 8);
VG_ASSERT_OFFSET(struct vg_wire_header, ident, 32);
VG_ASSERT_OFFSET(struct vg_wire_header, body_length, 44);
VG_ASSERT_OFFSET(struct vg_wire_header, argument, 48);
VG_ASSERT_OFFSET(struct vg_wire_header, load, 56);
VG_ASSERT_OFFSET(struct vg_wire_header, tag, 72);

/*
 * The body of an MGET: for each key this, then the key, zero-padded to 8 bytes. A node answers for its own keys only.
 * The body of its answer: for each key in order a vg_mget_value, then the value, zero-padded to 8 bytes.
 */
#define VG_MGET_KEYS_MAX 16
struct vg_mget_key {
	__be64 ident;	     /* hash of the key */
	__be16 partition;
	__be16 key_length;   /* ≤ VG_XDP_KEY_MAX */
	__be32 reserved;     /* zero */
};
VG_ASSERT_SIZE(struct vg_mget_key, 16);

struct vg_mget_value {
	__be32 length;	     /* bytes of the value, without padding */
	__u8 status;	     /* OK, NOT_FOUND, or what a GET of that key alone would say */
	__u8 reserved[3];    /* zero */
};
VG_ASSERT_SIZE(struct vg_mget_value, 8);

#endif
