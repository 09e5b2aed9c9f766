/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Trees, from here to the pool and back: the walk, and what the crew does with each file. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/file.h"

struct file_directory {
	char *path;
	struct virgo_file_stat stat;
};

/* ---- what is told ---------------------------------------------------------------------------------------------- */

void file_copied(struct file_copy *copy, __u64 bytes)
{
	(void)pthread_mutex_lock(&copy->lock);
	copy->bytes += bytes;
	cli_progress_set(&copy->progress, copy->bytes + copy->resumed_bytes);
	(void)pthread_mutex_unlock(&copy->lock);
}

void file_resumed(struct file_copy *copy, __u64 bytes)
{
	(void)pthread_mutex_lock(&copy->lock);
	copy->resumed_bytes += bytes;
	(void)pthread_mutex_unlock(&copy->lock);
}

static void count(struct file_copy *copy, __u64 *counter)
{
	(void)pthread_mutex_lock(&copy->lock);
	(*counter)++;
	(void)pthread_mutex_unlock(&copy->lock);
}

static void tell(struct file_copy *copy, const char *what, const char *path)
{
	if (!(copy->verbose || copy->dry_run) || copy->cli->json)
		return;
	(void)pthread_mutex_lock(&copy->lock);
	cli_progress_end(&copy->progress);
	printf("%s ", what);
	file_print_name(path);
	putchar('\n');
	(void)pthread_mutex_unlock(&copy->lock);
}

void file_copy_failed(struct file_copy *copy, struct virgo *virgo, int error, const char *path)
{
	(void)pthread_mutex_lock(&copy->lock);
	cli_progress_end(&copy->progress);
	fprintf(stderr, "virgo: %s: %s: %s\n", copy->cli->command, path, file_words(virgo, error));
	copy->failed++;
	if (!copy->code)
		copy->code = cli_exit_of(error);
	(void)pthread_mutex_unlock(&copy->lock);
}

/* ---- one small thing ------------------------------------------------------------------------------------------- */

static mode_t mode_of(const struct file_copy *copy, const struct virgo_file_stat *stat)
{
	static mode_t mask = 0777;

	if (copy->preserve)
		return stat->mode & 07777;
	if (mask == 0777) { /* two threads would find the same */
		mode_t old = umask(022);

		(void)umask(old);
		mask = old & 0777;
	}
	return stat->mode & 0777 & ~mask;
}

static int copy_link(struct file_copy *copy, struct virgo *virgo, const struct file_job *job)
{
	char target[FILE_PATH_BYTES], old[FILE_PATH_BYTES];
	int error = file_readlink(virgo, file_from(copy, job->from), target, sizeof(target));

	if (error)
		return error;
	if (copy->sync && file_is(&job->old, S_IFLNK) &&
	    !file_readlink(virgo, file_to(copy, job->to), old, sizeof(old)) && !strcmp(target, old)) {
		count(copy, &copy->unchanged);
		return 0;
	}
	if (!copy->dry_run) {
		error = file_symlink(virgo, target, file_to(copy, job->to));
		if (error == -EEXIST && !copy->no_replace) {
			error = file_unlink(virgo, file_to(copy, job->to), false);
			error = error ? error : file_symlink(virgo, target, file_to(copy, job->to));
		}
		if (!error && copy->preserve)
			/* Not every file system has times of links. */
			(void)file_set_times(virgo, file_to(copy, job->to), job->stat.accessed_ns,
					     job->stat.modified_ns);
	}
	if (!error) {
		count(copy, &copy->links);
		tell(copy, "link", job->to);
	}
	return error;
}

/* -EFBIG: it is no small file any more. */
static int read_small(struct virgo *virgo, struct file_place from, char **ret_data, size_t *ret_length)
{
	struct file_end handle;
	ssize_t length;
	char *data;
	int error;

	if (from.pool)
		return virgo_file_get(virgo, from.path, (void **)ret_data, ret_length, NULL);
	error = file_open(virgo, from, O_RDONLY, 0, 0, &handle);
	if (error)
		return error;
	data = malloc(FILE_SMALL_BYTES + 1);
	length = data ? file_read_here(&handle, data, FILE_SMALL_BYTES + 1, 0) : -ENOMEM;
	(void)file_close(virgo, &handle);
	if (length > FILE_SMALL_BYTES)
		length = -EFBIG;
	if (length < 0) {
		free(data);
		return (int)length;
	}
	*ret_data = data;
	*ret_length = (size_t)length;
	return 0;
}

