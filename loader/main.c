// SPDX-License-Identifier: GPL-3.0-or-later
/* virgo-agent: bring VIRGO's BPF programs into the kernel, onto interfaces, up to date, and out again. */
#include <argp.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "caps.h"
#include "control.h"
#include "dispatch.h"
#include "explain.h"
#include "objects.h"
#include "options.h"
#include "probe.h"
#include "telemetry.h"
#include "virgo/maps.h"

#define ADMIN_DEFAULT "127.0.0.1:" VG_STRINGIFY(VG_PORT_ADMIN)
#define VG_STRINGIFY(x) VG_STRINGIFY_(x)

const char *argp_program_version = "virgo-agent " VG_VERSION;

enum option_key {
	KEY_PIN_ROOT = 'p',
	KEY_VERBOSE = 'v',
	KEY_MODE = 'm',
	KEY_JSON = 'j',
	KEY_FORCE = 'f',
	KEY_DAEMON_USER = 0x100,
	KEY_ROLE,
	KEY_EGRESS,
	KEY_ADMIN,
	KEY_DETACH_ON_EXIT,
	KEY_INSECURE,
	KEY_TELEMETRY,
	KEY_ADMIN_PORT,
};

#define OPTION_PIN_ROOT {"pin-root", KEY_PIN_ROOT, "DIR", 0, "In a bpffs (default " VG_PIN_ROOT_DEFAULT ")", 0}
#define OPTION_VERBOSE {"verbose", KEY_VERBOSE, NULL, 0, "Show what libbpf, libxdp and the verifier say", 0}
#define OPTION_USER {"daemon-user", KEY_DAEMON_USER, "USER", 0, "Give the maps to this user, as whom virgod runs", 0}
#define OPTION_MODE {"mode", KEY_MODE, "MODE", 0, "native, generic or auto (default auto)", 0}
#define OPTION_EGRESS {"egress", KEY_EGRESS, "HOW", 0, "tcx, clsact, none or auto (default auto)", 0}
#define OPTION_TELEMETRY                                                                                               \
	{"telemetry", KEY_TELEMETRY, "HOW", 0, "Probes of the scheduler and the block layer: auto, notes or off", 0}
#define OPTION_JSON {"json", KEY_JSON, NULL, 0, "Print JSON", 0}

static const struct argp_option load_options[] = {OPTION_PIN_ROOT, OPTION_VERBOSE, OPTION_USER, OPTION_TELEMETRY, {0}};
static const struct argp_option attach_options[] = {
	OPTION_PIN_ROOT, OPTION_VERBOSE, OPTION_MODE, OPTION_EGRESS,
	{"role", KEY_ROLE, "ROLE", 0, "ingress, or pass for the peer of a veth (default ingress)", 0},
	{0},
};
static const struct argp_option plain_options[] = {OPTION_PIN_ROOT, OPTION_VERBOSE, {0}};
static const struct argp_option upgrade_options[] = {OPTION_PIN_ROOT, OPTION_VERBOSE, OPTION_TELEMETRY, {0}};
static const struct argp_option show_options[] = {OPTION_PIN_ROOT, OPTION_VERBOSE, OPTION_JSON, {0}};
static const struct argp_option unload_options[] = {
	OPTION_PIN_ROOT, OPTION_VERBOSE, {"force", KEY_FORCE, NULL, 0, "Even while a daemon is serving", 0}, {0},
};
static const struct argp_option run_options[] = {
	OPTION_PIN_ROOT, OPTION_VERBOSE, OPTION_USER, OPTION_MODE, OPTION_EGRESS, OPTION_TELEMETRY,
	{"admin-port", KEY_ADMIN_PORT, "PORT", 0, "The same on 127.0.0.1", 0},
	{"admin", KEY_ADMIN, "ADDR:PORT", 0, "Where metrics are served (default " ADMIN_DEFAULT ")", 0},
	{"detach-on-exit", KEY_DETACH_ON_EXIT, NULL, 0, "Take the programs off the interfaces in the end", 0},
	{"insecure", KEY_INSECURE, NULL, 0, "Allow --admin beyond loopback", 0},
	{0},
};

