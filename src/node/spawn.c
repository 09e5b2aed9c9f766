/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Requests go to the spawner as one message with the job's descriptors, answers come back with a pidfd. One that is not
 * there any more is started again: what it had been asked is answered with an error, what it had started runs on.
 */
#include "node/spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "node/world.h"

#define STARTING_MAX 32	     /* asked and not yet answered */
#define OUTPUT_PIPE_BYTES (256 << 10) /* fewer turns for a job that writes much; less where there is no more to have */
#define END_TRIES 1000	     /* of 2 ms: the spawner has so long to end */
#define SOCKET_BYTES (1 << 20) /* the longest message, and then some */

struct starting {
	void (*fn)(void *context, const struct vg_spawned *spawned);
	void *context;
	__u64 tag; /* 0: the place is free */
	int input_fd, output_fd, error_fd;
};

struct vg_spawner {
	const struct vg_options *options;
	char path[VG_OPTION_TEXT_MAX + 64];
	int fd;
	pid_t pid;
	bool as_user;
	uid_t uid;
	gid_t gid;
	__u64 tags;
	struct vg_env *env; /* of the worker that has asked first */
	vg_io_op poll_op;
	struct starting starting[STARTING_MAX];
	int starting_count;
};

/* ---- the process ----------------------------------------------------------------------------------------------- */

static int find_program(struct vg_spawner *spawner)
{
	ssize_t length;
	char *slash;

	if (spawner->options->cpu_spawner[0]) {
		snprintf(spawner->path, sizeof(spawner->path), "%s", spawner->options->cpu_spawner);
		return access(spawner->path, X_OK) ? -errno : 0;
	}
	length = readlink("/proc/self/exe", spawner->path, sizeof(spawner->path) - sizeof(VG_SPAWN_PROGRAM) - 1);
	if (length < 0)
		return -errno;
	spawner->path[length] = '\0';
	slash = strrchr(spawner->path, '/');
	memcpy(slash + 1, VG_SPAWN_PROGRAM, sizeof(VG_SPAWN_PROGRAM));
	return access(spawner->path, X_OK) ? -errno : 0;
}

static int find_user(struct vg_spawner *spawner, char *why, size_t why_bytes)
{
	const char *name = spawner->options->cpu_user;
	const struct passwd *user;

	if (!name[0] && geteuid())
		return 0;
	user = getpwnam(name[0] ? name : "nobody");
	if (!user || (geteuid() && user->pw_uid != geteuid())) {
		snprintf(why, why_bytes, user ? "cpu-user %s: only root may run jobs as another user" :
						"cpu-user %s: no such user", name[0] ? name : "nobody");
		return user ? -EPERM : -ENOENT;
	}
	spawner->as_user = geteuid() == 0;
	spawner->uid = user->pw_uid;
	spawner->gid = user->pw_gid;
	return 0;
}