/* Here, sync puts a file in its place when it is whole. */
static int write_small(struct file_copy *copy, struct virgo *virgo, const struct file_job *job, const char *path,
		       const char *data, size_t length)
{
	int flags = copy->no_replace ? O_EXCL : 0, error, closed;
	struct file_end handle;

	if (copy->to_pool)
		return virgo_file_put(virgo, path, data, length, flags, mode_of(copy, &job->stat));
	error = file_open(virgo, file_to(copy, path), O_WRONLY | O_CREAT | O_TRUNC | flags, job->stat.mode & 0777, 0,
			  &handle);
	if (error)
		return error;
	error = file_write_here(&handle, data, length, 0);
	closed = file_close(virgo, &handle);
	return error ? error : closed;
}

static int check_written(struct virgo *virgo, struct file_place place, __u64 size, __u64 wanted)
{
	struct file_end handle;
	struct file_hash *hash;
	int error = file_open(virgo, place, O_RDONLY, 0, 0, &handle);

	if (error)
		return error;
	hash = file_hash_new();
	error = hash ? file_hash_read(virgo, &handle, size, hash) : -ENOMEM;
	if (!error && file_hash_value(hash) != wanted)
		error = -EBADMSG;
	file_hash_free(hash);
	(void)file_close(virgo, &handle);
	return error;
}

int file_finish(struct file_copy *copy, struct virgo *virgo, const struct file_job *job, struct file_place place,
		const __u64 *hash)
{
	__u64 noted;
	int error = 0;

	/* What came is what sync once put there? */
	if (hash && copy->from_pool &&
	    !file_hash_known(virgo, file_from(copy, job->from), &job->stat, &noted) && noted != *hash)
		return -EBADMSG;
	if (hash && copy->verify)
		error = check_written(virgo, place, job->stat.size, *hash);
	/* A pool whose disk has no attributes does without. */
	if (!error && hash && copy->to_pool)
		(void)file_hash_note(virgo, place, job->stat.size, job->stat.modified_ns, *hash);
	if (!error && copy->preserve)
		error = file_set_mode(virgo, place, job->stat.mode);
	/* The time is the last: whatever was interrupted before looks changed. */
	if (!error && copy->preserve)
		error = file_set_times(virgo, place, job->stat.accessed_ns, job->stat.modified_ns);
	return error;
}

static int copy_small(struct file_copy *copy, struct virgo *virgo, const struct file_job *job)
{
	bool beside = copy->sync && !copy->to_pool;
	char part[FILE_PATH_BYTES];
	size_t length = 0;
	char *data = NULL;
	__u64 hash;
	int error = read_small(virgo, file_from(copy, job->from), &data, &length);

	if (error)
		return error;
	if (snprintf(part, sizeof(part), beside ? "%s.%d.part" : "%s", job->to, getpid()) >= (int)sizeof(part))
		error = -ENAMETOOLONG;
	if (!error)
		error = write_small(copy, virgo, job, part, data, length);
	if (!error) {
		hash = copy->sync ? file_hash_of(data, length) : 0;
		/* Another size than the walk saw: it changes under our hands, and the next sync will see that. */
		error = file_finish(copy, virgo, job, file_to(copy, part),
				    copy->sync && length == job->stat.size ? &hash : NULL);
	}
	if (!error && beside)
		error = file_rename(virgo, file_to(copy, part), job->to);
	if (error && beside)
		(void)file_unlink(virgo, file_to(copy, part), false);
	free(data);
	if (!error)
		file_copied(copy, length);
	return error;
}

/* ---- one file -------------------------------------------------------------------------------------------------- */

