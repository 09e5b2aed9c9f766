/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * memcached's protocol, server side: the classic ASCII commands and the meta commands, as memcached 1.6 reads them. A
 * request is one line and, for what stores, a data block behind it. The reader judges a line as soon as it is whole:
 * a request that will be refused need not be held, its data block can be let go as it arrives. Pure; any thread.
 */
#ifndef VG_PROTO_MEMCACHE_H
#define VG_PROTO_MEMCACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "virgo/types.h"

#define VG_MC_KEY_MAX 250
#define VG_MC_LINE_MAX 2048	     /* bytes of a line, but for one that gets: that has any number of keys */
#define VG_MC_GET_LINE_MAX (1u << 20) /* and even that has an end */
#define VG_MC_OPAQUE_MAX 32	     /* bytes of an O flag, with its letter */
#define VG_MC_DELTA_SECONDS_MAX 2592000 /* 30 days: a larger expiry is a Unix time */

enum vg_mc_verb {
	VG_MC_ERROR = 0, /* `error` is the answer */
	VG_MC_GET,
	VG_MC_GETS,
	VG_MC_GAT,
	VG_MC_GATS,
	VG_MC_SET,
	VG_MC_ADD,
	VG_MC_REPLACE,
	VG_MC_APPEND,
	VG_MC_PREPEND,
	VG_MC_CAS,
	VG_MC_INCR,
	VG_MC_DECR,
	VG_MC_TOUCH,
	VG_MC_DELETE,
	VG_MC_FLUSH_ALL,
	VG_MC_STATS,
	VG_MC_VERSION,
	VG_MC_VERBOSITY,
	VG_MC_QUIT,
	VG_MC_META_GET,
	VG_MC_META_SET,
	VG_MC_META_DELETE,
	VG_MC_META_ARITHMETIC,
	VG_MC_META_NOOP,
	VG_MC_META_DEBUG,
	VG_MC_VERB_MAX
};

struct vg_mc_word {
	const char *data; /* into the input */
	size_t length;
};

/* The flags of a meta command; which were given is asked with vg_mc_has. */
struct vg_mc_meta {
	__u64 given;
	char mode; /* M, 0: none */
	__s32 ttl, vivify_ttl, recache_ttl; /* T, N, R */
	__u64 compare, initial, delta;	    /* C, J, D */
};

struct vg_mc_request {
	enum vg_mc_verb verb;
	bool quiet;		/* noreply, or q */
	const char *error;	/* VG_MC_ERROR: the line to answer (unless quiet) */
	bool too_large;		/* VG_MC_ERROR: because of the value's length; the key is filled in */
	struct vg_mc_word key;	/* as it stands in the line: base64 with the b flag */
	struct vg_mc_word rest; /* what stands behind it: more keys, flags, arguments */
	__u32 client_flags;
	__s32 exptime;		/* as given: see vg_mc_deadline_ms */
	__u64 number;		/* unique of cas, delta of incr and decr */
	struct vg_mc_meta meta;
	bool has_value;		/* a data block belongs to it */
	__u64 value_length;
	const __u8 *value;	/* only with VG_MC_WHOLE */
	__u64 length;		/* of line and data block with their ends */
};

/* What is known of a line that has not arrived wholly; all zero between requests. */
struct vg_mc_parser {
	__u32 searched; /* bytes without a line end */
};

enum vg_mc_state {
	VG_MC_MORE,  /* the line is not whole */
	VG_MC_HEAD,  /* the line is, its data block is not: `length` bytes are wanted in all */
	VG_MC_WHOLE, /* all is here; a data block that does not end as it must has become VG_MC_ERROR */
	VG_MC_LOST,  /* a line too long to be one of ours: close, as memcached does */
};

/* `value_max`: a longer value is VG_MC_ERROR. */
enum vg_mc_state vg_mc_read(struct vg_mc_parser *parser, struct vg_mc_request *request, const void *data,
			    size_t length, __u64 value_max);

/* The next word of `rest`, which moves on; false: there is none. */
bool vg_mc_next(struct vg_mc_word *rest, struct vg_mc_word *ret_word);

static inline __u64 vg_mc_flag_bit(char flag)
{
	return 1ULL << (flag & 63);
}
static inline bool vg_mc_has(const struct vg_mc_request *request, char flag)
{
	return request->meta.given & vg_mc_flag_bit(flag);
}

/* A key may have up to VG_MC_KEY_MAX bytes, none of which is a blank or a control character. */
bool vg_mc_key_is_valid(struct vg_mc_word key);

/* Base64. Bytes written, 0: it is none. `out` has room for 3/4 of the text, rounded up to 3. */
size_t vg_mc_base64_decode(const char *text, size_t length, __u8 *out);
size_t vg_mc_base64_encode(const void *data, size_t length, char *text); /* 4/3, rounded up to 4 */

/*
 * When an expiry lies, in Unix milliseconds: 0: never. What is past, or negative, lies at 1: long ago. Up to 30 days
 * count from now.
 */
__u64 vg_mc_deadline_ms(__s64 exptime, __u64 now_ms);

/* A number at the front of a value, as memcached reads it: blanks before it, and nothing or a blank behind it. */
bool vg_mc_number(const char *text, size_t length, __u64 *ret_number);

#endif
