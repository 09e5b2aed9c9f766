/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The memory pool's one store: keys and handles over the arena (include/virgo/maps.h) and the heap tier.
 *
 * Threads: every function may be called from every worker at once. Readers take no lock (they copy under the bucket's
 * sequence and try again if it moved); writers take the bucket's sequence as a lock. Callbacks run with the bucket
 * locked: they must be short, must not call the store, and see memory that is theirs only until they return.
 *
 * Every worker registers itself with vg_store_worker() once; it owns a cache of free cells.
 *
 * Time is passed in (now_ms, Unix milliseconds): a key whose deadline is at or before it does not exist.
 *
 * Errors: -ENOENT no such key; -ENOMEM no room (arena, heap or handle slots); -EMSGSIZE over a limit of limits.h;
 * -ELOOP the bucket has VG_CHAIN_MAX lines (keys chosen to collide); -ESTALE a handle that is gone; -ERANGE outside an
 * allocation.
 */
#ifndef VG_POOL_STORE_H
#define VG_POOL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/mem.h"
#include "virgo/maps.h"

struct vg_store;

struct vg_store_config {
	void *arena;		/* at least arena_bytes, page-aligned, writable: the BPF arena or anonymous memory */
	size_t arena_bytes;	/* ≤ 4 GiB */
	bool adopt;		/* keep what a former daemon left in the arena, repaired; else format it */
	size_t heap_bytes;	/* heap tier: address space reserved at start, touched as it is used */
	__u16 node;		/* goes into handles */
	__u32 workers;		/* how many will register */
	__u64 instance;		/* random, for the arena header */
	__u64 now_ms;		/* adopting drops what has expired by now; 0: nothing has */
};

struct vg_store_repair {	/* what adopting found */
	__u64 kept, dropped_heap, dropped_torn, expired;
};

/*
 * Touches every page of the arena, so that XDP meets none that is missing: this takes time and memory, and is -ENOMEM
 * where there is not so much. Adopting wants an arena formatted for the same arena_bytes, else it is formatted; nobody
 * may read it meanwhile (the daemon has no lease then). -EINVAL: sizes that cannot be.
 */
int vg_store_new(struct vg_store **ret_store, const struct vg_store_config *config, struct vg_store_repair *ret_repair);
void vg_store_free(struct vg_store *store); /* the arena's memory stays the caller's; accepts NULL */
void vg_store_worker(struct vg_store *store, __u32 worker); /* this thread is worker `worker` from now on */

struct vg_key {
	const void *data;
	__u32 length;
	__u64 hash; /* vg_hash64(data, length) */
};

/* ---- reading -------------------------------------------------------------------------------------------------- */

/* Ask the processor for the lines a later call will touch: first for a whole batch, then work. */
void vg_store_prefetch_bucket(const struct vg_store *store, __u64 hash);
void vg_store_prefetch_item(const struct vg_store *store, __u64 hash);

/* A large value, pinned where it lives until vg_block_put; immutable while pinned. */
struct vg_block;
const void *vg_block_data(const struct vg_block *block);
void vg_block_put(void *block); /* signature fits vg_out_lend */

/*
 * The value: copied to `buffer` if it is in the arena (then *ret_block is NULL; `capacity` must be ≥ VG_CELL_MAX), or
 * pinned in *ret_block. Returns its length; *ret_expire_ms (may be NULL) its deadline or 0. -ENOENT.
 */
ssize_t vg_store_get(struct vg_store *store, const struct vg_key *key, __u64 now_ms, void *buffer, size_t capacity,
		     struct vg_block **ret_block, __u64 *ret_expire_ms);

/*
 * The same, with all that is known of the key. With `versioned` the value is given a version if it has none yet;
 * without room for one it stays 0, which no compare-and-set matches.
 */
struct vg_key_facts;
ssize_t vg_store_read(struct vg_store *store, const struct vg_key *key, __u64 now_ms, bool versioned, void *buffer,
		      size_t capacity, struct vg_block **ret_block, struct vg_key_facts *ret_facts);
/* A version no value of this store has, or had: for vg_change.version. Never 0. */
__u64 vg_store_version_new(struct vg_store *store);

/* What is known of a key without its value. 0 or -ENOENT. `touch` false: does not count as a use (OBJECT, TTL). */
struct vg_key_facts {
	__u64 value_length;
	__u64 expire_ms;
	__u64 memory_bytes;	/* cell, heap block and its share of the index */
	__u64 version;		/* 0: nobody has asked for one yet */
	__u32 client_flags;
	__u32 marks;
	__u32 frequency;	/* uses, 0 … 3: what eviction goes by */
	__u32 idle_seconds;	/* since the last use, coarse (16 s) */
	bool in_heap;
};
int vg_store_facts(struct vg_store *store, const struct vg_key *key, __u64 now_ms, bool touch,
		   struct vg_key_facts *ret_facts);

/* ---- changing -------------------------------------------------------------------------------------------------- */