/* 1: it is as it shall be, 0: it is not. */
static int unchanged(struct file_copy *copy, struct virgo *virgo, const struct file_job *job)
{
	const struct virgo_file_stat *stat = &job->stat, *old = &job->old;
	__u64 from, to;
	int error;

	if (!file_is(old, S_IFREG) || stat->size != old->size)
		return 0;
	if (!copy->checksum && stat->modified_ns != old->modified_ns)
		return 0;
	if (copy->checksum) {
		error = file_hash_file(virgo, file_from(copy, job->from), stat, &from);
		error = error ? error : file_hash_file(virgo, file_to(copy, job->to), old, &to);
		if (error)
			return error;
		if (from != to)
			return 0;
	}
	if (copy->dry_run)
		return 1;
	if ((stat->mode ^ old->mode) & 07777) {
		error = file_set_mode(virgo, file_to(copy, job->to), stat->mode);
		if (error)
			return error;
	}
	if (stat->modified_ns != old->modified_ns) {
		error = file_set_times(virgo, file_to(copy, job->to), stat->accessed_ns, stat->modified_ns);
		if (error)
			return error;
	}
	if (copy->checksum && copy->to_pool)
		(void)file_hash_note(virgo, file_to(copy, job->to), stat->size, stat->modified_ns, from);
	return 1;
}

static int copy_regular(struct file_copy *copy, struct virgo *virgo, const struct file_job *job)
{
	int same = copy->sync ? unchanged(copy, virgo, job) : 0, error = 0;

	if (same < 0)
		return same;
	if (same) {
		count(copy, &copy->unchanged);
		return 0;
	}
	if (!copy->dry_run) {
		error = -EFBIG;
		if (job->stat.size <= FILE_SMALL_BYTES)
			error = copy_small(copy, virgo, job);
		if (error == -EFBIG)
			error = file_transfer(copy, virgo, job);
	}
	if (!error) {
		count(copy, &copy->files);
		tell(copy, "file", job->to);
	}
	return error;
}

void file_copy_file(void *context, struct virgo *virgo, void *given)
{
	struct file_copy *copy = context;
	struct file_job *job = given;
	int error = file_is(&job->stat, S_IFLNK) ? copy_link(copy, virgo, job) : copy_regular(copy, virgo, job);

	if (error == -EEXIST && copy->no_replace)
		count(copy, &copy->unchanged);
	else if (error)
		file_copy_failed(copy, virgo, error, job->from);
	free(job->from);
	free(job->to);
	free(job);
}

/* ---- the walk, by the command's own thread --------------------------------------------------------------------- */

static void give(struct file_copy *copy, const char *from, const char *to, const struct virgo_file_stat *stat,
		 const struct virgo_file_stat *old)
{
	struct file_job *job = calloc(1, sizeof(*job));

	if (job) {
		job->from = strdup(from);
		job->to = strdup(to);
		job->stat = *stat;
		if (old)
			job->old = *old;
	}
	if (!job || !job->from || !job->to) {
		file_copy_failed(copy, NULL, -ENOMEM, from);
		if (job) {
			free(job->from);
			free(job->to);
		}
		free(job);
		return;
	}
	(void)pthread_mutex_lock(&copy->lock);
	copy->progress.total += stat->size;
	(void)pthread_mutex_unlock(&copy->lock);
	file_crew_give(copy->crew, job);
}

/* A file or, with all below it, a directory that is not in the source. */
static void remove_other(struct file_copy *copy, const char *path, const struct virgo_file_stat *stat)
{
	struct virgo *virgo = copy->cli->virgo;
	char below[FILE_PATH_BYTES];
	struct file_list list;
	int error = 0;

	if (file_is(stat, S_IFDIR)) {
		error = file_list(virgo, file_to(copy, path), &list);
		for (size_t i = 0; i < list.count; i++)
			if (!file_join(below, path, list.entries[i].name))
				remove_other(copy, below, &list.entries[i].stat);
		file_list_free(&list);
	}
	if (!error && !copy->dry_run)
		error = file_unlink(virgo, file_to(copy, path), file_is(stat, S_IFDIR));
	if (error) {
		file_copy_failed(copy, virgo, error, path);
		return;
	}
	count(copy, &copy->deleted);
	tell(copy, "delete", path);
}

/* Room for a directory: 0, or an error. *ret_old is whether there was one. */
static int make_directory(struct file_copy *copy, const char *to, const struct virgo_file_stat *stat, bool *ret_old)
{
	struct virgo *virgo = copy->cli->virgo;
	struct virgo_file_stat there;
	int error;

	*ret_old = false;
	if (copy->dry_run) {
		*ret_old = !file_stat(virgo, file_to(copy, to), true, &there) && file_is(&there, S_IFDIR);
		return 0;
	}
	error = file_mkdir(virgo, file_to(copy, to), mode_of(copy, stat) | S_IRWXU);
	if (error != -EEXIST)
		return error;
	error = file_stat(virgo, file_to(copy, to), true, &there);
	if (error)
		return error;
	*ret_old = file_is(&there, S_IFDIR);
	if (*ret_old)
		return 0;
	if (!copy->sync)
		return -ENOTDIR;
	error = file_unlink(virgo, file_to(copy, to), false);
	return error ? error : file_mkdir(virgo, file_to(copy, to), mode_of(copy, stat) | S_IRWXU);
}

