/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a client of the file pool should not say: paths that leave the root, links that lead out of it, forged numbers,
 * broken frames. Each is refused with its own error, and the node goes on. Prints "ok NAME" or "not ok NAME".
 *
 *   file_hostile ADDRESS PORT KEYFILE|- ROOT OUTSIDE [read-only]
 *
 * ROOT is the node's --file-root, as this machine sees it; OUTSIDE a directory beside it with a file "secret".
 */
#define JOB_KEY_ROOM 8192
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "job.h"
#include "virgo/file.h"

#define SECRET "what nobody outside may read"

static struct job_link wire;
static const char *address, *port, *root, *outside;
static struct vg_file_session session;
static __u64 session_id;

static void result(bool good, const char *name)
{
	printf("%s %s\n", good ? "ok" : "not ok", name);
	if (!good)
		printf("# status %u argument %llu \"%.*s\"\n", wire.header.status, VG_BE64TOH(wire.header.argument),
		       (int)(VG_BE32TOH(wire.header.body_length) < 80 ? VG_BE32TOH(wire.header.body_length) : 80),
		       wire.body);
	fflush(stdout);
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

struct ask {
	__u8 opcode;
	const void *path;
	size_t length; /* of the path; 0: strlen */
	__u64 ident, argument;
	__u16 partition, flags;
	const void *body;
	__u32 body_length;
};

static __u64 say(const struct ask *ask)
{
	const struct job_frame frame = {
		.opcode = ask->opcode,
		.partition = ask->partition,
		.flags = ask->flags,
		.sequence = ++wire.sequence,
		.ident = ask->ident,
		.argument = ask->argument,
		.body = ask->body,
		.body_length = ask->body_length,
	};

	wire.owner_length = (__u32)(ask->length ?: ask->path ? ask->length ?: strlen(ask->path) : 0);
	memcpy(wire.owner, ask->path ?: "", wire.owner_length);
	if (!job_send(&wire, &frame))
		job_connect(&wire, address, port);
	return wire.sequence;
}

static bool answer_to(__u64 sequence)
{
	while (job_receive(&wire))
		if (VG_BE64TOH(wire.header.sequence) == sequence)
			return true;
	return false;
}

/* The errno of the answer, 0: it went well, -1: there was none, or another status. */
static int ask(struct ask question)
{
	if (!answer_to(say(&question)))
		return -1;
	if (wire.header.status == VG_STATUS_ERRNO)
		return (int)VG_BE64TOH(wire.header.argument);
	return wire.header.status ? -1 : 0;
}

static int join(__u64 id, const __u8 *secret, __u32 lease_ms)
{
	struct vg_file_session asked = { .lease_ms = VG_HTOBE32(lease_ms) };
	int error;

	if (secret)
		memcpy(asked.secret, secret, sizeof(asked.secret));
	error = ask((struct ask){ VG_OP_FILE_SESSION, .ident = id, .body = &asked, .body_length = sizeof(asked) });
	if (!error) {
		memcpy(&session, wire.body, sizeof(session));
		session_id = VG_BE64TOH(wire.header.ident);
	}
	return error;
}

static int open_file(const char *path, __u64 flags, __u64 *ret_ident)
{
	int error = ask((struct ask){ VG_OP_FILE_OPEN, path, .argument = flags << 32 | 0644 });

	*ret_ident = VG_BE64TOH(wire.header.ident);
	return error;
}

static int read_file(__u64 ident, __u64 offset, __u32 length)
{
	const struct vg_file_span span = { .length = VG_HTOBE32(length) };

	return ask((struct ask){ VG_OP_FILE_READ, .ident = ident, .argument = offset, .body = &span,
				 .body_length = sizeof(span) });
}

/* ---- paths ------------------------------------------------------------------------------------------------------ */

/* One question of each operation that takes a path. */
static int ask_of(__u8 opcode, const void *path, size_t length, const void *other, size_t other_length)
{
	static const struct vg_file_change change = { .mask = VG_HTOBE32(VG_FILE_CHANGE_MODE),
						      .mode = VG_HTOBE32(0600) };
	static const struct vg_file_span span = { .length = VG_HTOBE32(4096) };
	static const struct {
		struct vg_file_xattr front;
		char bytes[8];
	} xattr = { { .name_length = VG_HTOBE32(6) }, "user.ab" };
	struct ask question = { .opcode = opcode, .path = path, .length = length };

	switch (opcode) {
	case VG_OP_FILE_OPEN:
	case VG_OP_FILE_PUT:
		question.argument = (__u64)(VG_FILE_O_READ | VG_FILE_O_WRITE | VG_FILE_O_CREATE) << 32 | 0644;
		break;
	case VG_OP_FILE_MKDIR:
		question.argument = 0755;
		break;
	case VG_OP_FILE_CHANGE:
		question.body = &change;
		question.body_length = sizeof(change);
		break;
	case VG_OP_FILE_LIST:
		question.body = &span;
		question.body_length = sizeof(span);
		break;
	case VG_OP_FILE_XATTR_SET:
		question.body = &xattr;
		question.body_length = sizeof(xattr.front) + 7;
		break;
	case VG_OP_FILE_XATTR_GET:
	case VG_OP_FILE_XATTR_REMOVE:
		question.body = "user.a";
		question.body_length = 6;
		break;
	case VG_OP_FILE_RENAME:
	case VG_OP_FILE_LINK:
	case VG_OP_FILE_SYMLINK:
		question.body = other;
		question.body_length = (__u32)other_length;
	}
	return ask(question);
}

static const __u8 by_path[] = {
	VG_OP_FILE_OPEN,     VG_OP_FILE_STAT,	   VG_OP_FILE_CHANGE,	 VG_OP_FILE_LIST,	VG_OP_FILE_RENAME,
	VG_OP_FILE_LINK,     VG_OP_FILE_UNLINK,	   VG_OP_FILE_MKDIR,	 VG_OP_FILE_RMDIR,	VG_OP_FILE_SYMLINK,
	VG_OP_FILE_READLINK, VG_OP_FILE_XATTR_GET, VG_OP_FILE_XATTR_SET, VG_OP_FILE_XATTR_LIST, VG_OP_FILE_XATTR_REMOVE,
	VG_OP_FILE_FETCH,    VG_OP_FILE_PUT,
};
#define BY_PATH (sizeof(by_path) / sizeof(by_path[0]))

/* Every operation refuses this path so, as the first and as the second. */
static void refuses(const char *name, const void *path, size_t length, int error)
{
	bool good = true;

	for (size_t i = 0; i < BY_PATH && good; i++)
		good = ask_of(by_path[i], path, length, "x", 1) == error;
	good = good && ask_of(VG_OP_FILE_RENAME, "plain", 0, path, length) == error &&
	       ask_of(VG_OP_FILE_LINK, "plain", 0, path, length) == error;
	result(good, name);
}

static void test_paths(void)
{
	static char bytes[VG_FILE_PATH_MAX + 2];
	static const char *const escapes[] = {
		"..",
		"../secret",
		"a/../../secret",
		"a/..",
		"/etc/passwd",
		"/",
		"//",
		"a//b",
		"a/",
		".",
		"./a",
		"a/.",
		"../../../../../../../../etc/passwd",
		"/proc/self/root/etc/passwd",
		"a/./b",
	};
	static const char *const reserved[] = { ".virgo", ".virgo/x", ".virgo-x", ".virgos" };
	char name[80];

	for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
		snprintf(name, sizeof(name), "a path that is none: %s", escapes[i]);
		refuses(name, escapes[i], strlen(escapes[i]), EINVAL);
	}
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
		snprintf(name, sizeof(name), "a name of the pool's own: %s", reserved[i]);
		refuses(name, reserved[i], strlen(reserved[i]), EPERM);
	}
	refuses("a NUL in a path", "plain\0/../x", 11, EINVAL);
	refuses("a NUL at its end", "plain\0", 6, EINVAL);
	memset(bytes, 'n', sizeof(bytes));
	refuses("a name of 256 bytes", bytes, 256, ENAMETOOLONG);
	memset(bytes, 'n', sizeof(bytes));
	for (size_t i = 200; i < sizeof(bytes); i += 200)
		bytes[i] = '/';
	refuses("a path of 4096 bytes", bytes, VG_FILE_PATH_MAX + 1, ENAMETOOLONG);
	result(ask_of(VG_OP_FILE_STAT, bytes, VG_FILE_PATH_MAX, "", 0) == ENOENT, "a path of 4095 bytes is looked for");
	result(ask_of(VG_OP_FILE_STAT, "\xff\xfe/\x80", 0, "", 0) == ENOENT, "names are bytes");
}

