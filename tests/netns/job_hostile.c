/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a client of the CPU pool should not say, over TCP and UDP: each is refused with its own reason, and the node goes
 * on. Prints "ok NAME" or "not ok NAME".
 *
 *   job_hostile ADDRESS PORT KEYFILE|-
 *
 * The node is expected to have the functions of examples/plugins, no kernel programs, and no queue service.
 */
#include "job.h"

static struct job_link wire;
static const char *address, *port;

static void result(bool good, const char *name)
{
	printf("%s %s\n", good ? "ok" : "not ok", name);
	fflush(stdout);
}

/* The answer to the request with this sequence; false: the connection has ended. */
static bool answer_to(__u64 sequence)
{
	while (job_receive(&wire))
		if (VG_BE64TOH(wire.header.sequence) == sequence)
			return true;
	return false;
}

static bool refused_for(enum vg_job_reason reason)
{
	const char *text = vg_job_reason_text(reason);

	if (wire.header.status == vg_job_reason_status(reason) && VG_BE64TOH(wire.header.argument) == reason &&
	    VG_BE32TOH(wire.header.body_length) == strlen(text) && !memcmp(wire.body, text, strlen(text)))
		return true;
	printf("# got status %u reason %llu \"%.*s\"\n", wire.header.status, VG_BE64TOH(wire.header.argument),
	       (int)(VG_BE32TOH(wire.header.body_length) < 200 ? VG_BE32TOH(wire.header.body_length) : 200), wire.body);
	return false;
}

static void send_frame(const struct job_frame *frame)
{
	if (!job_send(&wire, frame))
		job_connect(&wire, address, port);
}

static void expect_body(const char *name, const __u8 *body, __u32 length, enum vg_job_reason reason)
{
	const struct job_frame frame = job_clone_frame(&wire, body, length);

	send_frame(&frame);
	result(answer_to(frame.sequence) && refused_for(reason), name);
}

static char *true_words[] = { "/bin/true", NULL };
static struct job_wish good_wish(void)
{
	return (struct job_wish){
		.fixed = { .kind = VG_JOB_EXECUTABLE, .priority = VG_JOB_PRIORITY_DEFAULT,
			   .flags = VG_HTOBE16(VG_JOB_INPUT_ENDS) },
		.name = "/bin/true",
		.argument = true_words,
	};
}

static void expect_wish(const char *name, const struct job_wish *wish, enum vg_job_reason reason)
{
	__u32 length;
	__u8 *body = job_body(wish, &length);

	expect_body(name, body, length, reason);
	free(body);
}

/* A whole job, and whether it went well. */
static bool works(void)
{
	struct job_wish wish = good_wish();
	__u64 sequence = job_clone(&wire, &wish);

	while (answer_to(sequence)) {
		if (wire.header.status)
			return false;
		if (wire.header.opcode == VG_OP_JOB_END)
			return job_end_of(&wire).how == VG_JOB_EXITED;
	}
	return false;
}

/* ---- requests that are wrong ------------------------------------------------------------------------------------ */

static void test_fields(void)
{
	struct job_wish wish = good_wish();
	static char long_word[VG_JOB_SPEC_MAX];
	char *long_words[] = { long_word, NULL };
	char *bare[] = { "NOVALUE", NULL }, *nameless[] = { "=value", NULL };
	static __u8 input[VG_JOB_INPUT_MAX];

	wish.fixed.kind = 3;
	expect_wish("unknown kind", &wish, VG_JOB_REASON_KIND);
	wish = good_wish();
	wish.fixed.flags = VG_HTOBE16(0x8000);
	expect_wish("unknown flag", &wish, VG_JOB_REASON_FLAGS);
	wish = good_wish();
	wish.fixed.kind = VG_JOB_FUNCTION;
	wish.fixed.flags = VG_HTOBE16(VG_JOB_PTY);
	expect_wish("a function with a terminal", &wish, VG_JOB_REASON_FLAGS);
	wish = good_wish();
	wish.name = "";
	expect_wish("no name", &wish, VG_JOB_REASON_NAME);
	wish = good_wish();
	wish.argument = NULL;
	expect_wish("no argument vector", &wish, VG_JOB_REASON_NAME);
	wish = good_wish();
	wish.environment = bare;
	expect_wish("an environment entry without a value", &wish, VG_JOB_REASON_ENVIRONMENT);
	wish.environment = nameless;
	expect_wish("an environment entry without a name", &wish, VG_JOB_REASON_ENVIRONMENT);
	memset(long_word, 'x', sizeof(long_word) - 1);
	wish = good_wish();
	wish.argument = long_words;
	expect_wish("arguments over the limit", &wish, VG_JOB_REASON_TOO_LONG);
	wish = good_wish();
	wish.fixed.reserved = 1;
	expect_wish("a reserved field", &wish, VG_JOB_REASON_MALFORMED);
	wish = good_wish();
	wish.fixed.kind = VG_JOB_FUNCTION;
	wish.name = "echo";
	wish.argument = NULL;
	wish.input = input;
	wish.input_length = sizeof(input);
	wish.fixed.flags = VG_HTOBE16(VG_JOB_AS_QUEUE);
	expect_wish("a queue that is not there", &wish, VG_JOB_REASON_QUEUE);
}