static int start_process(struct vg_spawner *spawner)
{
	const char *cgroup = spawner->options->cpu_cgroup;
	char *argument[] = { VG_SPAWN_PROGRAM, "spawner", cgroup[0] ? (char *)cgroup : NULL, NULL };
	char *environment[] = { NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t all, none;
	int pair[2], bytes = SOCKET_BYTES, error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	/* Over the administrator's limit where we may; the longest message fits the default one too. */
	if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		(void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pair[1], VG_SPAWN_FD);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_addchdir_np(&actions, "/");
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	error = posix_spawn(&spawner->pid, spawner->path, &actions, &attributes, argument, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	close(pair[1]);
	if (error)
		close(pair[0]);
	else
		spawner->fd = pair[0];
	return -error;
}

/* It ends what it has started, then itself; one that does not is not waited for. */
static void end_process(struct vg_spawner *spawner)
{
	const struct timespec moment = { .tv_nsec = 2000000 };

	if (spawner->fd >= 0)
		close(spawner->fd);
	for (int tries = 0; spawner->pid > 0; tries++) {
		if (waitpid(spawner->pid, NULL, WNOHANG) != 0)
			break;
		if (tries == END_TRIES)
			kill(spawner->pid, SIGKILL);
		nanosleep(&moment, NULL);
	}
	spawner->fd = -1;
	spawner->pid = 0;
}

int vg_spawner_new(struct vg_spawner **ret_spawner, const struct vg_options *options, char *why, size_t why_bytes)
{
	struct vg_spawner *spawner = calloc(1, sizeof(*spawner));
	int error;

	if (!spawner)
		return -ENOMEM;
	spawner->options = options;
	spawner->fd = -1;
	error = find_user(spawner, why, why_bytes);
	if (!error) {
		error = find_program(spawner) ?: start_process(spawner);
		if (error)
			snprintf(why, why_bytes, "the CPU pool needs %s: %s", spawner->path, strerror(-error));
	}
	if (error) {
		vg_spawner_free(spawner);
		return error;
	}
	*ret_spawner = spawner;
	return 0;
}

void vg_spawner_free(struct vg_spawner *spawner)
{
	if (!spawner)
		return;
	end_process(spawner);
	for (int i = 0; i < STARTING_MAX; i++) {
		struct starting *each = &spawner->starting[i];

		if (!each->tag)
			continue;
		if (each->input_fd >= 0)
			close(each->input_fd);
		if (each->output_fd >= 0 && each->output_fd != each->input_fd)
			close(each->output_fd);
		if (each->error_fd >= 0)
			close(each->error_fd);
	}
	free(spawner);
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static void close_fd(struct vg_spawner *spawner, int fd)
{
	if (fd >= 0)
		close(fd);
}

static void conclude(struct vg_spawner *spawner, struct starting *place, const struct vg_spawn_answer *answer,
		     int pidfd)
{
	struct starting starting = *place;
	struct vg_spawned spawned = {
		.error = answer->error,
		.stage = (enum vg_spawn_stage)answer->stage,
		.pid = answer->pid,
		.pidfd = pidfd,
		.input_fd = starting.input_fd,
		.output_fd = starting.output_fd,
		.error_fd = starting.error_fd,
	};

	place->tag = 0;
	spawner->starting_count--;
	if (answer->error) {
		/* It could not become what it should: it has ended at once, and is ours to collect. */
		if (answer->pid > 0)
			waitpid(answer->pid, NULL, 0);
		if (starting.output_fd != starting.input_fd)
			close_fd(spawner, starting.output_fd);
		close_fd(spawner, starting.input_fd);
		close_fd(spawner, starting.error_fd);
		close_fd(spawner, pidfd);
		spawned.pid = 0;
		spawned.pidfd = spawned.input_fd = spawned.output_fd = spawned.error_fd = -1;
	}
	starting.fn(starting.context, &spawned);
}

static struct starting *find_starting(struct vg_spawner *spawner, __u64 tag)
{
	for (int i = 0; i < STARTING_MAX; i++)
		if (tag && spawner->starting[i].tag == tag)
			return &spawner->starting[i];
	return NULL;
}

static void fail_all(struct vg_spawner *spawner)
{
	const struct vg_spawn_answer answer = { .error = -EPIPE, .stage = VG_SPAWN_STAGE_PROCESS };

	for (int i = 0; i < STARTING_MAX; i++)
		if (spawner->starting[i].tag)
			conclude(spawner, &spawner->starting[i], &answer, -1);
}

/* One answer, if there is one: 1; 0: none yet; negative: the spawner has gone. */
static int take_answer(struct vg_spawner *spawner)
{
	struct vg_spawn_answer answer;
	struct iovec vector = { &answer, sizeof(answer) };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr header = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room),
	};
	ssize_t length = recvmsg(spawner->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct starting *starting;
	int pidfd = -1;

	if (length < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (!length)
		return -EPIPE;
	if (CMSG_FIRSTHDR(&header))
		memcpy(&pidfd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(pidfd));
	starting = length == sizeof(answer) ? find_starting(spawner, answer.tag) : NULL;
	assert(starting);
	conclude(spawner, starting, &answer, pidfd);
	return 1;
}

static void on_answers(void *owner, const struct vg_io_event *event);

static int listen_for_answers(struct vg_spawner *spawner)
{
	if (spawner->poll_op)
		return 0;
	return vg_io_poll(spawner->env->io, spawner->fd, POLLIN, on_answers, spawner, &spawner->poll_op);
}

static void on_answers(void *owner, const struct vg_io_event *event)
{
	struct vg_spawner *spawner = owner;
	int result;

	vg_worker_turn((struct vg_worker *)spawner->env->node);
	spawner->poll_op = 0;
	while ((result = take_answer(spawner)) > 0)
		;
	if (result < 0) {
		vg_log(VG_LOG_ERROR, "the spawner has ended and is started again", NULL);
		end_process(spawner);
		result = start_process(spawner);
		if (result)
			vg_log(VG_LOG_ERROR, "the spawner does not start", "error=\"%s\"", strerror(-result));
		fail_all(spawner);
	}
	if (spawner->fd >= 0 && listen_for_answers(spawner))
		vg_log(VG_LOG_ERROR, "no operation is left for the spawner", NULL);
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

struct streams {
	int child[VG_SPAWN_FDS]; /* the child's ends */
	int input_fd, output_fd, error_fd;
};

static int make_pipe(int *reading, int *writing)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	*reading = fds[0];
	*writing = fds[1];
	return 0;
}

static int make_pipes(struct streams *streams, bool merge)
{
	int error = make_pipe(&streams->child[0], &streams->input_fd);

	error = error ?: make_pipe(&streams->output_fd, &streams->child[1]);
	if (!error)
		(void)fcntl(streams->output_fd, F_SETPIPE_SZ, OUTPUT_PIPE_BYTES);
	if (!error && !merge)
		error = make_pipe(&streams->error_fd, &streams->child[2]);
	if (!error && merge && (streams->child[2] = fcntl(streams->child[1], F_DUPFD_CLOEXEC, 0)) < 0)
		error = -errno;
	return error;
}

static int make_terminal(struct streams *streams, __u16 rows, __u16 columns)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), zero = 0;

	if (master < 0)
		return -errno;
	streams->input_fd = streams->output_fd = master;
	if (ioctl(master, TIOCSPTLCK, &zero))
		return -errno;
	streams->child[0] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (streams->child[0] < 0)
		return -errno;
	(void)vg_spawn_resize(master, rows, columns); /* a program asks, and lives with no answer */
	for (int i = 1; i < VG_SPAWN_FDS; i++) {
		streams->child[i] = fcntl(streams->child[0], F_DUPFD_CLOEXEC, 0);
		if (streams->child[i] < 0)
			return -errno;
	}
	return 0;
}

static int make_socket(struct streams *streams)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	streams->input_fd = streams->output_fd = pair[0];
	streams->child[0] = pair[1];
	for (int i = 1; i < VG_SPAWN_FDS; i++) {
		streams->child[i] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
		if (streams->child[i] < 0)
			return -errno;
	}
	return 0;
}