/* ---- what names lead to ----------------------------------------------------------------------------------------- */

static const char *in_root(const char *name)
{
	static char path[2][512];
	static int which;

	which ^= 1;
	snprintf(path[which], sizeof(path[0]), "%s/%s", root, name);
	return path[which];
}

/* No operation goes through the link, or tells what is behind it from what is not. */
static void leads_nowhere(const char *name, const char *target)
{
	bool good = symlink(target, in_root("trap")) == 0;

	for (size_t i = 0; i < BY_PATH && good; i++) {
		int there = ask_of(by_path[i], "trap/secret", 0, "x", 1);

		good = there == ELOOP && ask_of(by_path[i], "trap/absent", 0, "x", 1) == there;
		if (!good)
			printf("# operation %u\n", by_path[i]);
	}
	good = good && ask_of(VG_OP_FILE_OPEN, "trap", 0, "", 0) == ELOOP &&
	       ask_of(VG_OP_FILE_FETCH, "trap", 0, "", 0) == ELOOP &&
	       ask_of(VG_OP_FILE_PUT, "trap", 0, "", 0) == ELOOP && ask_of(VG_OP_FILE_STAT, "trap", 0, "", 0) == 0;
	unlink(in_root("trap"));
	result(good, name);
}

static void test_links(void)
{
	char up[512], magic[64];

	snprintf(up, sizeof(up), "../%s", strrchr(outside, '/') + 1);
	snprintf(magic, sizeof(magic), "/proc/%d/cwd", (int)getpid());
	leads_nowhere("an absolute link to a directory outside", outside);
	leads_nowhere("a relative link to a directory outside", up);
	leads_nowhere("a link to a magic link", magic);
	leads_nowhere("a link to nothing", "absent");
	leads_nowhere("a link to itself", "trap");
	result(ask_of(VG_OP_FILE_SYMLINK, "stub", 0, "/.virgo-home/0", 14) == EINVAL &&
		       ask_of(VG_OP_FILE_SYMLINK, "stub", 0, "a\0b", 3) == EINVAL,
	       "a link that looks like the pool's own");
}

