/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The worker of kind 2: programs of type "syscall" from objects that an administrator has installed and named in the
 * file `allow` beside them, run by BPF_PROG_TEST_RUN on the caller's bytes. An object is loaded at its first call and
 * again when its file has changed; its maps live as long as it does.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "spawn/spawn.h"
#include "virgo/job.h"

#define OBJECTS_MAX 64
#define NAME_MAX_BYTES 128
#define SUFFIX ".bpf.o"

static const char *folder;

static struct object {
	char name[NAME_MAX_BYTES];
	struct timespec changed;
	struct bpf_object *bpf;
} object[OBJECTS_MAX];

/* What libbpf and the verifier say while an object is loaded. */
static char said[VG_CALL_TEXT_MAX];
static size_t said_length;

static int listen_in(enum libbpf_print_level level, const char *format, va_list arguments)
{
	size_t room = sizeof(said) - said_length;
	int length = level == LIBBPF_DEBUG ? 0 : vsnprintf(said + said_length, room, format, arguments);

	if (length > 0)
		said_length += (size_t)length < room ? (size_t)length : room - 1;
	return 0;
}

/* A line of `allow` is "object" or "object:program"; # begins a comment. */
static bool is_allowed(const char *object_name, const char *program)
{
	char path[4096], line[2 * NAME_MAX_BYTES + 8], whole[2 * NAME_MAX_BYTES + 8];
	bool allowed = false;
	FILE *file;

	snprintf(path, sizeof(path), "%s/allow", folder);
	snprintf(whole, sizeof(whole), "%s:%s", object_name, program);
	file = fopen(path, "re");
	while (file && !allowed && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "# \t\r\n")] = '\0';
		allowed = line[0] && (strcmp(line, object_name) == 0 || strcmp(line, whole) == 0);
	}
	if (file)
		fclose(file);
	return allowed;
}

/* The kernel must have it all: nothing is started or attached, and every program is one that is only ever called. */
static struct bpf_object *load(const char *path)
{
	struct bpf_object *loaded = bpf_object__open_file(path, NULL);
	struct bpf_program *program;

	if (!loaded)
		return NULL;
	bpf_object__for_each_program(program, loaded) {
		if (bpf_program__type(program) != BPF_PROG_TYPE_SYSCALL) {
			said_length = (size_t)snprintf(said, sizeof(said), "program %s is not of type syscall",
						       bpf_program__name(program));
			bpf_object__close(loaded);
			return NULL;
		}
	}
	if (bpf_object__load(loaded)) {
		bpf_object__close(loaded);
		return NULL;
	}
	return loaded;
}

static struct object *place_for(const char *name)
{
	struct object *free_place = NULL;

	for (int i = 0; i < OBJECTS_MAX; i++) {
		if (object[i].bpf && strcmp(object[i].name, name) == 0)
			return &object[i];
		if (!object[i].bpf && !free_place)
			free_place = &object[i];
	}
	if (!free_place) { /* the first makes room */
		free_place = &object[0];
		bpf_object__close(free_place->bpf);
		free_place->bpf = NULL;
	}
	snprintf(free_place->name, sizeof(free_place->name), "%s", name);
	return free_place;
}

/* NULL: *reason says why. */
static struct bpf_object *object_of(const char *name, uint32_t *reason)
{
	struct object *place = place_for(name);
	struct stat status;
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s%s", folder, name, SUFFIX);
	if (stat(path, &status)) {
		*reason = VG_JOB_REASON_OBJECT;
		return NULL;
	}
	if (place->bpf && (place->changed.tv_sec != status.st_mtim.tv_sec ||
			   place->changed.tv_nsec != status.st_mtim.tv_nsec)) {
		bpf_object__close(place->bpf);
		place->bpf = NULL;
	}
	if (!place->bpf)
		place->bpf = load(path);
	place->changed = status.st_mtim;
	*reason = VG_JOB_REASON_VERIFIER;
	return place->bpf;
}

static void run(const struct call *call, const struct bpf_program *program, struct call_result *result)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = call->argument, .ctx_size_in = (__u32)call->argument_length);
	int error;

	if (!call->argument_length)
		options.ctx_in = NULL;
	error = bpf_prog_test_run_opts(bpf_program__fd(program), &options);
	if (error) {
		result->reason = VG_JOB_REASON_VERIFIER;
		said_length = (size_t)snprintf(said, sizeof(said),
					       "the kernel did not run it on %zu bytes of context: %s",
					       call->argument_length, strerror(-error));
		result->text = said;
		return;
	}
	result->code = (int)options.retval;
	/* The kernel writes the context back to where it came from. */
	result->result = call->argument;
	result->result_length = call->argument_length;
}

static void serve(const struct call *call, struct call_result *result)
{
	const char *colon = strchr(call->name, ':');
	struct bpf_program *program;
	struct bpf_object *loaded;
	char name[NAME_MAX_BYTES];

	said_length = 0;
	said[0] = '\0';
	if (!colon || (size_t)(colon - call->name) >= sizeof(name) || strlen(colon + 1) >= NAME_MAX_BYTES) {
		result->reason = VG_JOB_REASON_OBJECT;
		result->text = "a kernel program is named object:program";
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(colon - call->name), call->name);
	if (!is_allowed(name, colon + 1)) {
		result->reason = VG_JOB_REASON_NOT_ALLOWED;
		return;
	}
	loaded = object_of(name, &result->reason);
	if (!loaded) {
		result->text = said_length ? said : NULL;
		return;
	}
	program = bpf_object__find_program_by_name(loaded, colon + 1);
	result->reason = program ? VG_JOB_REASON_NONE : VG_JOB_REASON_OBJECT;
	if (program)
		run(call, program, result);
}

int kernel_main(const char *directory)
{
	prctl(PR_SET_NAME, "virgo-kernel");
	folder = directory;
	libbpf_set_print(listen_in);
	return call_loop(serve);
}
