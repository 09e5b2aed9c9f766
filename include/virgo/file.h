/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The file pool as it is spoken: what stands in the bodies of the FILE_* operations, the rules of paths, and how a
 * name finds its node. The same code for daemon, client and fuzzer. docs/protocol.md, "The file pool", has the
 * conversation.
 *
 * Sessions. Every operation belongs to a session, which FILE_SESSION makes or joins; it holds the descriptors, locks
 * and watches of one client on one node. Several connections may be in one session. When the last has gone the session
 * is kept for its lease, then everything it held is released. A change that was sent and not answered before a
 * connection was lost is sent again, with its sequence number, on the next: done before, it is answered from memory,
 * never done twice. A node that was started anew has no sessions (ESTALE): whether such a change was made is unknown.
 *
 * Answers come in any order, each with the sequence of its request. Changes of overlapping ranges of one descriptor are
 * made in the order in which one connection sent them. An operation that fails answers VG_STATUS_ERRNO, with the
 * number (Linux, generic) in the argument and its name and a sentence as text.
 *
 * One tree over many nodes. A directory exists where its own name lives, and as a copy on each node that needs it. A
 * file's name lives on the name node, which the last component of its path decides (vg_file_partition): so renaming a
 * directory moves no name below it. Its bytes live on its home, chosen at creation: the name node itself, or another
 * one; then the name node has a stub that names it. A request to a node that is not the name's is answered WRONG_NODE
 * with the name node as argument; one that meets a stub, WRONG_NODE with the home, and VG_FILE_AT_HOME in the answer's
 * partition: ask there, with the same flags besides one's own. Whether a stub's file exists its home decides: ENOENT
 * there means that the name has moved, or is none; start again at the name node, twice. Changes of names (UNLINK,
 * RENAME, LINK, and CREATE elsewhere) are carried out by the name node, which asks the others.
 */
#ifndef VIRGO_FILE_H
#define VIRGO_FILE_H

#include "types.h"
#include "hash.h"
#include "limits.h"
#include "wire.h"

/* ---- flags ----------------------------------------------------------------------------------------------------- */

/* header.partition of a FILE_* request: how it is meant. 0x00ff: of any operation; 0xff00: of that one alone. */
#define VG_FILE_AT_HOME 0x0001	  /* its name node said so: it is on this disk or nowhere; in answers: ask there */
#define VG_FILE_RETRY 0x0002	  /* sent before, on a connection that was lost */
#define VG_FILE_STRIPED 0x0004	  /* in answers: see struct vg_file_stripes */
#define VG_FILE_CREATED 0x0008	  /* with AT_HOME: made for this very OPEN or PUT, whose mode it shall get */

#define VG_FILE_DATA_ONLY 0x0100   /* SYNC: fdatasync */
#define VG_FILE_DURABLE 0x0100	   /* WRITE, PUT: answer when it is on stable storage */
#define VG_FILE_APPEND 0x0200	   /* WRITE: at the end, whatever the argument, as one step */
#define VG_FILE_NO_REPLACE 0x0100  /* RENAME: EEXIST if there is one */
#define VG_FILE_EXCHANGE 0x0200	   /* RENAME: swap the two (of one node) */
#define VG_FILE_KEEP_SIZE 0x0100   /* ALLOCATE: as FALLOC_FL_KEEP_SIZE, PUNCH_HOLE (with it), ZERO_RANGE */
#define VG_FILE_PUNCH_HOLE 0x0200
#define VG_FILE_ZERO_RANGE 0x0400
#define VG_FILE_SEEK_DATA 0x0100   /* SEEK */
#define VG_FILE_SEEK_HOLE 0x0200
#define VG_FILE_WITH_STAT 0x0100   /* LIST: a stat with each entry */
#define VG_FILE_COPIES 0x0200	   /* LIST: copies of directories, too: their name node may be down */
#define VG_FILE_PIECE 0x0100	   /* OPEN, UNLINK: the key is "<id in hex>.<index>": one stripe of a striped file */

/* The upper half of the argument of OPEN and PUT; the lower half is the mode (07777). */
#define VG_FILE_O_READ 0x0001
#define VG_FILE_O_WRITE 0x0002
#define VG_FILE_O_CREATE 0x0004
#define VG_FILE_O_EXCLUSIVE 0x0008
#define VG_FILE_O_TRUNCATE 0x0010
#define VG_FILE_O_APPEND 0x0020	/* every write at the end */
#define VG_FILE_O_DIRECT 0x0040	/* past the page cache; offset and length of reads and writes are multiples of 4096 */
#define VG_FILE_O_SYNC 0x0080	/* every write durable */
#define VG_FILE_O_DIRECTORY 0x0100 /* a directory, to list, sync or stat it */
#define VG_FILE_O_KNOWN 0x01ff

