/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "cli/cli.h"
#include "cli/file.h"
#include "cli/job.h"

#define OPTIONS_MAX 48
#define CLI_TIMEOUT_MS_MAX 86400000

const struct cli_command cli_commands[] = {
	{ "get", "KEY | PATH... LOCAL", "print the value of a key; with more arguments: copy files of the pool to here",
	  "of a key:\n"
	  "  -o, --output FILE    write the value there\n"
	  "  --near N             read it N times through a near cache, and say how many came from there\n"
	  "of files (LOCAL may be -, standard output, for one):\n" FILE_COPY_OPTIONS_HELP,
	  cli_get },
	{ "set", "KEY VALUE|-", "set a key; - reads the value from standard input",
	  "  --ex SPAN            the key lives so long: 30, 1.5s, 200ms, 2m, 1h, 7d\n"
	  "  --nx                 only if the key does not exist\n"
	  "  --xx                 only if it does\n"
	  "  --keep-ttl           keep the deadline it has",
	  cli_set },
	{ "cas", "KEY [VERSION VALUE]", "print the version of a value; set the key if its value still has that version",
	  "  --keep-ttl           keep the deadline it has\n"
	  "  A VERSION of 0 sets the key only if it does not exist. Prints the value's new version.",
	  cli_cas },
	{ "del", "KEY...", "delete keys", NULL, cli_del },
	{ "malloc", "BYTES", "allocate memory in the pool and print its handle", NULL, cli_malloc },
	{ "free", "HANDLE...", "give allocations back", NULL, cli_free },
	{ "read", "HANDLE", "read an allocation or a part of it",
	  "  --offset N           start there\n"
	  "  --length N           so many bytes (default: to the end)\n"
	  "  -o, --output FILE    write them there",
	  cli_read },
	{ "write", "HANDLE FILE|-", "write a file into an allocation", "  --offset N           start there",
	  cli_write },
	{ "load", "FILE|DIR|-...", "set many keys: one a line, or one a file",
	  "  --prefix P           put before every key\n"
	  "  --lines              files hold one key a line (default for files and -)\n"
	  "  --files              every file's content is the value of a key named by its path (default for DIR)",
	  cli_load },
	{ "verify", "FILE|DIR|-...", "read back what load has set and compare it byte by byte",
	  "  --prefix P, --lines, --files   as for load", cli_verify },
	{ "backup", "FILE", "copy all keys and handles of the nodes into FILE, each as it is at one moment",
	  "  --compress           pack them\n"
	  "Several nodes (-n) go into FILE.0, FILE.1, ... in their order.",
	  cli_backup },
	{ "restore", "FILE...", "set the keys of backups; every node takes its own, so name all of them (-n)",
	  "  --replace            also those that exist already", cli_restore },
	{ "snapshot-read", "KEY...", "print the values that keys have at one moment",
	  "One a line: the key, a tab, its value; keys that do not exist are left out.", cli_snapshot_read },
	{ "ping", "", "ask every node for a sign of life",
	  "  -c, --count N        so many rounds (default 1; 0: for ever)\n"
	  "  --interval SPAN      between rounds (default 1s)",
	  cli_ping },
	{ "nodes", "", "show how busy every node is, and how long ago the others heard of it", NULL, cli_nodes },
	{ "status", "", "show every node's keys, requests, times and memory", NULL, cli_status },
	{ "command", "ARGUMENT...", "run any RESP command: virgo command incr counter", NULL, cli_run_command },
	{ "bench", "", "measure the pool",
	  "  --seconds N          how long (default 5)\n"
	  "  --rate N             requests a second, open loop (default: as many as go, closed loop)\n"
	  "  --keys N             how many keys (default 100000)\n"
	  "  --value-size N       bytes a value (default 64)\n"
	  "  --sets PERCENT       share of sets (default 10)\n"
	  "  --threads N          clients, one a thread (default 1)\n"
	  "  --window N           requests in flight a thread (default 32)\n"
	  "  --prefix P           put before every key (default bench:)\n"
	  "  --no-fill            do not set every key once first\n"
	  "  --tcp                the same as --no-udp",
	  cli_bench },
	{ "check-log", "FILE|DIR", "read a write-ahead log as the daemon would at its start (offline)",
	  "  --records            print every record", cli_check_log },
	{ "lb", "sim", "simulate the policies that choose a node, on made-up or recorded requests",
	  "  --nodes LIST         COUNTxCORES@SPEED,... (default 4x1@1,3x2@1,3x4@1.5)\n"
	  "  --trace T            poisson, burst, heavy, or a file of lines ARRIVAL_SECONDS,SIZE_SECONDS\n"
	  "  --loads LIST         percents of the capacity (default 30,50,70,80,90,95)\n"
	  "  --policies LIST      prequal, leastloaded, prg, p2c, locality, jsq, sed, or all (default)\n"
	  "  --requests N         of a made-up trace (default 100000)\n"
	  "  --clients N          who choose, each by what it has heard (default 4)\n"
	  "  --no-ask             choose by what was heard before, as XDP does; else the candidates are asked first\n"
	  "  --probes N           pings with each request, to nodes drawn by chance (default 2)\n"
	  "  --heartbeat-ms N     a node not heard for so long is pinged (default 100)\n"
	  "  --delay-us N         of a datagram, one way (default 20)\n"
	  "  --seed N             the same seed, the same figures (default 1)\n"
	  "  --svg FILE           draw slowdowns against load",
	  cli_lb },
	{ "run", "[--] COMMAND...", "run a command on the least loaded node, as if it ran here",
	  CLI_JOB_OPTIONS_HELP
	  "  --retry N            it may run twice: so often start it again when its node is lost\n"
	  "  --tty                on a terminal of its own\n"
	  "  --detach             leave it there, and print its name: virgo attach, logs, kill, jobs\n"
	  "  --no-input           it reads nothing; our standard input is left alone\n"
	  "  --kind K             executable (default); function or kernel: COMMAND is its name, the argument is\n"
	  "                       standard input, the result standard output",
	  cli_run },
	{ "map", "[--] COMMAND... [::: ARG...]", "run a command for each argument, all over the pool",
	  CLI_JOB_OPTIONS_HELP
	  "  --retry N            start a job again that fails or whose node is lost, so often\n"
	  "  -j, --jobs N         so many at a time (default: four on each node)\n"
	  "  --keep-order         output in the order of the arguments\n"
	  "  --resume FILE        note there what is done, and do not do again what is noted\n"
	  "  --input              each job's standard input is the file that its argument names\n"
	  "  --output FILE        each job's output goes to that file, with places: out/{/}.gz\n"
	  "  -0, --null           arguments on standard input end with a NUL byte, not a line feed\n"
	  "  --no-progress        no bar on a terminal\n"
	  "COMMAND and FILE have places: {} the argument, {/} its last part, {//} its folder, {.} and {/.} without\n"
	  "extension, {#} its number; a command without any gets it as its last word",
	  cli_map },
	{ "jobs", "[NODE...]", "list the jobs of all nodes, or of these", "  --all                those of others too",
	  cli_jobs },
	{ "logs", "JOB", "print what is kept of a job's output", NULL, cli_logs },
	{ "attach", "JOB", "stay with a job: its output, its end; our input is its own",
	  "  --no-input           our standard input is left alone", cli_attach },
	{ "kill", "JOB...", "end jobs", "  -s, --signal NAME    with a signal (default: cancel them)", cli_kill },
	{ "ls", "[PATH...]", "list directories of the file pool",
	  "  -l, --long           with mode, links, owner, size, time and node\n"
	  "  -R, --recursive      and those in them\n"
	  "  -d, --directory      the directories themselves\n"
	  "  -H, --human          sizes in KiB, MiB, GiB",
	  cli_ls },
	{ "cat", "PATH...", "print files of the pool", NULL, cli_cat },
	{ "put", "LOCAL... PATH", "copy files from here into the pool; LOCAL may be -, standard input",
	  FILE_COPY_OPTIONS_HELP FILE_STRIPE_HELP, cli_put },
	{ "cp", "SOURCE... PLACE", "copy files: :PATH is in the pool, all else is here",
	  FILE_COPY_OPTIONS_HELP FILE_STRIPE_HELP, cli_cp },
	{ "sync", "SOURCE PLACE", "make PLACE like SOURCE, a tree or a file; :PATH is in the pool",
	  "      --delete         also what is not in SOURCE\n"
	  "      --checksum       compare what is in the files (XXH3), not their sizes and times\n"
	  "      --verify         read back what was written and compare\n"
	  "      --dry-run        say what would be done\n"
	  "  -v, --verbose        name each file\n"
	  "      --workers N      so many files at a time (default 8)\n"
	  "      --no-progress    no bar on a terminal\n" FILE_STRIPE_HELP
	  "What was interrupted goes on where it was: files that are done are not done again, and a large one goes on\n"
	  "from its last note.",
	  cli_sync },
	{ "mv", "SOURCE... PLACE", "rename files and directories of the pool",
	  "      --no-replace     leave alone what is there", cli_mv },
	{ "rm", "PATH...", "remove files of the pool",
	  "  -r, --recursive      directories, with all that is below them\n"
	  "  -f, --force          what is not there is no error\n"
	  "  -v, --verbose        name each",
	  cli_rm },
	{ "mkdir", "PATH...", "make directories in the pool",
	  "  -p, --parents        and those that lead there; one that exists is no error\n"
	  "  -m, --mode MODE      permissions, octal (default 755)\n"
	  "      --home N         the files made in it shall live on that node",
	  cli_mkdir },
	{ "stat", "[PATH...]", "show what is known of files; without one, of the whole file pool",
	  "      --no-follow      of symbolic links themselves", cli_stat },
	{ "du", "[PATH...]", "add up what files take",
	  "  -s, --summarize      of the arguments alone\n"
	  "  -b, --bytes          exactly\n"
	  "      --apparent-size  how long they are, not what they take",
	  cli_du },
	{ "mount", "[OPTION...] DIR", "show the file pool as a file system at DIR",
	  "  virgo mount --help   names the options", cli_mount },
	{ "umount", "DIR...", "take such a file system away",
	  "  -l, --lazy           now, also where somebody uses it: it ends with the last of them", cli_umount },
	{ "hotkeys", "", "show the keys of every node that are asked for most",
	  "  --count N            so many a node (default 10, at most 128)", cli_hotkeys },
	{ "top", "[mem]", "show nodes and jobs, live; with mem: the memory pool",
	  "  --once               once, and leave\n"
	  "  --interval SPAN      between two pictures (default 1s)",
	  cli_top },
	{ NULL },
};