/* To set its mode and times when nothing is made in it any more. */
static int note_directory(struct file_copy *copy, const char *to, const struct virgo_file_stat *stat)
{
	struct file_directory *larger;

	if (copy->made_count == copy->made_room) {
		copy->made_room = copy->made_room ? 2 * copy->made_room : 64;
		larger = reallocarray(copy->made, copy->made_room, sizeof(*copy->made));
		if (!larger)
			return -ENOMEM;
		copy->made = larger;
	}
	copy->made[copy->made_count] = (struct file_directory){ .path = strdup(to), .stat = *stat };
	if (!copy->made[copy->made_count].path)
		return -ENOMEM;
	copy->made_count++;
	return 0;
}

static void copy_entry(struct file_copy *copy, const char *from, const char *to, const struct virgo_file_stat *stat,
		       const struct virgo_file_stat *old);

/* ".NAME.<number>.part" of a NAME that is in the source: a copy that was interrupted, which is about to go on. */
static bool is_part(const struct file_list *here, const char *name)
{
	size_t length = strlen(name);
	const char *end = name + length - 5;

	if (name[0] != '.' || length < 8 || strcmp(end, ".part"))
		return false;
	while (end > name + 1 && end[-1] != '.')
		end--;
	for (size_t i = 0; i < here->count && end > name + 1; i++)
		if (strlen(here->entries[i].name) == (size_t)(end - 1 - (name + 1)) &&
		    !strncmp(here->entries[i].name, name + 1, (size_t)(end - 1 - (name + 1))))
			return true;
	return false;
}

static void remove_entry(struct file_copy *copy, const struct file_list *here, const char *to,
			 const struct file_entry *entry, char *path)
{
	if (copy->delete_others && !is_part(here, entry->name) && !file_join(path, to, entry->name))
		remove_other(copy, path, &entry->stat);
}

/* Both lists are sorted; what is in `there` alone is deleted, if that was asked for. */
static void copy_entries(struct file_copy *copy, const char *from, const char *to, const struct file_list *here,
			 const struct file_list *there)
{
	char *paths = malloc(2 * FILE_PATH_BYTES);
	size_t j = 0;

	if (!paths) {
		file_copy_failed(copy, NULL, -ENOMEM, from);
		return;
	}
	for (size_t i = 0; i < here->count; i++) {
		const struct file_entry *entry = &here->entries[i];
		const struct virgo_file_stat *old = NULL;

		for (; j < there->count && strcmp(there->entries[j].name, entry->name) < 0; j++)
			remove_entry(copy, here, to, &there->entries[j], paths);
		if (j < there->count && !strcmp(there->entries[j].name, entry->name))
			old = &there->entries[j++].stat;
		if (file_join(paths, from, entry->name) || file_join(paths + FILE_PATH_BYTES, to, entry->name))
			file_copy_failed(copy, NULL, -ENAMETOOLONG, entry->name);
		else
			copy_entry(copy, paths, paths + FILE_PATH_BYTES, &entry->stat, old);
	}
	for (; j < there->count; j++)
		remove_entry(copy, here, to, &there->entries[j], paths);
	free(paths);
}

static void copy_directory(struct file_copy *copy, const char *from, const char *to,
			   const struct virgo_file_stat *stat)
{
	struct file_list here = { 0 }, there = { 0 };
	struct virgo *virgo = copy->cli->virgo;
	bool old;
	int error = make_directory(copy, to, stat, &old);

	if (error) {
		file_copy_failed(copy, copy->to_pool ? virgo : NULL, error, to);
		return;
	}
	if (!old) {
		count(copy, &copy->directories);
		tell(copy, "directory", to);
	}
	error = file_list(virgo, file_from(copy, from), &here);
	if (error)
		file_copy_failed(copy, copy->from_pool ? virgo : NULL, error, from);
	/* A node is silent: what the others have is copied. But nothing is deleted because it is not in half a list. */
	if (!error && copy->sync && old) {
		error = file_list(virgo, file_to(copy, to), &there);
		if (error)
			file_copy_failed(copy, copy->to_pool ? virgo : NULL, error, to);
	}
	copy_entries(copy, from, to, &here, &there);
	file_list_free(&here);
	file_list_free(&there);
	if (copy->preserve && !copy->dry_run && note_directory(copy, to, stat))
		file_copy_failed(copy, NULL, -ENOMEM, to);
}

