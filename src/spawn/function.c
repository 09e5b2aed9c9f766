/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The worker of kind 0: plug-ins are opened when the process starts, their functions found by name at each call. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "spawn/spawn.h"
#include "virgo/function.h"
#include "virgo/job.h"

#define LIBRARIES_MAX 256
#define SUFFIX ".so"

static struct library {
	char *name; /* without suffix */
	void *handle;
} library[LIBRARIES_MAX];
static int library_count;

static void open_library(const char *directory, const char *file)
{
	size_t length = strlen(file) - strlen(SUFFIX);
	char path[4096];
	void *handle;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, file) >= sizeof(path))
		return;
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		fprintf(stderr, "plug-in %s cannot be opened: %s\n", file, dlerror());
		return;
	}
	library[library_count++] = (struct library){ strndup(file, length), handle };
}

static int is_library(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > strlen(SUFFIX) &&
	       strcmp(entry->d_name + length - strlen(SUFFIX), SUFFIX) == 0;
}

/* In the order of their names, so that all workers find the same function under a name that two libraries have. */
static void open_libraries(const char *directory)
{
	struct dirent **entry;
	int count = scandir(directory, &entry, is_library, alphasort);

	if (count < 0) {
		fprintf(stderr, "plug-in directory %s: %s\n", directory, strerror(errno));
		return;
	}
	for (int i = 0; i < count; i++) {
		if (library_count < LIBRARIES_MAX)
			open_library(directory, entry[i]->d_name);
		free(entry[i]);
	}
	free(entry);
}

static virgo_function *find(const char *name)
{
	const char *colon = strchr(name, ':'), *function = colon ? colon + 1 : name;
	char symbol[512];

	if ((size_t)snprintf(symbol, sizeof(symbol), "virgo_function_%s", function) >= sizeof(symbol))
		return NULL;
	for (int i = 0; i < library_count; i++) {
		void *found;

		if (colon && (strlen(library[i].name) != (size_t)(colon - name) ||
			      strncmp(library[i].name, name, (size_t)(colon - name))))
			continue;
		found = dlsym(library[i].handle, symbol);
		if (found)
			return (virgo_function *)found;
	}
	return NULL;
}

static void serve(const struct call *call, struct call_result *result)
{
	virgo_function *function = find(call->name);
	struct virgo_call arguments = {
		.size = sizeof(arguments),
		.argument = call->argument,
		.argument_length = call->argument_length,
		.result = call->result,
		.result_room = call->result_max,
	};

	if (!function) {
		result->reason = VG_JOB_REASON_SYMBOL;
		return;
	}
	result->code = function(&arguments);
	if (arguments.result_length > call->result_max) {
		result->reason = VG_JOB_REASON_RESULT_TOO_LONG;
		return;
	}
	result->result = call->result;
	result->result_length = arguments.result_length;
}

int function_main(const char *directory)
{
	prctl(PR_SET_NAME, "virgo-function");
	open_libraries(directory);
	return call_loop(serve);
}
