/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A client of the CPU pool for tests:
 *
 *   job_client ADDRESS PORT KEYFILE|- run [FLAG…] -- CMD…	streams like a shell; ends with the job's status
 *   job_client … call NAME < argument > result		a function; NAME "kernel/o:p": a kernel program
 *   job_client … storm JOBS IN_FLIGHT -- CMD…		{} in CMD is the job's number
 *   job_client … slow SECONDS -- CMD…			reads nothing for so long, then counts what came
 *   job_client … lost BYTES -- CMD…			drops the connection after so many bytes and comes back
 */
#include "job.h"

static struct job_link wire;
static const char *address, *port;

struct streams {
	__u64 id, sequence;
	__u64 taken[2], told[2];
	__u64 input_sent, input_window;
	bool input_ended;
};

static const char *option(char **argv, const char *name)
{
	size_t length = strlen(name);

	for (; *argv && strcmp(*argv, "--"); argv++)
		if (strncmp(*argv, name, length) == 0 && (*argv)[length] == '=')
			return *argv + length + 1;
	return NULL;
}

static __u64 number(char **argv, const char *name, __u64 otherwise)
{
	const char *text = option(argv, name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static char **command(char **argv)
{
	while (*argv && strcmp(*argv, "--"))
		argv++;
	if (!*argv || !argv[1]) {
		errno = EINVAL;
		job_die("no command");
	}
	return argv + 1;
}

static struct job_wish wish_of(char **argv)
{
	static char *environment[] = { NULL, NULL };
	struct job_wish wish = {
		.fixed = {
			.kind = (__u8)number(argv, "kind", VG_JOB_EXECUTABLE),
			.priority = (__u8)number(argv, "priority", VG_JOB_PRIORITY_DEFAULT),
			.flags = VG_HTOBE16((__u16)number(argv, "flags", 0)),
			.timeout_ms = VG_HTOBE32((__u32)number(argv, "timeout", 0)),
			.memory_bytes = VG_HTOBE64(number(argv, "memory", 0)),
			.cpu_ms = VG_HTOBE32((__u32)number(argv, "cpu", 0)),
			.cpu_permille = VG_HTOBE32((__u32)number(argv, "share", 0)),
			.processes = VG_HTOBE32((__u32)number(argv, "processes", 0)),
			.window = VG_HTOBE32((__u32)number(argv, "window", 0)),
		},
		.argument = command(argv),
		.directory = option(argv, "directory"),
	};

	environment[0] = (char *)option(argv, "environment");
	if (environment[0])
		wish.environment = environment;
	wish.name = option(argv, "name") ?: wish.argument[0];
	return wish;
}

/* ---- one job, streamed ------------------------------------------------------------------------------------------ */

static void send_input(struct streams *streams)
{
	static __u8 data[VG_JOB_DATA_MAX];
	size_t room = streams->input_window - streams->input_sent;
	ssize_t length = read(STDIN_FILENO, data, room < sizeof(data) ? room : sizeof(data));
	struct job_frame frame = {
		.opcode = VG_OP_JOB_INPUT, .ident = streams->id, .argument = streams->input_sent, .body = data,
	};

	if (length < 0)
		job_die("stdin");
	frame.body_length = (__u32)length;
	if (!job_send(&wire, &frame))
		job_die("send");
	streams->input_sent += (__u64)length;
	streams->input_ended = !length;
}

static void write_all(int fd, const __u8 *data, size_t length)
{
	while (length) {
		ssize_t part = write(fd, data, length);

		if (part < 0)
			job_die("write");
		data += part;
		length -= (size_t)part;
	}
}

/* Output in order, without gap; written, and acknowledged by halves of the window. */
static void take_output(struct streams *streams, int fds[2])
{
	__u32 length = VG_BE32TOH(wire.header.body_length);
	int at = VG_BE16TOH(wire.header.partition) - 1;

	if (at < 0 || at > 1 || VG_BE64TOH(wire.header.argument) != streams->taken[at]) {
		errno = EPROTO;
		job_die("output out of order");
	}
	write_all(fds[at], wire.body, length);
	streams->taken[at] += length;
	if (streams->taken[at] - streams->told[at] >= (at ? VG_JOB_ERROR_WINDOW : VG_JOB_WINDOW_DEFAULT) / 4) {
		streams->told[at] = streams->taken[at];
		job_taken(&wire, streams->id, (__u16)(at + 1), streams->taken[at]);
	}
}

static int finish(const struct streams *streams, bool verbose)
{
	struct vg_job_end end = job_end_of(&wire);

	job_taken(&wire, streams->id, VG_JOB_STDERR, streams->taken[1]);
	job_taken(&wire, streams->id, VG_JOB_STDOUT, streams->taken[0]);
	if (VG_BE64TOH(end.output_bytes) != streams->taken[0] || VG_BE64TOH(end.error_bytes) != streams->taken[1]) {
		errno = EPROTO;
		job_die("output is missing");
	}
	if (verbose || end.how != VG_JOB_EXITED)
		fprintf(stderr, "%s code=%d reason=%u user_us=%llu wall_us=%llu rss=%llu %.*s\n",
			vg_job_how_text(end.how), (int)VG_BE32TOH(end.code), VG_BE16TOH(end.reason),
			VG_BE64TOH(end.user_us), VG_BE64TOH(end.wall_us), VG_BE64TOH(end.memory_peak_bytes),
			(int)VG_BE32TOH(end.text_length), wire.body + sizeof(end) + VG_BE32TOH(end.result_length));
	return end.how == VG_JOB_EXITED ? (int)VG_BE32TOH(end.code) : 120 + end.how;
}

static void refused(void)
{
	fprintf(stderr, "refused status=%u reason=%llu %.*s\n", wire.header.status, VG_BE64TOH(wire.header.argument),
		(int)VG_BE32TOH(wire.header.body_length), wire.body);
	exit(110);
}

static void expect_accepted(struct streams *streams)
{
	if (!job_receive(&wire))
		job_die("no answer");
	if (wire.header.status)
		refused();
	streams->id = VG_BE64TOH(wire.header.ident);
	streams->input_window = VG_JOB_INPUT_WINDOW;
}

static int stream(struct streams *streams, __u64 leave_after, bool verbose)
{
	int fds[2] = { STDOUT_FILENO, STDERR_FILENO };

	for (;;) {
		struct pollfd poll_fds[2] = { { .fd = wire.fd, .events = POLLIN },
					      { .fd = STDIN_FILENO, .events = POLLIN } };
		bool wants = !streams->input_ended && streams->input_sent < streams->input_window;

		if (poll(poll_fds, wants ? 2 : 1, -1) < 0)
			job_die("poll");
		if (wants && poll_fds[1].revents)
			send_input(streams);
		if (!poll_fds[0].revents)
			continue;
		if (!job_receive(&wire)) {
			errno = ECONNRESET;
			job_die("the node has gone");
		}
		if (wire.header.status)
			refused();
		if (wire.header.opcode == VG_OP_JOB_OUTPUT)
			take_output(streams, fds);
		else if (wire.header.opcode == VG_OP_JOB_WINDOW)
			streams->input_window = VG_BE64TOH(wire.header.argument) + VG_JOB_INPUT_WINDOW;
		else if (wire.header.opcode == VG_OP_JOB_END)
			return finish(streams, verbose);
		if (leave_after && streams->taken[0] >= leave_after)
			return -1;
	}
}

static int run(char **argv)
{
	struct job_wish wish = wish_of(argv);
	struct streams streams = { 0 };

	if (option(argv, "owner")) {
		wire.owner_length = (__u32)strlen(option(argv, "owner"));
		memcpy(wire.owner, option(argv, "owner"), wire.owner_length);
	}
	streams.input_ended = number(argv, "noinput", 0);
	if (streams.input_ended)
		wish.fixed.flags |= VG_HTOBE16(VG_JOB_INPUT_ENDS);
	job_clone(&wire, &wish);
	expect_accepted(&streams);
	if (number(argv, "verbose", 0))
		fprintf(stderr, "job %016llx\n", streams.id);
	return stream(&streams, 0, number(argv, "verbose", 0));
}

static int lost(char **argv)
{
	struct job_wish wish = wish_of(argv + 1);
	struct streams streams = { 0 };
	int status;

	wish.fixed.flags |= VG_HTOBE16(VG_JOB_INPUT_ENDS);
	streams.input_ended = true;
	job_clone(&wire, &wish);
	expect_accepted(&streams);
	for (__u64 bytes = strtoull(argv[0], NULL, 10), times = 1;; times++) {
		status = stream(&streams, bytes * times, false);
		if (status >= 0)
			return status;
		job_connect(&wire, address, port);
		/* Only what was taken is known: all else comes again. */
		job_operation(&wire, VG_OP_JOB_ATTACH, streams.id, streams.taken[0]);
		expect_accepted(&streams);
		if (wire.header.opcode != VG_OP_JOB_ATTACH) {
			errno = EPROTO;
			job_die("attach");
		}
	}
}

static int slow(char **argv)
{
	struct job_wish wish = wish_of(argv + 1);
	struct streams streams = { .input_ended = true };

	wish.fixed.flags |= VG_HTOBE16(VG_JOB_INPUT_ENDS);
	job_clone(&wire, &wish);
	expect_accepted(&streams);
	fprintf(stderr, "job %016llx\n", streams.id);
	sleep((unsigned int)atoi(argv[0]));
	return stream(&streams, 0, false);
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

static int call(char **argv)
{
	static __u8 argument[VG_JOB_INPUT_MAX];
	struct job_wish wish = { .fixed = { .priority = VG_JOB_PRIORITY_DEFAULT }, .name = argv[0], .input = argument };
	struct vg_job_end end;

	if (strncmp(argv[0], "kernel/", 7) == 0) {
		wish.fixed.kind = VG_JOB_KERNEL;
		wish.name += 7;
	}
	wish.fixed.timeout_ms = VG_HTOBE32((__u32)number(argv, "timeout", 0));
	for (ssize_t part = 1; part > 0; wish.input_length += (__u32)part) {
		part = read(STDIN_FILENO, argument + wish.input_length, sizeof(argument) - wish.input_length);
		if (part < 0)
			job_die("stdin");
	}
	job_clone(&wire, &wish);
	if (!job_receive(&wire))
		job_die("no answer");
	if (wire.header.status)
		refused();
	end = job_end_of(&wire);
	write_all(STDOUT_FILENO, wire.body + sizeof(end), VG_BE32TOH(end.result_length));
	if (end.how != VG_JOB_EXITED)
		fprintf(stderr, "%s code=%d reason=%u %.*s\n", vg_job_how_text(end.how), (int)VG_BE32TOH(end.code),
			VG_BE16TOH(end.reason), (int)VG_BE32TOH(end.text_length),
			wire.body + sizeof(end) + VG_BE32TOH(end.result_length));
	return end.how == VG_JOB_EXITED ? (int)VG_BE32TOH(end.code) : 120 + end.how;
}

/* ---- storms ----------------------------------------------------------------------------------------------------- */

struct storm {
	__u32 jobs, asked, ended, failed, twice;
	__u8 *seen; /* by sequence */
};

static void ask_next(struct storm *storm, char **words)
{
	static char text[64][256];
	char *argument[65] = { 0 };
	struct job_wish wish = {
		.fixed = { .kind = VG_JOB_EXECUTABLE, .priority = VG_JOB_PRIORITY_DEFAULT,
			   .flags = VG_HTOBE16(VG_JOB_INPUT_ENDS) },
		.argument = argument,
	};

	storm->asked++;
	for (int i = 0; i < 64 && words[i]; i++) {
		char *place = strstr(words[i], "{}");

		if (place)
			snprintf(text[i], sizeof(text[i]), "%.*s%u%s", (int)(place - words[i]), words[i], storm->asked,
				 place + 2);
		else
			snprintf(text[i], sizeof(text[i]), "%s", words[i]);
		argument[i] = text[i];
	}
	wish.name = argument[0];
	job_clone(&wire, &wish);
}

static void take_end(struct storm *storm)
{
	struct vg_job_end end = job_end_of(&wire);
	__u64 sequence = VG_BE64TOH(wire.header.sequence), id = VG_BE64TOH(wire.header.ident);

	if (sequence > storm->jobs || storm->seen[sequence]++)
		storm->twice++;
	storm->ended++;
	storm->failed += end.how != VG_JOB_EXITED || end.code;
	job_taken(&wire, id, VG_JOB_STDOUT, VG_BE64TOH(end.output_bytes));
}

static int storm(char **argv)
{
	struct storm storm = { .jobs = (__u32)strtoul(argv[0], NULL, 10) };
	__u32 in_flight = (__u32)strtoul(argv[1], NULL, 10), refusals = 0;
	char **words = command(argv);

	storm.seen = calloc(storm.jobs + 2, 1);
	while (storm.ended + refusals < storm.jobs) {
		while (storm.asked < storm.jobs && storm.asked - storm.ended - refusals < in_flight)
			ask_next(&storm, words);
		if (!job_receive(&wire)) {
			errno = ECONNRESET;
			job_die("the node has gone");
		}
		if (wire.header.opcode == VG_OP_JOB_END)
			take_end(&storm);
		else if (wire.header.status)
			refusals++;
	}
	printf("jobs=%u ended=%u failed=%u twice=%u refused=%u\n", storm.jobs, storm.ended, storm.failed, storm.twice,
	       refusals);
	free(storm.seen);
	return storm.failed || storm.twice || refusals;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*fn)(char **argv);
	} commands[] = { { "run", run }, { "call", call }, { "storm", storm }, { "slow", slow }, { "lost", lost } };

	if (argc < 6) {
		fprintf(stderr, "job_client ADDRESS PORT KEYFILE COMMAND …\n");
		return 98;
	}
	job_init(&wire);
	address = argv[1];
	port = argv[2];
	job_read_key(&wire, argv[3]);
	job_connect(&wire, address, port);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[4], commands[i].name) == 0)
			return commands[i].fn(argv + 5);
	return 98;
}