static void copy_entry(struct file_copy *copy, const char *from, const char *to, const struct virgo_file_stat *stat,
		       const struct virgo_file_stat *old)
{
	if (file_is(stat, S_IFDIR)) {
		copy_directory(copy, from, to, stat);
		return;
	}
	if (!file_is(stat, S_IFREG) && !file_is(stat, S_IFLNK)) {
		fprintf(stderr, "virgo: %s: %s: no file, directory or symbolic link: left out\n", copy->cli->command,
			from);
		return;
	}
	if (old && file_is(old, S_IFDIR)) {
		if (!copy->delete_others) {
			file_copy_failed(copy, NULL, -EISDIR, to);
			return;
		}
		remove_other(copy, to, old);
		old = NULL;
	}
	give(copy, from, to, stat, old);
}

void file_copy_tree(struct file_copy *copy, const char *from, const char *to, const struct virgo_file_stat *stat)
{
	struct virgo_file_stat old;
	bool known = copy->sync && !file_stat(copy->cli->virgo, file_to(copy, to), false, &old);

	if (file_is(stat, S_IFDIR) && !copy->recursive) {
		file_copy_failed(copy, NULL, -EISDIR, from);
		fprintf(stderr, "virgo: %s: --recursive copies directories\n", copy->cli->command);
		return;
	}
	copy_entry(copy, from, to, stat, known ? &old : NULL);
}

/* ---- begin and end --------------------------------------------------------------------------------------------- */

int file_copy_begin(struct file_copy *copy, const char *what)
{
	int code = cli_connect(copy->cli);

	if (code)
		return code;
	copy->started_ns = cli_now_ns();
	cli_progress_start(&copy->progress, what, 0, true);
	copy->progress.terminal &= !copy->quiet;
	return file_crew_start(copy->cli, copy->workers, file_copy_file, copy, &copy->crew);
}

/* The deepest first: setting a time of what is in a directory does not change the directory's. */
static void finish_directories(struct file_copy *copy)
{
	struct virgo *virgo = copy->cli->virgo;

	for (size_t i = copy->made_count; i-- > 0;) {
		const struct file_directory *made = &copy->made[i];
		struct file_place place = file_to(copy, made->path);
		int error = file_set_mode(virgo, place, made->stat.mode);

		error = error ? error
			      : file_set_times(virgo, place, made->stat.accessed_ns, made->stat.modified_ns);
		if (error)
			file_copy_failed(copy, virgo, error, made->path);
	}
	for (size_t i = 0; i < copy->made_count; i++)
		free(copy->made[i].path);
	free(copy->made);
}

int file_copy_end(struct file_copy *copy)
{
	double seconds;
	char bytes[24];

	file_crew_end(copy->crew);
	finish_directories(copy);
	cli_progress_end(&copy->progress);
	seconds = (double)(cli_now_ns() - copy->started_ns) / 1e9;
	if (copy->cli->json)
		(void)cli_print_json(json_pack(
			"{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "ok", !copy->failed, "files",
			(json_int_t)copy->files, "links", (json_int_t)copy->links, "directories",
			(json_int_t)copy->directories, "bytes", (json_int_t)copy->bytes, "unchanged",
			(json_int_t)copy->unchanged, "deleted", (json_int_t)copy->deleted, "resumed_bytes",
			(json_int_t)copy->resumed_bytes, "failed", (json_int_t)copy->failed, "seconds", seconds));
	else if (copy->sync)
		printf("%llu files, %llu links, %s copied; %llu unchanged, %llu deleted, %llu failed\n",
		       (unsigned long long)copy->files, (unsigned long long)copy->links,
		       cli_bytes(bytes, sizeof(bytes), (double)copy->bytes), (unsigned long long)copy->unchanged,
		       (unsigned long long)copy->deleted, (unsigned long long)copy->failed);
	(void)pthread_mutex_destroy(&copy->lock);
	return copy->code;
}