static void test_names(void)
{
	static const char *const escapes[] = { "../echo", "a/../../b", "/etc/passwd", ".hidden", "text:../x" };
	struct job_wish wish = good_wish();

	wish.argument = NULL;
	wish.fixed.kind = VG_JOB_FUNCTION;
	for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
		char name[64];

		snprintf(name, sizeof(name), "a name that leaves the directory: %s", escapes[i]);
		wish.name = escapes[i];
		expect_wish(name, &wish, VG_JOB_REASON_ESCAPE);
	}
	wish.fixed.kind = VG_JOB_KERNEL;
	wish.name = "numbers:add";
	expect_wish("kernel programs that are turned off", &wish, VG_JOB_REASON_OFF);
}

/* Bytes of a good request changed by hand. */
static void test_bytes(void)
{
	struct job_wish wish = good_wish();
	__u32 length;
	__u8 *body = job_body(&wish, &length), *copy = malloc(length + 16);

	memset(copy, 0, length + 16);
	memcpy(copy, body, length);
	copy[sizeof(struct vg_job_request) + 4 + 2] = '\0';
	expect_body("a NUL in the name", copy, length, VG_JOB_REASON_NUL);
	memcpy(copy, body, length);
	vg_job_store32(copy + sizeof(struct vg_job_request), 0xffffffff);
	expect_body("a length that lies", copy, length, VG_JOB_REASON_MALFORMED);
	memcpy(copy, body, length);
	vg_job_store32(copy + offsetof(struct vg_job_request, arguments), VG_JOB_STRINGS_MAX + 1);
	expect_body("too many arguments", copy, length, VG_JOB_REASON_TOO_LONG);
	memcpy(copy, body, length);
	vg_job_store32(copy + offsetof(struct vg_job_request, arguments), 2);
	expect_body("arguments that are not there", copy, length, VG_JOB_REASON_MALFORMED);
	expect_body("bytes behind the end", copy, length + 16, VG_JOB_REASON_MALFORMED);
	expect_body("a body that is cut off", copy, 20, VG_JOB_REASON_MALFORMED);
	expect_body("no body", copy, 0, VG_JOB_REASON_MALFORMED);
	free(copy);
	free(body);
}

/* ---- forged, replayed, old -------------------------------------------------------------------------------------- */

static void test_once(void)
{
	struct job_wish wish = good_wish();
	__u32 length;
	__u8 *body = job_body(&wish, &length);
	struct job_frame frame = job_clone_frame(&wire, body, length);
	__u64 id = 0;

	frame.ident ^= 1;
	send_frame(&frame);
	result(answer_to(frame.sequence) && refused_for(VG_JOB_REASON_DIGEST), "another body than was signed");
	frame = job_clone_frame(&wire, body, length);
	send_frame(&frame);
	while (answer_to(frame.sequence) && wire.header.opcode != VG_OP_JOB_END)
		id = VG_BE64TOH(wire.header.ident);
	send_frame(&frame);
	result(answer_to(frame.sequence) && refused_for(VG_JOB_REASON_REPLAYED) &&
		       VG_BE64TOH(wire.header.ident) == id && id,
	       "the same request again is not run again");
	frame.sequence += 5000;
	send_frame(&frame);
	while (answer_to(frame.sequence) && wire.header.opcode != VG_OP_JOB_END)
		;
	frame.sequence -= 4000;
	send_frame(&frame);
	result(answer_to(frame.sequence) && refused_for(VG_JOB_REASON_OLD), "a request older than the window");
	wire.sequence += 6000;
	free(body);
	wish.fixed.issued_ms = VG_HTOBE64(job_now_ms() - 3600000);
	expect_wish("a request from before the node was started", &wish, VG_JOB_REASON_ANOTHER_LIFE);
}