static void close_children(struct streams *streams)
{
	for (int i = 0; i < VG_SPAWN_FDS; i++)
		if (streams->child[i] >= 0)
			close(streams->child[i]);
}

static void close_streams(struct streams *streams)
{
	close_children(streams);
	if (streams->output_fd >= 0 && streams->output_fd != streams->input_fd)
		close(streams->output_fd);
	if (streams->input_fd >= 0)
		close(streams->input_fd);
	if (streams->error_fd >= 0)
		close(streams->error_fd);
}

static int send_message(struct vg_spawner *spawner, const struct vg_spawn_message *message, const char *strings,
			const int *fds, int flags)
{
	struct iovec vectors[] = { { (void *)message, sizeof(*message) }, { (void *)strings, message->strings_bytes } };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(VG_SPAWN_FDS * sizeof(int))];
	} control = { 0 };
	struct msghdr header = { .msg_iov = vectors, .msg_iovlen = 2 };

	if (fds) {
		header.msg_control = &control;
		header.msg_controllen = sizeof(control.room);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(VG_SPAWN_FDS * sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, VG_SPAWN_FDS * sizeof(int));
	}
	return sendmsg(spawner->fd, &header, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static struct vg_spawner *spawner_of(const struct vg_env *env)
{
	return ((struct vg_worker *)env->node)->world->spawner;
}

static int ask(struct vg_spawner *spawner, const struct vg_spawn_request *request, const struct streams *streams,
	       struct starting *place)
{
	const struct vg_spawn_message message = {
		.operation = VG_SPAWN_START,
		.flags = request->flags | (spawner->as_user && !request->privileged ? VG_SPAWN_AS_USER : 0),
		.tag = ++spawner->tags,
		.job = request->job,
		.memory_bytes = request->memory_bytes,
		.cpu_ms = request->cpu_ms,
		.cpu_permille = request->cpu_permille,
		.processes = request->processes,
		.uid = spawner->uid,
		.gid = spawner->gid,
		.arguments = request->arguments,
		.environment = request->environment,
		.strings_bytes = (__u32)request->strings_bytes,
	};
	int error = send_message(spawner, &message, request->strings, streams->child, MSG_DONTWAIT);

	if (error)
		return error;
	place->tag = message.tag;
	place->input_fd = streams->input_fd;
	place->output_fd = streams->output_fd;
	place->error_fd = streams->error_fd;
	spawner->starting_count++;
	return 0;
}

int vg_spawn(struct vg_env *env, const struct vg_spawn_request *request,
	     void (*fn)(void *context, const struct vg_spawned *spawned), void *context)
{
	struct vg_spawner *spawner = spawner_of(env);
	struct streams streams = { { -1, -1, -1 }, -1, -1, -1 };
	struct starting *place = NULL;
	int error;

	if (spawner->fd < 0)
		return -EPIPE;
	spawner->env = env;
	for (int i = 0; i < STARTING_MAX && !place; i++)
		if (!spawner->starting[i].tag)
			place = &spawner->starting[i];
	if (!place)
		return -EAGAIN;
	if (request->strings_bytes > VG_SPAWN_STRINGS_MAX)
		return -E2BIG;
	error = listen_for_answers(spawner);
	if (!error)
		error = request->socket			       ? make_socket(&streams) :
			request->flags & VG_SPAWN_TERMINAL ? make_terminal(&streams, request->rows, request->columns) :
							     make_pipes(&streams, request->merge);
	error = error ?: ask(spawner, request, &streams, place);
	if (error) {
		close_streams(&streams);
		return error;
	}
	place->fn = fn;
	place->context = context;
	close_children(&streams);
	return 0;
}

/* The path of the spawner's own program, for those that want it in another role. */
const char *vg_spawn_worker_program(struct vg_env *env)
{
	return spawner_of(env)->path;
}

/* ---- what runs ------------------------------------------------------------------------------------------------- */

static __u64 microseconds(const struct timeval *time)
{
	return (__u64)time->tv_sec * 1000000 + (__u64)time->tv_usec;
}

int vg_spawn_reap(struct vg_env *env, pid_t pid, struct vg_spawn_end *ret_end)
{
	struct vg_spawner *spawner = spawner_of(env);
	const struct vg_spawn_message message = { .operation = VG_SPAWN_ENDED, .pid = pid };
	struct rusage usage;
	int status;

	/* While it is not collected, its number is its own: what is left of its group ends with it. */
	kill(-pid, SIGKILL);
	if (wait4(pid, &status, 0, &usage) != pid)
		return -errno;
	*ret_end = (struct vg_spawn_end){
		.status = status,
		.user_us = microseconds(&usage.ru_utime),
		.system_us = microseconds(&usage.ru_stime),
		.memory_peak_bytes = (__u64)usage.ru_maxrss * 1024,
	};
	/* Waits for room where there is none: the spawner always comes back to its socket. */
	if (spawner->fd >= 0)
		(void)send_message(spawner, &message, NULL, NULL, 0);
	return 0;
}

int vg_spawn_signal(pid_t pid, int pidfd, int number, bool group)
{
	if (group)
		return kill(-pid, number) ? -errno : 0;
	return syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0) ? -errno : 0;
}

int vg_spawn_resize(int terminal_fd, __u16 rows, __u16 columns)
{
	const struct winsize size = { .ws_row = rows ?: 24, .ws_col = columns ?: 80 };

	return ioctl(terminal_fd, TIOCSWINSZ, &size) ? -errno : 0;
}