/* What is there; read inside a callback. */
struct vg_entry {
	bool exists;
	const void *value;
	__u64 length;
	__u64 expire_ms;
	__u64 version; /* 0: none, and no compare-and-set may match it */
	__u32 client_flags;
	__u32 marks;   /* bits of the memory service, kept with the value until it is stored anew */
};

enum vg_change_action {
	VG_CHANGE_NONE = 0,
	VG_CHANGE_STORE,
	VG_CHANGE_DELETE,
	VG_CHANGE_DEADLINE,
	VG_CHANGE_VERSION,
};

/*
 * What shall be there: the new value is the parts one after the other; a part with data NULL is zeros, and a part may
 * point into the old value. DEADLINE changes expire_ms alone, VERSION the version alone. What is stored has the version
 * that the change names: none (0), unless the writer drew one (vg_store_version_new) to tell its client. An append
 * whose first part is the whole old value is done in place where there is room; so is storing the old value itself.
 */
struct vg_part {
	const void *data;
	__u64 length;
};
struct vg_change {
	enum vg_change_action action;
	__u64 expire_ms;
	__u64 version;
	__u32 client_flags, marks;
	struct vg_part part[4];
	int parts;
};

/*
 * Look at the key and change it, atomically. The callback fills *change (initially NONE) and returns 0, or an error
 * (negative: passed through, nothing is changed).
 */
typedef int (*vg_update_fn)(void *context, const struct vg_entry *old, struct vg_change *change);
int vg_store_update(struct vg_store *store, const struct vg_key *key, __u64 now_ms, vg_update_fn fn, void *context);

/* The plain cases of it. */
int vg_store_set(struct vg_store *store, const struct vg_key *key, __u64 now_ms, const void *value, size_t length,
		 __u64 expire_ms);
int vg_store_delete(struct vg_store *store, const struct vg_key *key, __u64 now_ms); /* 0 or -ENOENT */

/*
 * Several keys at once, atomically: all their buckets are locked in order, then fn sees every entry and fills every
 * change (changes[i] belongs to keys[i]). The same key may appear more than once: they share one entry, the last change
 * wins. All changes happen or none (-ENOMEM …). count ≤ VG_TRANSACTION_KEYS_MAX, else -EMSGSIZE.
 */
#define VG_TRANSACTION_KEYS_MAX 1024
typedef int (*vg_transaction_fn)(void *context, const struct vg_entry *old, struct vg_change *changes, int count);
int vg_store_transact(struct vg_store *store, const struct vg_key *keys, int count, __u64 now_ms, vg_transaction_fn fn,
		      void *context);

void vg_store_clear(struct vg_store *store); /* keys, not handles */

/*
 * A limit of memory: cells and index lines in use and the heap tier. Over it writes are refused (-ENOMEM) or other keys
 * go first. Any thread, any time; 0: no limit but the arena's and the heap tier's own size.
 */
enum vg_eviction { VG_EVICTION_NONE = 0, VG_EVICTION_S3FIFO, VG_EVICTION_LRU, VG_EVICTION_TTL };
void vg_store_limit(struct vg_store *store, enum vg_eviction policy, __u64 maxmemory);
void vg_store_limit_get(const struct vg_store *store, enum vg_eviction *ret_policy, __u64 *ret_maxmemory);
/* By Redis's names for maxmemory-policy. -EINVAL. */
#define VG_EVICTION_NAMES "noeviction, allkeys-s3fifo, allkeys-lru, volatile-ttl"
const char *vg_eviction_text(enum vg_eviction policy);
int vg_eviction_parse(const char *text, size_t length, enum vg_eviction *ret_policy);

/* ---- walking --------------------------------------------------------------------------------------------------- */

/*
 * Up to about `count` keys from `cursor` (0: start); returns the next cursor, 0 at the end. A key that is there during
 * the whole walk is seen at least once. fn gets a copy of the key; it may call the store.
 */
typedef void (*vg_scan_fn)(void *context, const void *key, size_t length);
__u64 vg_store_scan(struct vg_store *store, __u64 cursor, __u32 count, __u64 now_ms, vg_scan_fn fn, void *context);
/* Some key, copied to `key` (VG_KEY_MAX bytes); its length, or -ENOENT. `random`: caller's randomness. */
ssize_t vg_store_random(struct vg_store *store, __u64 random, __u64 now_ms, void *key);
/*
 * Remove expired keys from the next `buckets` buckets; returns how many. Called now and then by one worker, at least
 * every second: it is also the clock by which an empty slab may serve cells of another size.
 */
__u32 vg_store_sweep(struct vg_store *store, __u32 buckets, __u64 now_ms);

/*
 * Called now and then by every worker, the more so by one that does nothing: it gives back the free cells it keeps,
 * which keep slabs from serving others.
 */
void vg_store_tend(struct vg_store *store, __u64 now_ms);

/* ---- handles --------------------------------------------------------------------------------------------------- */