static const char general_help[] =
	"General options, anywhere on the line:\n"
	"  -n, --node LIST      ADDRESS[:PORT],... to ask (default: VIRGO_NODES, /etc/virgo_client.conf, 127.0.0.1)\n"
	"  -k, --key-file FILE  the cluster key, 32 hex digits (default: VIRGO_KEY_FILE, none)\n"
	"  -t, --timeout SPAN   for an answer (default 5s)\n"
	"  -j, --json           results as JSON\n"
	"      --no-udp         TCP only\n"
	"      --no-tcp         UDP only\n"
	"      --cpu-port N     of the nodes' CPU pools (default 10000, or what the cluster's table says)\n"
	"      --file-port N    of the nodes' file pools (default 50000, or what the cluster's table says)\n"
	"      --any-node       do not learn which node owns what: ask the given nodes in turn\n"
	"  -h, --help           this, or the help of a command\n"
	"      --version\n";

enum {
	GENERAL_NO_UDP = 1,
	GENERAL_NO_TCP,
	GENERAL_ANY_NODE,
	GENERAL_CPU_PORT,
	GENERAL_FILE_PORT,
	GENERAL_JSON,
	GENERAL_VERSION
};

static const struct option general_options[] = {
	{ "node", required_argument, NULL, 'n' },
	{ "key-file", required_argument, NULL, 'k' },
	{ "timeout", required_argument, NULL, 't' },
	{ "json", no_argument, NULL, GENERAL_JSON }, /* -j may be the command's own */
	{ "no-udp", no_argument, NULL, GENERAL_NO_UDP },
	{ "no-tcp", no_argument, NULL, GENERAL_NO_TCP },
	{ "any-node", no_argument, NULL, GENERAL_ANY_NODE },
	{ "cpu-port", required_argument, NULL, GENERAL_CPU_PORT },
	{ "file-port", required_argument, NULL, GENERAL_FILE_PORT },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, GENERAL_VERSION },
};
#define GENERAL_OPTIONS (sizeof(general_options) / sizeof(general_options[0]))

