/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the commands on files have in common: a place is a path here or in the pool, and one set of functions works on
 * both; a crew of threads does many small things at once; a stream copies one large file.
 *
 * Results are 0 or a count, or a negative errno. Functions with a struct virgo use it for places of the pool only.
 */
#ifndef VG_CLI_FILE_H
#define VG_CLI_FILE_H

#include <pthread.h>
#include <sys/types.h>

#include "cli/cli.h"

#define FILE_PATH_BYTES 8192 /* of a path with what is put behind it */
#define FILE_MODE_TYPE 0170000
#define FILE_SMALL_BYTES (1u << 20) /* goes and comes in one request */

/* ---- file_words.c ---------------------------------------------------------------------------------------------- */

/* What an error means of a file; the node's own words where it had any about this error. `virgo` may be NULL. */
const char *file_words(const struct virgo *virgo, int error);
/* cli_fail() with these words. */
int file_fail(struct cli *cli, int error, const char *what);

/* ---- file_place.c ---------------------------------------------------------------------------------------------- */

struct file_place {
	bool pool;
	const char *path; /* the caller's */
};

/* cp and sync: ":a/b" is in the pool, anything else is here. */
struct file_place file_place_of(const char *argument);
/* Where all paths are the pool's a ":" in front changes nothing. */
const char *file_pool_path(const char *argument);
/* "a" and "b" to "a/b" in `buffer` of FILE_PATH_BYTES; -ENAMETOOLONG */
int file_join(char *buffer, const char *directory, const char *name);
/* The last component, without slashes behind it, in `buffer` of FILE_PATH_BYTES; empty for a root, "." and "..". */
const char *file_last(char *buffer, const char *path);

int file_stat(struct virgo *virgo, struct file_place place, bool follow, struct virgo_file_stat *ret_stat);
int file_mkdir(struct virgo *virgo, struct file_place place, mode_t mode);
int file_unlink(struct virgo *virgo, struct file_place place, bool directory);
int file_rename(struct virgo *virgo, struct file_place place, const char *to);
/* Terminated; -ENAMETOOLONG if it does not fit. */
int file_readlink(struct virgo *virgo, struct file_place place, char *buffer, size_t bytes);
int file_symlink(struct virgo *virgo, const char *target, struct file_place place);
int file_set_mode(struct virgo *virgo, struct file_place place, mode_t mode);
int file_set_times(struct virgo *virgo, struct file_place place, int64_t accessed_ns, int64_t modified_ns);
/* An extended attribute that is a short text. */
int file_get_note(struct virgo *virgo, struct file_place place, const char *name, char *text, size_t text_bytes);
int file_set_note(struct virgo *virgo, struct file_place place, const char *name, const char *text);
int file_remove_note(struct virgo *virgo, struct file_place place, const char *name);

struct file_entry {
	char *name;
	struct virgo_file_stat stat; /* of a symbolic link itself */
};
struct file_list {
	struct file_entry *entries;
	size_t count, room;
};
/* Sorted by name. With -EHOSTDOWN the list has what the other nodes have, else an error leaves it empty. */
int file_list(struct virgo *virgo, struct file_place place, struct file_list *ret_list);
void file_list_free(struct file_list *list);

struct file_end {
	struct virgo_file *file; /* of the pool */
	int fd;			 /* here; -1: none */
	bool stream;		 /* has no offsets: standard input or output */
};
/* `stripes`: a new file of the pool over so many nodes; 0: not striped. */
int file_open(struct virgo *virgo, struct file_place place, int flags, mode_t mode, unsigned int stripes,
	      struct file_end *ret_handle);
int file_close(struct virgo *virgo, struct file_end *handle);
int file_fdatasync(struct virgo *virgo, struct file_end *handle);
int file_truncate(struct virgo *virgo, struct file_end *handle, __u64 size);
/* Here alone: all of it, or what there is before the end. */
ssize_t file_read_here(const struct file_end *handle, void *buffer, size_t length, __u64 offset);
int file_write_here(const struct file_end *handle, const void *data, size_t length, __u64 offset);

static inline bool file_is(const struct virgo_file_stat *stat, mode_t type)
{
	return (stat->mode & FILE_MODE_TYPE) == type;
}

/* ---- file_stream.c --------------------------------------------------------------------------------------------- */

/*
 * From one file to another, with several chunks on their way. `seen` gets every chunk in order before it is written,
 * and `progress` the bytes that have been; `progress` may return an error to stop. From `offset` to the end.
 */
struct file_stream {
	struct virgo *virgo;
	struct file_end *from, *to;
	__u64 offset;
	void (*seen)(void *context, const void *data, size_t length);
	int (*progress)(void *context, __u64 written);
	void *context;
};
/* *ret_end: the offset behind the last byte that was written. */
int file_stream_run(const struct file_stream *stream, __u64 *ret_end);

/* ---- file_crew.c ----------------------------------------------------------------------------------------------- */

/*
 * Threads, each with a client of its own, that carry out what they are given, in any order. The first error of opening
 * the clients is what file_crew_start returns.
 */
struct file_crew;
typedef void (*file_crew_fn)(void *context, struct virgo *virgo, void *job);
int file_crew_start(struct cli *cli, unsigned int workers, file_crew_fn fn, void *context, struct file_crew **ret_crew);
/* Waits while many are waiting; the job is fn's from then on. */
void file_crew_give(struct file_crew *crew, void *job);
/* Until all is done; and all threads have gone. */
void file_crew_end(struct file_crew *crew);

/* ---- file_hash.c ----------------------------------------------------------------------------------------------- */