/* ---- limits ---------------------------------------------------------------------------------------------------- */

#define VG_FILE_PATH_MAX 4095	    /* bytes; no NUL behind it */
#define VG_FILE_NAME_MAX 255
#define VG_FILE_DATA_MAX (1u << 20) /* bytes of one READ, WRITE, FETCH, PUT */
#define VG_FILE_LIST_MAX (256u << 10)
#define VG_FILE_XATTR_MAX 65536
#define VG_FILE_STRIPES_MAX 64
#define VG_FILE_CONNECTIONS_MAX 64  /* in one session */
#define VG_FILE_LEASE_DEFAULT_MS 30000
#define VG_FILE_LEASE_MAX_MS 600000

/* ---- bodies ---------------------------------------------------------------------------------------------------- */

/*
 * FILE_SESSION, both ways. Request: ident 0 makes one (the secret is zero), else joins it: both must be right, ESTALE
 * else. Answer: ident and secret to join it with.
 */
struct vg_file_session {
	__u8 secret[16];
	__be32 lease_ms; /* asked for, 0: default; granted */
	__be16 node;	 /* in answers: this node's number */
	__be16 nodes;	 /* and how many there are */
	__be64 life;	 /* in answers: drawn when the node started: another one, another life */
	__be32 in_flight_max; /* in answers: unanswered requests of a connection; past it the node reads no more */
	__be32 reserved;
};
VG_ASSERT_SIZE(struct vg_file_session, 40);

/* What stat(2) says, and where. Times are nanoseconds since the epoch, signed. */
struct vg_file_stat {
	__be64 inode;	/* unique in the pool: the node is in it */
	__be64 size, allocated; /* bytes */
	__be64 accessed, modified, changed, created;
	__be32 mode;	/* type and permissions, as in struct stat */
	__be32 links, uid, gid;
	__be32 block_size;
	__be16 node;	/* its home */
	__be16 flags;	/* VG_FILE_STRIPED: size and allocated are the clients' to add up */
};
VG_ASSERT_SIZE(struct vg_file_stat, 80);

/* READ (argument: offset). The answer's body is what was there: shorter, at the end of the file. */
struct vg_file_span {
	__be32 length;
	__be32 reserved;
};
VG_ASSERT_SIZE(struct vg_file_span, 8);

/* CHANGE: chmod, chown, truncate, utimens, together or one. Answer: the new vg_file_stat. */
#define VG_FILE_CHANGE_MODE 0x01
#define VG_FILE_CHANGE_UID 0x02
#define VG_FILE_CHANGE_GID 0x04
#define VG_FILE_CHANGE_SIZE 0x08
#define VG_FILE_CHANGE_ACCESSED 0x10
#define VG_FILE_CHANGE_MODIFIED 0x20
#define VG_FILE_CHANGE_ACCESSED_NOW 0x40
#define VG_FILE_CHANGE_MODIFIED_NOW 0x80
#define VG_FILE_CHANGE_KNOWN 0xff
#define VG_FILE_CHANGE_OF_PIECES 0xf8 /* of a striped file: who asks changes its pieces, and nothing else with it */
struct vg_file_change {
	__be32 mask, mode, uid, gid;
	__be64 size, accessed, modified;
};
VG_ASSERT_SIZE(struct vg_file_change, 40);

struct vg_file_statfs {
	__be64 bytes, bytes_free, bytes_available; /* under a quota: of the quota */
	__be64 files, files_free;
	__be32 block_size, name_max;
	__be32 read_only; /* 1: of this key */
	__be32 reserved;
};
VG_ASSERT_SIZE(struct vg_file_statfs, 56);

/*
 * LIST (key: a directory; argument: cursor, 0: from the start; body: a vg_file_span, how many bytes at most): entries
 * of this node, each this, the name, zeros to 8 bytes. The answer's argument is the next cursor, 0: that was all. Stubs
 * are left out, and copies of directories (but with COPIES): the lists of all nodes together name everything once.
 */
struct vg_file_entry {
	struct vg_file_stat stat; /* without WITH_STAT: inode, mode's type and node alone */
	__be64 cursor;		  /* to go on behind this entry */
	__be16 name_length;
	__be16 reserved[3];
};
VG_ASSERT_SIZE(struct vg_file_entry, 96);

/* Front of XATTR_SET's body: the name, then the value, follow. The others' body is the name. */
struct vg_file_xattr {
	__be32 name_length;
	__be32 flags; /* 1: create, 2: replace, as XATTR_CREATE and XATTR_REPLACE */
};
VG_ASSERT_SIZE(struct vg_file_xattr, 8);

/*
 * LOCK. Byte ranges as fcntl(2)'s, of an owner within the session; length 0: to the end of any file. Whole-file locks
 * as flock(2)'s are a space of their own. TEST answers OK with ident 0: free; else the body is the lock in the way.
 * What waits is answered when it is granted; EDEADLK: it never would; a CLOSE or UNLOCK of its range ends it (EINTR).
 * UNLOCK with WAIT ends what the owner waits for in the range, and keeps what it holds.
 */