static const struct cli_command *find_command(const char *name)
{
	const struct cli_command *command = cli_commands;

	while (command->name && strcmp(command->name, name))
		command++;
	return command->name ? command : NULL;
}

static void print_help(const struct cli *cli)
{
	const struct cli_command *command = cli->command ? find_command(cli->command) : NULL;

	if (command) {
		printf("virgo %s [OPTION...] %s\n%s\n\n%s%s", command->name, command->arguments, command->help,
		       command->options ? command->options : "", command->options ? "\n\n" : "");
	} else {
		printf("virgo [OPTION...] COMMAND ...\nThe command line of VIRGO's pools.\n\n");
		for (command = cli_commands; command->name; command++)
			printf("  %-8s %-15s %s\n", command->name, command->arguments, command->help);
		printf("\n");
	}
	printf("%s", general_help);
}

static int port_option(const char *name, unsigned int *ret_port)
{
	__u64 number;

	if (vg_number_parse(optarg, 65535, &number) || !number) {
		fprintf(stderr, "virgo: %s: not a port: %s\n", name, optarg);
		return CLI_PARSE_USAGE;
	}
	*ret_port = (unsigned int)number;
	return 0;
}

/* 0: taken; else what cli_parse returns. */
static int general_option(struct cli *cli, int option)
{
	switch (option) {
	case 'n':
		cli->nodes = optarg;
		return 0;
	case 'k':
		cli->key_file = optarg;
		return 0;
	case 't':
		if (cli_span(optarg, &cli->timeout_ms) && cli->timeout_ms && cli->timeout_ms <= CLI_TIMEOUT_MS_MAX)
			return 0;
		fprintf(stderr, "virgo: --timeout: not a span of time: %s\n", optarg);
		return CLI_PARSE_USAGE;
	case 'j':
	case GENERAL_JSON:
		cli->json = true;
		return 0;
	case GENERAL_NO_UDP:
		cli->flags |= VIRGO_NO_UDP;
		return 0;
	case GENERAL_NO_TCP:
		cli->flags |= VIRGO_NO_TCP;
		return 0;
	case GENERAL_ANY_NODE:
		cli->flags |= VIRGO_ASK_ANY;
		return 0;
	case GENERAL_CPU_PORT:
		return port_option("--cpu-port", &cli->cpu_port);
	case GENERAL_FILE_PORT:
		return port_option("--file-port", &cli->file_port);
	case GENERAL_VERSION:
		printf("virgo %s\n", virgo_version());
		return CLI_PARSE_HELP;
	case 'h':
		print_help(cli);
		return CLI_PARSE_HELP;
	default:
		fprintf(stderr, "Try: virgo %s%s--help\n", cli->command ? cli->command : "", cli->command ? " " : "");
		return CLI_PARSE_USAGE;
	}
}