/* Cleared memory of `length` bytes (1 … heap tier, else -EINVAL or -EMSGSIZE); its handle. */
int vg_store_alloc(struct vg_store *store, __u64 length, __u64 *ret_handle);
int vg_store_release(struct vg_store *store, __u64 handle);
/*
 * Copy `length` bytes from / to `offset`. The write is atomic for readers of cells (≤ VG_CELL_MAX). -ESTALE, -ERANGE.
 */
int vg_store_handle_read(struct vg_store *store, __u64 handle, __u64 offset, void *data, __u64 length);
int vg_store_handle_write(struct vg_store *store, __u64 handle, __u64 offset, const void *data, __u64 length);
/*
 * The allocation's length and the flags word the memory service keeps with it (spread or not). 0 or -ESTALE. With flags
 * set its bytes leave the arena (-ENOMEM), so that XDP never answers them: they are the service's business.
 */
int vg_store_handle_facts(struct vg_store *store, __u64 handle, __u64 *ret_length, __u32 *ret_flags);
int vg_store_handle_set_flags(struct vg_store *store, __u64 handle, __u32 flags);

/*
 * Making again what a snapshot or a log tells of, before workers start: exactly this handle, with cleared memory, in
 * place of what its slot holds; and taking it away again (nothing happens when it is not there). After the last one
 * vg_store_handles_restored makes the list of free slots. -ESTALE: a handle of another node or beyond this arena's
 * slots.
 */
int vg_store_handle_restore(struct vg_store *store, __u64 handle, __u64 length, __u32 flags);
void vg_store_handle_forget(struct vg_store *store, __u64 handle);
void vg_store_handles_restored(struct vg_store *store);

/* ---- observers: who must know of every change ------------------------------------------------------------------- */

enum vg_observed_kind {
	VG_OBSERVED_SET,      /* key, entry: what is there from now on */
	VG_OBSERVED_DELETE,   /* key */
	VG_OBSERVED_DEADLINE, /* key, entry: its deadline is new, the value stays */
	VG_OBSERVED_EXPIRED,  /* key: removed because its deadline had come */
	VG_OBSERVED_EVICTED,  /* key: removed to make room */
	/*
	 * All keys go. From here to CLEARED they go one by one while others may set new ones: a key that was set since
	 * CLEAR and goes too is told by a DELETE.
	 */
	VG_OBSERVED_CLEAR,
	VG_OBSERVED_CLEARED,
	VG_OBSERVED_ALLOC,    /* handle, entry.length: cleared memory */
	VG_OBSERVED_WRITE,    /* handle, offset, entry.value and length: the bytes */
	VG_OBSERVED_FLAGS,    /* handle, flags */
	VG_OBSERVED_RELEASE,  /* handle */
	VG_OBSERVED_BEGIN,    /* what this thread changes up to END happens at once */
	VG_OBSERVED_END,
	VG_OBSERVED_MAX
};

struct vg_observed {
	enum vg_observed_kind kind;
	__u32 flags;		  /* of a handle */
	const struct vg_key *key; /* NULL where the kind has none */
	struct vg_entry entry;	  /* its value lasts as long as the call */
	__u64 handle, offset;
	/* The change's number, given by the write-ahead log, which is asked first; 0: there is none. */
	__u64 sequence;
};

/*
 * Called for every change, after it was made, on the thread that makes it and with its bucket (its handle's slot)
 * locked: changes of one key are told in the order in which they happen. It must be short and must not call this
 * store. Observers are registered before workers start, and asked in that order. -ENOSPC: there are OBSERVERS_MAX.
 */
#define VG_STORE_OBSERVERS_MAX 4
typedef void (*vg_observe_fn)(void *context, struct vg_observed *observed);
int vg_store_observe(struct vg_store *store, vg_observe_fn fn, void *context);

/* ---- the heap tier as an allocator, and figures ---------------------------------------------------------------- */

const struct vg_mem *vg_store_mem(struct vg_store *store);

struct vg_store_stats {
	__u64 keys, handles;
	__u64 expired;			/* keys removed because of their deadline, ever */
	__u64 evicted;			/* keys removed to make room, ever */
	__u64 used;			/* what counts against the limit */
	__u64 arena_bytes, arena_used;	/* used: cells and index lines in use */
	__u64 heap_bytes, heap_used;
	__u64 buckets, chain_lines;
	__u64 reader_retries;
};
void vg_store_stats(const struct vg_store *store, struct vg_store_stats *ret_stats);

/* The arena by size classes: those that have slabs, by kind and size. Any thread; cells in workers' caches are used. */
struct vg_store_class {
	const char *kind; /* "item", "handle", "line" */
	__u32 cell_bytes, slabs, cells, cells_used;
};
#define VG_STORE_CLASSES_MAX 200
int vg_store_classes(struct vg_store *store, struct vg_store_class ret_classes[VG_STORE_CLASSES_MAX]);

#endif