static void test_tags(void)
{
	struct job_wish wish = good_wish();
	__u64 sequence;

	if (!wire.keyed)
		return;
	wire.key[0] ^= 1;
	sequence = job_clone(&wire, &wish);
	wire.key[0] ^= 1;
	result(answer_to(sequence) && wire.header.status == VG_STATUS_UNAUTHORIZED, "a forged tag");
	wire.keyed = false;
	sequence = job_clone(&wire, &wish);
	result(answer_to(sequence) && wire.header.status == VG_STATUS_UNAUTHORIZED, "no tag");
	wire.keyed = true;
}

/* ---- others' jobs ----------------------------------------------------------------------------------------------- */

static void expect_operation(const char *name, __u8 opcode, __u64 id, __u64 argument, enum vg_job_reason reason)
{
	__u64 sequence = job_operation(&wire, opcode, id, argument);

	result(answer_to(sequence) && refused_for(reason), name);
}

static void test_owners(void)
{
	static char *words[] = { "sleep", "600", NULL };
	struct job_wish wish = good_wish();
	__u64 sequence, id;

	wish.argument = words;
	wish.name = "sleep";
	sequence = job_clone(&wire, &wish);
	result(answer_to(sequence) && !wire.header.status, "a job that takes long");
	id = VG_BE64TOH(wire.header.ident);
	wire.owner_length = 4;
	memcpy(wire.owner, "them", 4);
	expect_operation("a cancel for someone else's job", VG_OP_JOB_CANCEL, id, 0, VG_JOB_REASON_NOT_YOURS);
	expect_operation("a signal for someone else's job", VG_OP_JOB_SIGNAL, id, 9, VG_JOB_REASON_NOT_YOURS);
	expect_operation("attaching to someone else's job", VG_OP_JOB_ATTACH, id, 0, VG_JOB_REASON_NOT_YOURS);
	expect_operation("the status of someone else's job", VG_OP_JOB_STATUS, id, 0, VG_JOB_REASON_NOT_YOURS);
	wire.owner_length = 0;
	expect_operation("a job that never was", VG_OP_JOB_CANCEL, id ^ 1ull << 40, 0, VG_JOB_REASON_NO_JOB);
	expect_operation("no such signal", VG_OP_JOB_SIGNAL, id, 65, VG_JOB_REASON_SIGNAL);
	expect_operation("an offset that was never sent", VG_OP_JOB_ATTACH, id, 12345, VG_JOB_REASON_OFFSET);
	sequence = job_operation(&wire, VG_OP_JOB_STATUS, id, 0);
	result(answer_to(sequence) && !wire.header.status && wire.body[8] >= VG_JOB_STATE_STARTING && wire.body[12] == 1,
	       "the status of one's own");
	sequence = job_operation(&wire, VG_OP_JOB_LIST, 0, 0);
	result(answer_to(sequence) && !wire.header.status &&
		       VG_BE32TOH(wire.header.body_length) >= sizeof(struct vg_job_record), "the list of jobs");
	sequence = job_operation(&wire, VG_OP_JOB_CANCEL, id, 0);
	result(answer_to(sequence) && !wire.header.status, "a cancel for one's own");
	while (job_receive(&wire) && wire.header.opcode != VG_OP_JOB_END)
		;
	result(job_end_of(&wire).how == VG_JOB_CANCELLED, "and it is cancelled");
	sequence = job_operation(&wire, VG_OP_GET, 1, 0);
	result(answer_to(sequence) && refused_for(VG_JOB_REASON_OPERATION), "an operation of the memory pool");
}

/* ---- broken streams --------------------------------------------------------------------------------------------- */

static bool ends(void)
{
	struct pollfd waiting = { .fd = wire.fd, .events = POLLIN };
	char bytes[4096];

	while (poll(&waiting, 1, 10000) > 0) {
		ssize_t length = recv(wire.fd, bytes, sizeof(bytes), 0);

		if (length <= 0)
			return true;
	}
	return false;
}