/*
 * getopt's table and short options: the command's own come first, so that what it calls the same means its own. "+"
 * stops at the first argument, for the options before the command.
 */
static void join_options(const struct option *own, bool stop, struct option *ret_all, char *ret_short)
{
	static const char general[] = "n:k:t:jho:c:";
	size_t count = 0, at = 0;

	if (stop)
		ret_short[at++] = '+';
	for (; own && own->name; own++) {
		ret_all[count++] = *own;
		if (own->val < 128 && !memchr(ret_short, own->val, at)) {
			ret_short[at++] = (char)own->val;
			if (own->has_arg)
				ret_short[at++] = ':';
		}
	}
	for (size_t i = 0; i < GENERAL_OPTIONS; i++)
		ret_all[count++] = general_options[i];
	assert(count < OPTIONS_MAX);
	ret_all[count] = (struct option){ 0 };
	for (const char *letter = general; *letter; letter++) {
		bool known = memchr(ret_short, *letter, at), argument = letter[1] == ':';

		if (!known) {
			ret_short[at++] = *letter;
			if (argument)
				ret_short[at++] = ':';
		}
		letter += argument;
	}
	ret_short[at] = '\0';
}

int cli_parse(struct cli *cli, int argc, char **argv, const struct option *own, cli_option_fn fn, void *context,
	      int minimum, int maximum)
{
	struct option all[OPTIONS_MAX];
	char shorts[64];
	int option, result;

	join_options(own, !cli->command || cli->stop_at_argument, all, shorts);
	optind = 0; /* glibc: start anew, and forget what the former scan knew */
	while ((option = getopt_long(argc, argv, shorts, all, NULL)) != -1) {
		bool is_own = option >= 256;

		for (const struct option *o = own; o && o->name; o++)
			is_own |= o->val == option;
		if (!is_own && option != 'o' && option != 'c') {
			result = general_option(cli, option);
			if (result)
				return result;
		} else if (!is_own) {
			fprintf(stderr, "virgo %s: no option -%c here\n", cli->command ? cli->command : "", option);
			return general_option(cli, '?');
		} else if (!fn(context, option, optarg)) {
			fprintf(stderr, "virgo %s: bad value of an option: %s\n", cli->command, optarg);
			return general_option(cli, '?');
		}
	}
	if (argc - optind < minimum || (maximum >= 0 && argc - optind > maximum)) {
		const struct cli_command *command = cli->command ? find_command(cli->command) : NULL;

		fprintf(stderr, "Usage: virgo %s%s[OPTION...] %s\n", command ? command->name : "", command ? " " : "",
			command ? command->arguments : "COMMAND ...");
		return general_option(cli, '?');
	}
	return optind;
}