enum vg_file_lock_kind { VG_FILE_UNLOCK, VG_FILE_LOCK_SHARED, VG_FILE_LOCK_EXCLUSIVE };
#define VG_FILE_LOCK_WAIT 0x01
#define VG_FILE_LOCK_WHOLE 0x02 /* flock(2) */
#define VG_FILE_LOCK_TEST 0x04
struct vg_file_lock {
	__be64 owner;
	__be64 start, length;
	__u8 kind; /* enum vg_file_lock_kind */
	__u8 flags;
	__be16 reserved;
	__be32 pid; /* for a person who asks */
};
VG_ASSERT_SIZE(struct vg_file_lock, 32);

/* COPY (ident: from), within this node; reflinked where the file system can. Answer: argument: bytes, perhaps fewer. */
struct vg_file_copy {
	__be64 to; /* descriptor */
	__be64 from_offset, to_offset, length;
};
VG_ASSERT_SIZE(struct vg_file_copy, 32);

/* ALLOCATE (ident) */
struct vg_file_range {
	__be64 offset, length;
};
VG_ASSERT_SIZE(struct vg_file_range, 16);

/* WATCH (key; argument: mask of inotify(7)'s IN_ATTRIB … IN_MOVE_SELF) → ident. EVENT: this, and the name. */
struct vg_file_event {
	__be32 mask, cookie;
	__be32 name_length; /* IN_Q_OVERFLOW: events were lost, list again */
	__be32 reserved;
};
VG_ASSERT_SIZE(struct vg_file_event, 16);

/*
 * A striped file: byte b is in piece (b / unit) % count, which node[that] holds as "<id>.<index>" (VG_FILE_PIECE), at
 * (b / unit / count) * unit + b % unit. OPEN with VG_FILE_O_CREATE and this as body makes one: unit and count are asked
 * for, the answer says which nodes. OPEN of one answers VG_FILE_STRIPED, no descriptor, vg_file_stat, and this.
 */
struct vg_file_stripes {
	__be64 id;
	__be32 unit; /* bytes, a multiple of 65536 */
	__be16 count;
	__be16 reserved;
	/* then `count` node numbers, 2 bytes each, zeros to 8 bytes */
};
VG_ASSERT_SIZE(struct vg_file_stripes, 16);

/* ---- paths ----------------------------------------------------------------------------------------------------- */

/*
 * A path is bytes: components of 1 to 255 bytes, "/" between, none at either end, none of them "." or "..", no NUL; the
 * root is the empty path. Names that begin with VG_FILE_RESERVED in the root are the pool's own. 0, or the errno.
 */
#define VG_FILE_RESERVED ".virgo"
#define VG_FILE_RESERVED_LENGTH 6

#define VG_FILE_EPERM 1
#define VG_FILE_EINVAL 22
#define VG_FILE_ENAMETOOLONG 36

static inline int vg_file_component_check(const __u8 *name, __u32 length)
{
	if (!length || (length == 1 && name[0] == '.') || (length == 2 && name[0] == '.' && name[1] == '.'))
		return VG_FILE_EINVAL;
	return length > VG_FILE_NAME_MAX ? VG_FILE_ENAMETOOLONG : 0;
}

static inline int vg_file_path_check(const void *path, __u32 length)
{
	const __u8 *at = (const __u8 *)path;
	__u32 start = 0;

	if (length > VG_FILE_PATH_MAX)
		return VG_FILE_ENAMETOOLONG;
	for (__u32 i = 0; length && i <= length; i++) {
		int error;

		if (i < length && !at[i])
			return VG_FILE_EINVAL;
		if (i < length && at[i] != '/')
			continue;
		error = vg_file_component_check(at + start, i - start);
		if (error)
			return error;
		start = i + 1;
	}
	if (length >= VG_FILE_RESERVED_LENGTH && !__builtin_memcmp(at, VG_FILE_RESERVED, VG_FILE_RESERVED_LENGTH))
		return VG_FILE_EPERM;
	return 0;
}

/* Where the last component of a checked path begins; its parent is what is before, without the "/". */
static inline __u32 vg_file_name_offset(const void *path, __u32 length)
{
	const __u8 *at = (const __u8 *)path;

	while (length && at[length - 1] != '/')
		length--;
	return length;
}

/* The partition whose owner is the name node. The root's is everywhere: any node may be asked. */
static inline __u16 vg_file_partition(const void *path, __u32 length)
{
	__u32 offset = vg_file_name_offset(path, length);

	return (__u16)(vg_hash64((const __u8 *)path + offset, length - offset) % VG_PARTITIONS);
}

#endif