/*
 * XXH3 of a file's bytes. sync leaves it with the file (an extended attribute), together with the size and the time of
 * change it was true for: while these are the file's, nobody need read it again.
 */
#define FILE_HASH_NOTE "user.virgo-xxh3"
struct file_hash;
struct file_hash *file_hash_new(void); /* NULL: no memory */
void file_hash_free(struct file_hash *hash);
void file_hash_add(void *hash, const void *data, size_t length);
__u64 file_hash_value(const struct file_hash *hash);
__u64 file_hash_of(const void *data, size_t length);
/* Of the first `length` bytes, read; `hash` goes on from there. -ENODATA: there are not so many. */
int file_hash_read(struct virgo *virgo, struct file_end *handle, __u64 length, struct file_hash *hash);
/* Of a file: from its note, or by reading it all. */
int file_hash_file(struct virgo *virgo, struct file_place place, const struct virgo_file_stat *stat, __u64 *ret_value);
/* As file_hash_file, but -ENODATA where there is no note that is true. */
int file_hash_known(struct virgo *virgo, struct file_place place, const struct virgo_file_stat *stat, __u64 *ret_value);
int file_hash_note(struct virgo *virgo, struct file_place place, __u64 size, int64_t modified_ns, __u64 value);

/* ---- file_copy.c ----------------------------------------------------------------------------------------------- */

/* Copies of trees: what was asked for, and what has been done; cp, put, get and sync fill it and file_copy_* work. */
struct file_copy {
	struct cli *cli;
	bool recursive, preserve, no_replace, verbose, quiet; /* options */
	bool sync, checksum, verify, delete_others, dry_run;  /* of sync */
	unsigned int stripes, workers;
	bool from_pool, to_pool;

	pthread_mutex_t lock; /* of what follows */
	struct cli_progress progress;
	__u64 files, links, directories, bytes, unchanged, deleted, resumed_bytes, failed;
	int code;
	struct file_crew *crew;
	struct file_directory *made; /* their modes and times are set at the end */
	size_t made_count, made_room;
	__u64 started_ns;
};

/* One file on its way; file_copy_file frees it. */
struct file_job {
	char *from, *to;
	struct virgo_file_stat stat, old; /* old.mode 0: there is none */
};

/* Starts the crew. CLI_OK, or what to leave with. */
int file_copy_begin(struct file_copy *copy, const char *what);
/* A file, a symbolic link or a whole directory, to that very name. */
void file_copy_tree(struct file_copy *copy, const char *from, const char *to, const struct virgo_file_stat *stat);
/* Waits for all, prints what was done; the exit code. */
int file_copy_end(struct file_copy *copy);

void file_copy_file(void *copy, struct virgo *virgo, void *job);
/* A file that is no small one, by file_transfer.c. */
int file_transfer(struct file_copy *copy, struct virgo *virgo, const struct file_job *job);
/* Times, mode and checksum as asked for; `place` may be another one than the job's. */
int file_finish(struct file_copy *copy, struct virgo *virgo, const struct file_job *job, struct file_place place,
		const __u64 *hash);
void file_copied(struct file_copy *copy, __u64 bytes);
void file_resumed(struct file_copy *copy, __u64 bytes);
/* Something went wrong with one of them; the others go on. */
void file_copy_failed(struct file_copy *copy, struct virgo *virgo, int error, const char *path);
static inline struct file_place file_from(const struct file_copy *copy, const char *path)
{
	return (struct file_place){ .pool = copy->from_pool, .path = path };
}
static inline struct file_place file_to(const struct file_copy *copy, const char *path)
{
	return (struct file_place){ .pool = copy->to_pool, .path = path };
}

/* ---- file_cp.c ------------------------------------------------------------------------------------------------- */

enum { FILE_PRESERVE = 600, FILE_NO_REPLACE, FILE_STRIPE, FILE_WORKERS, FILE_VERBOSE, FILE_QUIET };
/* clang-format off */
#define FILE_COPY_OPTIONS                                            \
	{ "recursive", no_argument, NULL, 'r' },                     \
	{ "preserve", no_argument, NULL, 'p' },                      \
	{ "no-replace", no_argument, NULL, FILE_NO_REPLACE },        \
	{ "stripe", required_argument, NULL, FILE_STRIPE },          \
	{ "workers", required_argument, NULL, FILE_WORKERS },        \
	{ "verbose", no_argument, NULL, 'v' },                       \
	{ "no-progress", no_argument, NULL, FILE_QUIET }
/* clang-format on */
#define FILE_COPY_OPTIONS_HELP                                                                                         \
	"  -r, --recursive      directories too, with all that is below them\n"                                        \
	"  -p, --preserve       keep permissions and times\n"                                                          \
	"      --no-replace     leave alone what is there\n"                                                           \
	"  -v, --verbose        name each file\n"                                                                      \
	"      --workers N      so many files at a time (default 8)\n"                                                 \
	"      --no-progress    no bar on a terminal\n"
#define FILE_STRIPE_HELP "      --stripe N       each new file of the pool in stripes over N nodes\n"
void file_copy_init(struct file_copy *copy, struct cli *cli);
bool file_copy_option(void *copy, int option, const char *value);
/* virgo get PATH... LOCAL */
int file_get(struct file_copy *copy, int count, char **arguments);

/* ---- file_list.c ----------------------------------------------------------------------------------------------- */

json_t *file_stat_json(const struct virgo_file_stat *stat);
/* To a terminal without what could move its cursor. */
void file_print_name(const char *name);
/* Calls fn for a path and, below directories, for all there is, directories last. */
typedef int (*file_walk_fn)(void *context, const char *path, const struct virgo_file_stat *stat);

#endif
