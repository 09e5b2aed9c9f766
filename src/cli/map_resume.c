/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/map_resume.h"

#define SLOTS_FIRST 1024

static struct map_resume_slot *slot_of(const struct map_resume *resume, __u64 hash)
{
	size_t at = (size_t)hash & (resume->slots - 1);

	/* There is always a free slot: the table grows when half of them are used. */
	while (resume->done[at].used && resume->done[at].hash != hash)
		at = (at + 1) & (resume->slots - 1);
	return &resume->done[at];
}

static int grow(struct map_resume *resume)
{
	struct map_resume larger = { .slots = resume->slots ? 2 * resume->slots : SLOTS_FIRST };

	larger.done = calloc(larger.slots, sizeof(*larger.done));
	if (!larger.done)
		return -ENOMEM;
	for (size_t i = 0; i < resume->slots; i++)
		if (resume->done[i].used)
			*slot_of(&larger, resume->done[i].hash) = resume->done[i];
	free(resume->done);
	resume->done = larger.done;
	resume->slots = larger.slots;
	return 0;
}

static int add(struct map_resume *resume, __u64 hash)
{
	struct map_resume_slot *slot;

	if (2 * (resume->used + 1) > resume->slots) {
		int error = grow(resume);

		if (error)
			return error;
	}
	slot = slot_of(resume, hash);
	resume->used += !slot->used;
	slot->used = true;
	slot->hash = hash;
	slot->count++;
	return 0;
}

bool map_resume_take(struct map_resume *resume, __u64 hash)
{
	struct map_resume_slot *slot;

	if (!resume->slots)
		return false;
	slot = slot_of(resume, hash);
	/* The slot stays in use when its count is down, so that those behind it are still found. */
	if (!slot->used || !slot->count)
		return false;
	slot->count--;
	return true;
}

static int read_line(struct map_resume *resume, const char *line)
{
	unsigned long long hash;
	char *end;

	errno = 0;
	hash = strtoull(line, &end, 16);
	if (errno || end != line + 16 || strspn(line, "0123456789abcdef") != 16 || *end != ' ' || !end[1])
		return -EINVAL;
	return strncmp(end, " 0 ", 3) == 0 ? add(resume, hash) : 0;
}

static int read_all(struct map_resume *resume, FILE *file, size_t *ret_bad_line)
{
	char *line = NULL;
	size_t room = 0, number = 0;
	ssize_t length;
	int error = 0;

	while (!error && (length = getline(&line, &room, file)) > 0) {
		number++;
		/* Cut off: the next line must not grow out of it. */
		if (line[length - 1] != '\n') {
			error = cli_write_all(resume->fd, "\n", 1);
			break;
		}
		if (line[0] == '#' || line[0] == '\n')
			continue;
		error = read_line(resume, line);
		/* A line that was cut off in a run before has an end by now. */
		if (error == -EINVAL && length < 20)
			error = 0;
	}
	if (!error && ferror(file))
		error = -EIO;
	if (error == -EINVAL)
		*ret_bad_line = number;
	free(line);
	return error;
}

int map_resume_open(struct map_resume *resume, const char *path, size_t *ret_bad_line)
{
	FILE *file;
	int error, fd;

	*resume = (struct map_resume){ .fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666) };
	fd = resume->fd >= 0 ? fcntl(resume->fd, F_DUPFD_CLOEXEC, 0) : -1;
	file = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (!file) {
		error = -errno;
		if (fd >= 0)
			(void)close(fd);
		map_resume_close(resume);
		return error;
	}
	error = read_all(resume, file, ret_bad_line);
	(void)fclose(file);
	if (error)
		map_resume_close(resume);
	return error;
}

void map_resume_close(struct map_resume *resume)
{
	if (resume->fd >= 0)
		(void)close(resume->fd);
	free(resume->done);
	*resume = (struct map_resume){ .fd = -1 };
}

int map_resume_note(struct map_resume *resume, const struct map_job *job)
{
	const unsigned char *from = (const unsigned char *)job->argument;
	size_t room = 160 + 3 * strlen(job->argument), at;
	char status[16] = "-", *line;
	int error;

	if (resume->fd < 0)
		return 0;
	line = malloc(room);
	if (!line)
		return -ENOMEM;
	if (!job->result.error)
		(void)snprintf(status, sizeof(status), "%d", job->result.status);
	at = (size_t)snprintf(line, room, "%016llx %s %.3f %s %llu ", (unsigned long long)job->hash, status,
			      (double)job->result.elapsed_ns / 1e9, job->result.node[0] ? job->result.node : "-",
			      (unsigned long long)job->number);
	for (; *from; from++) {
		if (*from < 0x20 || *from == '\\' || *from == 0x7f)
			at += (size_t)snprintf(line + at, room - at, "\\%02x", *from);
		else
			line[at++] = (char)*from;
	}
	line[at++] = '\n';
	/* One write a line: with O_APPEND lines of two runs do not meet within one. */
	error = cli_write_all(resume->fd, line, at);
	free(line);
	return error;
}