static volatile bool racing;

static void *swap(void *unused)
{
	while (racing)
		(void)!renameat2(AT_FDCWD, in_root("race"), AT_FDCWD, in_root("trap"), RENAME_EXCHANGE);
	return unused;
}

/* A directory and a link to outside change places all the time. */
static void test_race(void)
{
	unsigned int inside = 0, refused = 0, leaked = 0;
	pthread_t thread;
	int fd;

	(void)!mkdir(in_root("race"), 0755);
	fd = open(in_root("race/secret"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	(void)!write(fd, "inside", 6);
	close(fd);
	(void)!symlink(outside, in_root("trap"));
	racing = true;
	if (pthread_create(&thread, NULL, swap, NULL))
		job_die("thread");
	for (int i = 0; i < 4000; i++) {
		__u64 ident;
		int error = open_file("race/secret", VG_FILE_O_READ, &ident);

		if (error) {
			refused += error == ELOOP || error == ENOENT || error == ENOTDIR;
			continue;
		}
		(void)read_file(ident, 0, 64);
		inside += VG_BE32TOH(wire.header.body_length) == 6;
		leaked += !memcmp(wire.body, SECRET, strlen(SECRET));
		(void)ask((struct ask){ VG_OP_FILE_CLOSE, .ident = ident });
		(void)ask((struct ask){ VG_OP_FILE_PUT, "race/put", .argument = 0644, .body = "x", .body_length = 1 });
	}
	racing = false;
	pthread_join(thread, NULL);
	printf("# inside %u refused %u\n", inside, refused);
	result(!leaked && inside && refused && inside + refused == 4000, "a directory that turns into a link meanwhile");
	snprintf((char *)wire.body, 512, "%s/put", outside);
	result(access((char *)wire.body, F_OK) != 0, "and nothing was made outside");
}

static void test_devices(void)
{
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	__u64 ident;

	(void)!mknod(in_root("zero"), S_IFCHR | 0666, (dev_t)(1 << 8 | 5));
	(void)!mkfifo(in_root("pipe"), 0666);
	snprintf(local.sun_path, sizeof(local.sun_path), "%s", in_root("socket"));
	(void)!bind(fd, (struct sockaddr *)&local, sizeof(local));
	result(open_file("zero", VG_FILE_O_READ, &ident) == EPERM &&
		       open_file("zero", VG_FILE_O_WRITE, &ident) == EPERM,
	       "a device");
	result(open_file("pipe", VG_FILE_O_READ, &ident) == EPERM &&
		       open_file("pipe", VG_FILE_O_WRITE, &ident) == EPERM,
	       "a pipe");
	result(open_file("socket", VG_FILE_O_READ, &ident) == EPERM, "a socket");
	result(ask_of(VG_OP_FILE_CHANGE, "zero", 0, "", 0) == EPERM &&
		       ask_of(VG_OP_FILE_XATTR_GET, "pipe", 0, "", 0) == EPERM,
	       "what they are is not changed");
	close(fd);
	unlink(in_root("zero"));
	unlink(in_root("pipe"));
	unlink(in_root("socket"));
}

static void test_modes(void)
{
	struct vg_file_change change = { .mask = VG_HTOBE32(VG_FILE_CHANGE_MODE), .mode = VG_HTOBE32(06777) };
	struct stat status;
	int error;

	error = ask((struct ask){ VG_OP_FILE_OPEN, "mode",
				  .argument = (__u64)(VG_FILE_O_WRITE | VG_FILE_O_CREATE) << 32 | 0666 });
	result(!error && !stat(in_root("mode"), &status) && (status.st_mode & 07777) == 0666,
	       "a mode is what was asked for");
	error = ask((struct ask){ VG_OP_FILE_CHANGE, "mode", .body = &change, .body_length = sizeof(change) });
	result(!error && !stat(in_root("mode"), &status) && (status.st_mode & 07777) == 0777, "no set-id bits");
	change = (struct vg_file_change){ .mask = VG_HTOBE32(VG_FILE_CHANGE_UID), .uid = VG_HTOBE32(12345) };
	error = ask((struct ask){ VG_OP_FILE_CHANGE, "mode", .body = &change, .body_length = sizeof(change) });
	result(error == EPERM, "nobody else's");
	change = (struct vg_file_change){ .mask = VG_HTOBE32(0x100) };
	error = ask((struct ask){ VG_OP_FILE_CHANGE, "mode", .body = &change, .body_length = sizeof(change) });
	result(error == EINVAL, "a change that is not known");
	error = ask((struct ask){ VG_OP_FILE_OPEN, "mode", .argument = 0x4000ull << 32 });
	result(error == EINVAL, "a flag that is not known");
	result(ask((struct ask){ VG_OP_FILE_XATTR_SET, "mode", .body = "\0\0\0\020\0\0\0\0trusted.overlay?",
				 .body_length = 24 }) == EOPNOTSUPP &&
		       ask((struct ask){ VG_OP_FILE_XATTR_SET, "mode", .body = "\0\0\0\377\0\0\0\0user.x",
					 .body_length = 14 }) == EINVAL,
	       "attributes that are not the user's");
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static void test_descriptors(void)
{
	struct vg_file_session before = session;
	__u64 mine, reader, id = session_id;

	(void)open_file("number", VG_FILE_O_WRITE | VG_FILE_O_CREATE, &mine);
	(void)open_file("number", VG_FILE_O_READ, &reader);
	result(read_file(mine, 0, 10) == EBADF, "reading what is open for writing");
	result(ask((struct ask){ VG_OP_FILE_WRITE, .ident = reader, .body = "x", .body_length = 1 }) == EBADF,
	       "writing what is open for reading");
	result(read_file(reader ^ 1ull << 30, 0, 10) == EBADF && read_file(reader + 1, 0, 10) == EBADF &&
		       read_file(0x0000000000ffffff, 0, 10) == EBADF,
	       "numbers that were never given");
	result(read_file(reader ^ 5ull << 52, 0, 10) == ESTALE, "another node's number");
	result(read_file(reader, 0, VG_FILE_DATA_MAX + 1) == EINVAL && read_file(reader, 1ull << 63, 10) == EINVAL,
	       "a read that is too long, and one behind all files");
	job_connect(&wire, address, port);
	result(read_file(reader, 0, 10) == ESTALE, "no session");
	result(join(id, NULL, 0) == ESTALE, "a session without its secret");
	result(join(id ^ 1ull << 40, before.secret, 0) == ESTALE, "a session that is not");
	result(join(0, NULL, 0) == 0 && read_file(reader, 0, 10) == EBADF, "another session's number");
	result(join(0, NULL, 0) == EISCONN, "a second session on a connection");
	result(ask((struct ask){ VG_OP_FILE_END }) == 0 && read_file(reader, 0, 10) == ESTALE, "an ended session");
	result(join(id, before.secret, 0) == 0 && read_file(reader, 0, 10) == 0, "back in one's own");
	result(ask((struct ask){ VG_OP_FILE_CLOSE, .ident = mine }) == 0 &&
		       ask((struct ask){ VG_OP_FILE_CLOSE, .ident = mine }) == EBADF,
	       "closed once");
}

/* A session outlives its connection, for its lease. */
static void test_leases(void)
{
	static const struct timespec moment = { .tv_nsec = 100000000 };
	__u64 ident;
	int error;

	job_connect(&wire, address, port);
	(void)join(0, NULL, 400);
	result(!open_file("plain", VG_FILE_O_READ, &ident) && VG_BE32TOH(session.lease_ms) == 400, "a short lease");
	job_connect(&wire, address, port);
	result(join(session_id, session.secret, 0) == 0 && read_file(ident, 0, 10) == 0, "back within it");
	for (int i = 0; i < 200; i++) {
		job_connect(&wire, address, port);
		(void)nanosleep(&moment, NULL); /* not back for longer and longer */
		(void)nanosleep(&(struct timespec){ .tv_sec = i / 4, .tv_nsec = i % 4 * 250000000 }, NULL);
		error = join(session_id, session.secret, 0);
		if (error)
			break;
	}
	result(error == ESTALE && read_file(ident, 0, 10) == ESTALE, "back too late");
	(void)join(0, NULL, 0);
	result(read_file(ident, 0, 10) == EBADF, "what it had open is closed");
}

/* ---- frames ----------------------------------------------------------------------------------------------------- */

static bool refused_with(struct ask question, enum vg_status status)
{
	return answer_to(say(&question)) && wire.header.status == status;
}

static bool ends(void)
{
	struct pollfd waiting = { .fd = wire.fd, .events = POLLIN };
	char bytes[4096];

	while (poll(&waiting, 1, 20000) > 0)
		if (recv(wire.fd, bytes, sizeof(bytes), 0) <= 0)
			return true;
	return false;
}

static void test_frames(void)
{
	static __u8 large[VG_FILE_DATA_MAX + 1];
	__u8 noise[400];
	__u64 ident;

	(void)open_file("frame", VG_FILE_O_WRITE | VG_FILE_O_CREATE, &ident);
	result(refused_with((struct ask){ VG_OP_FILE_READ, .ident = ident, .body = "x", .body_length = 1 },
			    VG_STATUS_BAD_REQUEST),
	       "a body that is too short");
	result(refused_with(
		       (struct ask){ VG_OP_FILE_WRITE, .ident = ident, .body = large, .body_length = sizeof(large) },
		       VG_STATUS_TOO_BIG),
	       "a body that is too long is skipped");
	result(refused_with((struct ask){ VG_OP_GET, "key" }, VG_STATUS_UNSUPPORTED),
	       "an operation of the memory pool");
	result(refused_with((struct ask){ 250, "key" }, VG_STATUS_UNSUPPORTED), "an operation that is not");
	result(ask((struct ask){ VG_OP_FILE_EVENT, .ident = 1, .body = large, .body_length = 16 }) == -1 &&
		       wire.header.status == VG_STATUS_UNSUPPORTED,
	       "what only nodes say");
	if (wire.keyed) {
		wire.key[0] ^= 1;
		result(refused_with((struct ask){ VG_OP_FILE_STAT, "" }, VG_STATUS_UNAUTHORIZED), "a forged tag");
		wire.key[0] ^= 1;
		wire.keyed = false;
		result(refused_with((struct ask){ VG_OP_FILE_STAT, "" }, VG_STATUS_UNAUTHORIZED), "no tag");
		wire.keyed = true;
	}
	/* Cut in the middle of a long write: nothing of it is done, what was open stays open. */
	(void)say(&(struct ask){ VG_OP_FILE_WRITE, .ident = ident, .body = large, .body_length = 500000 });
	(void)answer_to(wire.sequence);
	wire.owner_length = 0;
	{
		const struct job_frame frame = { .opcode = VG_OP_FILE_WRITE,
						 .sequence = ++wire.sequence,
						 .ident = ident,
						 .argument = 500000,
						 .body_length = 900000 };
		__u8 room[256];
		size_t head = job_head(&wire, &frame, room);

		job_send_all(wire.fd, room, head);
		job_send_all(wire.fd, large, 400000);
	}
	job_connect(&wire, address, port);
	result(join(session_id, session.secret, 0) == 0 && !ask((struct ask){ VG_OP_FILE_STAT, .ident = ident }) &&
		       VG_BE64TOH(((struct vg_file_stat *)wire.body)->size) == 500000,
	       "a write that was cut off");
	memset(noise, 0xff, sizeof(noise));
	memcpy(noise, "VG", 2);
	job_send_all(wire.fd, noise, sizeof(noise));
	result(ends(), "noise behind the magic ends the connection");
	job_connect(&wire, address, port);
	job_send_all(wire.fd, "GET / HTTP/1.1\r\n\r\n", 18);
	result(ends(), "HTTP ends the connection");
	job_connect(&wire, address, port);
	memset(noise, 'w', sizeof(noise));
	for (int i = 0; i < 200; i++)
		job_send_all(wire.fd, noise, sizeof(noise));
	result(ends(), "a line without end ends the connection");
	job_connect(&wire, address, port);
}

/* ---- too much --------------------------------------------------------------------------------------------------- */

static void test_floods(void)
{
	const struct vg_file_span span = { .length = VG_HTOBE32(VG_FILE_DATA_MAX) };
	struct job_link slow;
	__u64 ident, last = 0;
	unsigned int answers = 0;

	(void)join(0, NULL, 0);
	(void)open_file("flood", VG_FILE_O_READ | VG_FILE_O_WRITE | VG_FILE_O_CREATE, &ident);
	(void)!truncate(in_root("flood"), VG_FILE_DATA_MAX);
	for (int i = 0; i < 3000; i++)
		last = say(&(struct ask){ VG_OP_FILE_STAT, i % 2 ? "flood" : "absent" });
	while (answers < 3000 && job_receive(&wire))
		answers++;
	result(answers == 3000 && VG_BE64TOH(wire.header.sequence) <= last, "more requests than may be in flight");
	/* One that asks for 200 MiB and reads nothing; another is served meanwhile. */
	for (int i = 0; i < 200; i++)
		(void)say(&(struct ask){ VG_OP_FILE_READ, .ident = ident, .body = &span, .body_length = sizeof(span) });
	slow = wire;
	wire.fd = -1;
	wire.client++;
	job_connect(&wire, address, port);
	result(join(0, NULL, 0) == 0 && ask_of(VG_OP_FILE_STAT, "flood", 0, "", 0) == 0, "a slow reader stalls nobody");
	close(slow.fd);
	result(ask_of(VG_OP_FILE_STAT, "flood", 0, "", 0) == 0, "and may go");
}

/*
 * Many that ask for more than there is memory for and read nothing; one that reads is served all the same. Takes a while:
 * they are given some time.
 */
static void test_stalled(void)
{
	const struct vg_file_span span = { .length = VG_HTOBE32(VG_FILE_DATA_MAX) };
	int stalled[80];
	__u64 ident;

	for (size_t i = 0; i < sizeof(stalled) / sizeof(stalled[0]); i++) {
		wire.fd = -1;
		wire.client++;
		job_connect(&wire, address, port);
		(void)join(0, NULL, 0);
		(void)open_file("flood", VG_FILE_O_READ, &ident);
		for (int n = 0; n < 16; n++)
			(void)say(&(struct ask){
				VG_OP_FILE_READ, .ident = ident, .body = &span, .body_length = sizeof(span) });
		stalled[i] = wire.fd;
	}
	wire.fd = -1;
	wire.client++;
	job_connect(&wire, address, port);
	result(join(0, NULL, 0) == 0 && open_file("flood", VG_FILE_O_READ, &ident) == 0 &&
		       read_file(ident, 0, VG_FILE_DATA_MAX) == 0 &&
		       VG_BE32TOH(wire.header.body_length) == VG_FILE_DATA_MAX,
	       "who reads is served while many do not");
	for (size_t i = 0; i < sizeof(stalled) / sizeof(stalled[0]); i++)
		close(stalled[i]);
}

/* On a node that takes no changes. */
static void test_read_only(void)
{
	static const __u8 changes[] = {
		VG_OP_FILE_CHANGE, VG_OP_FILE_RENAME,  VG_OP_FILE_LINK,	     VG_OP_FILE_UNLINK,	      VG_OP_FILE_MKDIR,
		VG_OP_FILE_RMDIR,  VG_OP_FILE_SYMLINK, VG_OP_FILE_XATTR_SET, VG_OP_FILE_XATTR_REMOVE, VG_OP_FILE_PUT,
	};
	char name[32];
	__u64 ident;

	for (size_t i = 0; i < sizeof(changes); i++) {
		snprintf(name, sizeof(name), "operation %u", changes[i]);
		result(ask_of(changes[i], "kept", 0, "x", 1) == EROFS, name);
	}
	result(open_file("kept", VG_FILE_O_READ | VG_FILE_O_WRITE, &ident) == EROFS &&
		       open_file("new", VG_FILE_O_READ | VG_FILE_O_CREATE, &ident) == EROFS &&
		       open_file("kept", VG_FILE_O_READ | VG_FILE_O_TRUNCATE, &ident) == EROFS,
	       "opening to change");
	result(open_file("kept", VG_FILE_O_READ, &ident) == 0 && read_file(ident, 0, 10) == 0 &&
		       VG_BE32TOH(wire.header.body_length) == 5,
	       "reading");
}

int main(int argc, char **argv)
{
	if (argc < 6)
		return 98;
	address = argv[1];
	port = argv[2];
	root = argv[4];
	outside = argv[5];
	umask(0);
	job_init(&wire);
	job_read_key(&wire, argv[3]);
	job_connect(&wire, address, port);
	if (argc > 6) {
		(void)join(0, NULL, 0);
		test_read_only();
		return 0;
	}
	result(ask_of(VG_OP_FILE_STAT, "", 0, "", 0) == ESTALE, "no session yet");
	result(join(0, NULL, 0) == 0 && VG_BE32TOH(session.lease_ms) == VG_FILE_LEASE_DEFAULT_MS, "a session");
	result(ask_of(VG_OP_FILE_PUT, "plain", 0, "", 0) == 0, "a plain file");
	test_paths();
	test_links();
	test_race();
	test_devices();
	test_modes();
	test_descriptors();
	test_leases();
	test_frames();
	test_floods();
	if (getenv("VG_FILE_LONG"))
		test_stalled();
	return 0;
}
