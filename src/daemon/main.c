/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgod: read what it is told, build the node, serve, tear down in reverse. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "node/world.h"

#define KEY_CONFIG 'c'
#define KEY_CHECK 0x1000
#define KEY_OPTION 0x2000 /* + place in vg_option_table */
#define OPTIONS_MAX 64
#define EXIT_USAGE 2

const char *argp_program_version = "virgod " VG_VERSION;

struct arguments {
	struct vg_options_text text;
	const char *config_file; /* NULL: the default one, if it exists */
	bool check_config;
	char why[512];
};

static error_t on_argument(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	if (key == KEY_CONFIG) {
		arguments->config_file = value;
	} else if (key == KEY_CHECK) {
		arguments->check_config = true;
	} else if (key >= KEY_OPTION && key < KEY_OPTION + vg_option_count) {
		if (vg_options_set(&arguments->text, key - KEY_OPTION, value, arguments->why, sizeof(arguments->why)))
			argp_error(state, "%s", arguments->why);
	} else if (key == ARGP_KEY_ARG) {
		argp_error(state, "unexpected argument '%s'", value);
	} else {
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static int parse_arguments(struct arguments *arguments, int argc, char **argv)
{
	static struct argp_option options[OPTIONS_MAX] = {
		{ "config", KEY_CONFIG, "FILE", 0, "configuration file (" VG_OPTIONS_FILE_DEFAULT ", if it exists)",
		  0 },
		{ "check-config", KEY_CHECK, NULL, 0, "read the configuration, say whether it is good, and end", 0 },
	};
	static const struct argp parser = {
		.options = options,
		.parser = on_argument,
		.doc = "The VIRGO daemon: serves the memory and CPU pools over TCP and UDP; owns the arena that XDP "
		       "answers from."
		       "\vEvery flag is also a key of the configuration file. See virgod(8).",
	};

	_Static_assert(OPTIONS_MAX >= 2 + 40, "room for the table and the end mark");
	for (int i = 0; i < vg_option_count; i++)
		options[2 + i] = (struct argp_option){
			.name = vg_option_table[i].name,
			.key = KEY_OPTION + i,
			.arg = vg_option_table[i].argument,
			.doc = vg_option_table[i].help,
		};
	argp_err_exit_status = EXIT_USAGE;
	return argp_parse(&parser, argc, argv, 0, NULL, arguments);
}

/* The file's part of the options. The default file may be missing, a named one may not. */
static int read_configuration(struct arguments *arguments, struct vg_options *ret_options)
{
	struct vg_options_text text = arguments->text;
	const char *path = arguments->config_file ?: VG_OPTIONS_FILE_DEFAULT;
	int error = 0;

	if (arguments->config_file || access(path, F_OK) == 0)
		error = vg_options_read(&text, path, arguments->why, sizeof(arguments->why));
	error = error ?: vg_options_finish(&text.values, arguments->why, sizeof(arguments->why));
	if (!error)
		*ret_options = text.values;
	return error;
}

static void configure_log(const struct vg_options *options)
{
	enum vg_log_level level = VG_LOG_INFO;
	enum vg_log_target target = VG_LOG_AUTO;

	vg_log_level_parse(options->log_level, &level);
	vg_log_target_parse(options->log_target, &target);
	vg_log_configure(level, target);
}

static void reload(struct vg_world *world, void *context)
{
	struct arguments *arguments = context;
	struct vg_options *options = malloc(sizeof(*options));
	int error = options ? read_configuration(arguments, options) : -ENOMEM;

	sd_notify(0, "RELOADING=1");
	if (error) {
		vg_log(VG_LOG_ERROR, "reload failed, the old configuration stays", "error=\"%s\"", arguments->why);
	} else {
		configure_log(options);
		vg_world_reload(world, options);
		vg_log(VG_LOG_NOTICE, "reloaded", NULL);
	}
	free(options);
	sd_notify(0, "READY=1");
}

#define LOADING_TIMEOUT_US 30000000 /* the next word comes sooner */

static void tell_loading(const char *what, __u64 done, __u64 all)
{
	sd_notifyf(0, "STATUS=Loading the %s: %llu of %llu MiB\nEXTEND_TIMEOUT_USEC=%d", what, done >> 20, all >> 20,
		   LOADING_TIMEOUT_US);
}

static int serve(struct arguments *arguments, const struct vg_options *options)
{
	struct vg_world *world;
	const char *cpu, *file;
	int error = vg_world_new(&world, options, arguments->config_file, tell_loading, arguments->why,
				 sizeof(arguments->why));

	if (error) {
		vg_log(VG_LOG_ERROR, "cannot start", "error=\"%s\"", arguments->why);
		return error;
	}
	cpu = world->listen_text[VG_DOOR_CPU];
	file = world->listen_text[VG_DOOR_FILE];
	vg_log(VG_LOG_NOTICE, "serving", "version=%s address=%s cpu=%s file=%s node=%u nodes=%u workers=%u xdp=%s",
	       VG_VERSION, world->listen_text[VG_DOOR_MEM], cpu[0] ? cpu : "off", file[0] ? file : "off",
	       world->cluster->self, world->cluster->nodes, world->worker_count, world->maps.present ? "yes" : "no");
	sd_notify(0, "READY=1\nSTATUS=Serving");
	error = vg_world_run(world, reload, arguments);
	sd_notify(0, "STOPPING=1");
	vg_world_free(world);
	vg_log(VG_LOG_NOTICE, "stopped", NULL);
	return error;
}

int main(int argc, char **argv)
{
	static struct arguments arguments;
	static struct vg_options options;

	vg_options_default(&arguments.text);
	if (parse_arguments(&arguments, argc, argv))
		return EXIT_USAGE;
	if (read_configuration(&arguments, &options)) {
		fprintf(stderr, "virgod: %s\n", arguments.why);
		return EXIT_USAGE;
	}
	if (arguments.check_config) {
		puts("virgod: the configuration is good");
		return EXIT_SUCCESS;
	}
	configure_log(&options);
	return serve(&arguments, &options) ? EXIT_FAILURE : EXIT_SUCCESS;
}