int cli_parse_exit(int parsed)
{
	return parsed == CLI_PARSE_HELP ? CLI_OK : CLI_USAGE;
}

int cli_connect_other(struct cli *cli, struct virgo **ret_virgo)
{
	struct virgo_options options = {
		.size = sizeof(options),
		.nodes = cli->nodes,
		.key_file = cli->key_file,
		.timeout_ms = (unsigned int)cli->timeout_ms,
		.window = (unsigned int)cli->window,
		.flags = cli->flags,
		.near_bytes = cli->near_bytes,
		.owner = cli->owner,
		.cpu_port = (__u16)cli->cpu_port,
		.file_port = (__u16)cli->file_port,
	};
	char why[256] = "";
	int error = virgo_connect(ret_virgo, &options, why, sizeof(why));

	if (error)
		return cli_complain(cli, error == -EINVAL ? CLI_USAGE : CLI_OTHER, "%s", why);
	return CLI_OK;
}

int cli_connect(struct cli *cli)
{
	return cli->virgo ? CLI_OK : cli_connect_other(cli, &cli->virgo);
}

int main(int argc, char **argv)
{
	struct cli cli = { 0 };
	const struct cli_command *command;
	int first = cli_parse(&cli, argc, argv, NULL, NULL, NULL, 1, -1), code;

	if (first < 0)
		return cli_parse_exit(first);
	command = find_command(argv[first]);
	if (!command && strcmp(argv[first], "help") == 0) {
		cli.command = first + 1 < argc ? argv[first + 1] : NULL;
		print_help(&cli);
		return CLI_OK;
	}
	if (!command) {
		fprintf(stderr, "virgo: no command \"%s\"\n", argv[first]);
		return cli_parse_exit(general_option(&cli, '?'));
	}
	cli.command = command->name;
	code = command->run(&cli, argc - first, argv + first);
	virgo_disconnect(cli.virgo);
	/* A full disk or a closed pipe must not look like success. */
	if (fflush(stdout) || ferror(stdout)) {
		perror("virgo: standard output");
		return code ? code : CLI_OTHER;
	}
	return code;
}