static const struct command {
	const char *name;
	int (*run)(const struct vg_options *options);
	const char *help;
	const struct argp_option *options;
	const char *arguments;
	int interfaces_min, interfaces_max;
} commands[] = {
	{"load", vg_command_load, "Load the programs and pin them with their maps; adopt what is pinned already.",
	 load_options, "", 0, 0},
	{"attach", vg_command_attach, "Attach the programs to interfaces.",
	 attach_options, "IFACE...", 1, VG_INTERFACES_MAX},
	{"status", vg_command_status, "Show programs, interfaces, the daemon's lease, counters and nodes.",
	 show_options, "", 0, 0},
	{"detach", vg_command_detach, "Take the programs off interfaces.",
	 plain_options, "IFACE...", 1, VG_INTERFACES_MAX},
	{"unload", vg_command_unload, "Detach everywhere and remove all pins.", unload_options, "", 0, 0},
	{"upgrade", vg_command_upgrade, "Put this agent's programs in the place of those that run; data stays.",
	 upgrade_options, "", 0, 0},
	{"run", vg_command_run, "Load, attach, and stay to serve metrics.",
	 run_options, "[IFACE...]", 0, VG_INTERFACES_MAX},
	{"probe", vg_command_probe, "Try what the kernel has of the things VIRGO needs.",
	 show_options, "[IFACE...]", 0, VG_INTERFACES_MAX},
};
#define COMMANDS_COUNT (sizeof(commands) / sizeof(commands[0]))

/* ---- the end --------------------------------------------------------------------------------------------------- */

enum vg_exit vg_exit_code(int error)
{
	switch (-error) {
	case 0:
		return VG_EXIT_OK;
	case EINVAL:
		return VG_EXIT_USAGE;
	case ENOENT:
	case ENODEV:
		return VG_EXIT_NOT_LOADED;
	case EPERM:
	case EACCES:
		return VG_EXIT_PRIVILEGE;
	case EOPNOTSUPP: /* also ENOTSUP */
	case ENOSYS:
	case ENOEXEC:
		return VG_EXIT_UNSUPPORTED;
	case EBUSY:
	case EEXIST:
	case EADDRINUSE:
		return VG_EXIT_BUSY;
	case EPROTONOSUPPORT:
		return VG_EXIT_LAYOUT;
	default:
		return VG_EXIT_FAILED;
	}
}

/* ---- the command line ------------------------------------------------------------------------------------------ */

struct parse {
	const struct command *command;
	struct vg_options options;
};

/* One of several words; the error text lists them. */
static int word(struct argp_state *state, const char *option, const char *argument, const char *const *words)
{
	for (int i = 0; words[i]; i++) {
		if (!strcmp(argument, words[i]))
			return i;
	}
	argp_error(state, "--%s %s is not known", option, argument);
	return 0;
}

static void daemon_user(struct argp_state *state, struct vg_options *options, const char *name)
{
	const struct passwd *user = getpwnam(name);

	if (!user)
		argp_error(state, "--daemon-user %s: no such user", name);
	else {
		options->daemon_user_given = true;
		options->daemon_uid = user->pw_uid;
		options->daemon_gid = user->pw_gid;
	}
}

static void interface(struct argp_state *state, struct parse *parse, const char *name)
{
	if (parse->options.interfaces_count >= parse->command->interfaces_max)
		argp_error(state, parse->command->interfaces_max ? "too many interfaces" : "takes no argument");
	else
		parse->options.interfaces[parse->options.interfaces_count++] = name;
}