static void test_streams(void)
{
	__u8 noise[400];

	memset(noise, 0xff, sizeof(noise));
	memcpy(noise, "VG", 2);
	job_send_all(wire.fd, noise, sizeof(noise));
	result(ends(), "noise behind the magic ends the connection");
	job_connect(&wire, address, port);
	job_send_all(wire.fd, "GET / HTTP/1.1\r\n\r\n", 18);
	result(ends(), "HTTP ends the connection");
	job_connect(&wire, address, port);
	memset(noise, 'w', sizeof(noise));
	for (int i = 0; i < 40; i++)
		job_send_all(wire.fd, noise, sizeof(noise));
	result(ends(), "a line without end ends the connection");
	job_connect(&wire, address, port);
}

/* ---- datagrams -------------------------------------------------------------------------------------------------- */

static int udp_fd;

/* Asks, padded to `length`; the reply's header and body in wire. False: nothing within a second. */
static bool ask_udp(const struct job_frame *frame, size_t length)
{
	struct sockaddr_in where = job_address(address, port);
	struct pollfd waiting = { .events = POLLIN };
	__u8 datagram[2048] = { 0 };
	size_t head = job_head(&wire, frame, datagram);
	ssize_t got;

	if (frame->body_length)
		memcpy(datagram + head, frame->body, frame->body_length);
	if (length < head + frame->body_length)
		length = head + frame->body_length;
	sendto(udp_fd, datagram, length, 0, (struct sockaddr *)&where, sizeof(where));
	waiting.fd = udp_fd;
	while (poll(&waiting, 1, 1000) > 0) {
		got = recv(udp_fd, datagram, sizeof(datagram), 0);
		if (got < (ssize_t)sizeof(wire.header))
			continue;
		memcpy(&wire.header, datagram, sizeof(wire.header));
		memcpy(wire.body, datagram + sizeof(wire.header), (size_t)got - sizeof(wire.header));
		if (VG_BE64TOH(wire.header.sequence) == frame->sequence)
			return true;
	}
	return false;
}

static void test_datagrams(void)
{
	struct job_wish wish = { .name = "echo", .input = "a small datagram", .input_length = 16 };
	struct vg_job_end end;
	__u32 length;
	__u8 *body = job_body(&wish, &length);
	struct job_frame frame = job_clone_frame(&wire, body, length);
	bool answered;

	udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	answered = ask_udp(&frame, 400) || ask_udp(&frame, 400);
	end = job_end_of(&wire);
	result(answered && wire.header.opcode == VG_OP_JOB_END && !wire.header.status &&
		       VG_BE32TOH(end.result_length) == 16 && !memcmp(wire.body + sizeof(end), "a small datagram", 16),
	       "a call by datagram");
	result(ask_udp(&frame, 400) && wire.header.opcode == VG_OP_JOB_END, "asked again it is answered again");
	free(body);
	wish.name = "histogram";
	body = job_body(&wish, &length);
	frame = job_clone_frame(&wire, body, length);
	result(ask_udp(&frame, 0) && wire.header.status == VG_STATUS_TOO_BIG &&
		       VG_BE32TOH(wire.header.body_length) == 0,
	       "no answer is longer than its question, or than a datagram");
	free(body);
	wish = good_wish();
	body = job_body(&wish, &length);
	frame = job_clone_frame(&wire, body, length);
	result(ask_udp(&frame, 600) && refused_for(VG_JOB_REASON_STREAM), "a program by datagram");
	free(body);
	frame = (struct job_frame){ .opcode = VG_OP_JOB_LIST, .sequence = ++wire.sequence };
	result(ask_udp(&frame, 600) && refused_for(VG_JOB_REASON_STREAM), "a list by datagram");
	if (wire.keyed) {
		wire.keyed = false;
		result(ask_udp(&frame, 600) && wire.header.status == VG_STATUS_UNAUTHORIZED &&
			       !(wire.header.flags & VG_HTOBE16(VG_FLAG_TAGGED)), "a stranger's datagram");
		wire.keyed = true;
	}
	close(udp_fd);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 98;
	address = argv[1];
	port = argv[2];
	job_init(&wire);
	job_read_key(&wire, argv[3]);
	job_connect(&wire, address, port);
	result(works(), "a good request");
	test_fields();
	test_names();
	test_bytes();
	test_once();
	test_tags();
	test_owners();
	test_streams();
	test_datagrams();
	result(works(), "a good request after all that");
	return 0;
}