static error_t on_option(int key, char *argument, struct argp_state *state)
{
	static const char *const modes[] = {"auto", "native", "generic", NULL};
	static const char *const egress_modes[] = {"auto", "tcx", "clsact", "none", NULL};
	static const char *const telemetry_modes[] = {"auto", "notes", "off", NULL};
	static const char *const roles[] = {"ingress", "pass", NULL};
	struct parse *parse = state->input;
	struct vg_options *options = &parse->options;

	switch (key) {
	case KEY_PIN_ROOT:
		options->pin_root = argument;
		break;
	case KEY_VERBOSE:
		options->verbose = true;
		break;
	case KEY_MODE:
		options->mode = word(state, "mode", argument, modes);
		break;
	case KEY_EGRESS:
		options->egress = word(state, "egress", argument, egress_modes);
		break;
	case KEY_ROLE:
		options->pass_role = word(state, "role", argument, roles);
		break;
	case KEY_JSON:
		options->json = true;
		break;
	case KEY_FORCE:
		options->force = true;
		break;
	case KEY_DAEMON_USER:
		daemon_user(state, options, argument);
		break;
	case KEY_ADMIN:
		options->admin = argument;
		break;
	case KEY_ADMIN_PORT:
		snprintf(options->admin_text, sizeof(options->admin_text), "127.0.0.1:%.6s", argument);
		options->admin = options->admin_text;
		break;
	case KEY_TELEMETRY:
		options->telemetry = word(state, "telemetry", argument, telemetry_modes);
		break;
	case KEY_DETACH_ON_EXIT:
		options->detach_on_exit = true;
		break;
	case KEY_INSECURE:
		options->insecure = true;
		break;
	case ARGP_KEY_ARG:
		interface(state, parse, argument);
		break;
	case ARGP_KEY_END:
		if (options->interfaces_count < parse->command->interfaces_min)
			argp_error(state, "which interface?");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void usage(FILE *out)
{
	fprintf(out, "usage: virgo-agent COMMAND [OPTION...] [IFACE...]\n\n");
	for (size_t i = 0; i < COMMANDS_COUNT; i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
	fprintf(out, "\nvirgo-agent COMMAND --help tells more; so does virgo-agent(8).\n");
}

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < COMMANDS_COUNT; i++) {
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	}
	return NULL;
}

static void command_parse(struct parse *parse, int argc, char **argv)
{
	const struct argp argp = {
		.options = parse->command->options,
		.parser = on_option,
		.args_doc = parse->command->arguments,
		.doc = parse->command->help,
	};
	char name[64];

	snprintf(name, sizeof(name), "virgo-agent %s", parse->command->name);
	argv[0] = name;
	argp_err_exit_status = VG_EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, parse);
}

int main(int argc, char **argv)
{
	struct parse parse = {.options = {.pin_root = VG_PIN_ROOT_DEFAULT, .admin = ADMIN_DEFAULT}};
	int error;

	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))) {
		usage(stdout);
		return VG_EXIT_OK;
	}
	if (argc >= 2 && !strcmp(argv[1], "--version")) {
		printf("%s\n", argp_program_version);
		return VG_EXIT_OK;
	}
	parse.command = argc >= 2 ? command_find(argv[1]) : NULL;
	if (!parse.command) {
		if (argc >= 2)
			fprintf(stderr, "virgo-agent: no command '%s'\n", argv[1]);
		usage(stderr);
		return VG_EXIT_USAGE;
	}
	command_parse(&parse, argc - 1, argv + 1);
	umask(022);
	vg_objects_verbose(parse.options.verbose);
	vg_dispatch_verbose(parse.options.verbose);
	error = vg_caps_limit();
	if (!error)
		error = parse.command->run(&parse.options);
	if (error)
		fprintf(stderr, "virgo-agent: %s\n", vg_explanation()[0] ? vg_explanation() : strerror(-error));
	if (fflush(stdout) && !error)
		return VG_EXIT_FAILED;
	return vg_exit_code(error);
}
