/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * virgo-mount: shows the file pool as a file system. `virgo mount` runs it. It is a program of its own so that the
 * virgo command starts where libfuse is not installed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/log.h"
#include "mount/mount.h"

void reply_error(fuse_req_t req, int error)
{
	switch (-error) {
	case EHOSTUNREACH:
		error = -EHOSTDOWN;
		break;
	case EREMOTEIO: /* it was done or it was not; programs know one word for that */
	case ECONNRESET:
	case ETIMEDOUT:
	case EALREADY:
	case EPROTO:
		error = -EIO;
		break;
	}
	fuse_reply_err(req, -error);
}

static void op_init(void *context, struct fuse_conn_info *connection)
{
	const struct mount *mount = context;

	connection->want |= connection->capable & FUSE_CAP_CACHE_SYMLINKS;
	/* The kernel takes set-user-ID bits away when files are written: the pool's daemon would not. */
	connection->want &= ~(unsigned int)FUSE_CAP_HANDLE_KILLPRIV;
	if (mount->options.writeback)
		connection->want |= connection->capable & FUSE_CAP_WRITEBACK_CACHE;
	connection->max_background = 4 * mount->options.threads;
	connection->congestion_threshold = 3 * mount->options.threads;
	connection->time_gran = 1;
}

static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.create = op_create,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.getlk = op_getlk,
	.setlk = op_setlk,
	.flock = op_flock,
};

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static void heard(int number)
{
}

/*
 * Asked to end: unmount while the threads still answer, so that the kernel can write what it keeps; where somebody uses
 * the mount, or it is not ours to unmount, write what is kept now, and go.
 */
static void end(struct mount *mount)
{
	const char *directory = mount->options.directory;
	int fd;

	if (!umount2(directory, 0))
		return; /* the threads hear of it */
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		if (syncfs(fd))
			vg_log(VG_LOG_ERROR, "not all could be written", "directory=%s error=%d", directory, errno);
		close(fd);
	}
	fuse_session_exit(mount->session);
}

/* Waits for signals, which other threads block. libfuse's loop looks whether it has ended when a signal wakes it. */
static void *watch(void *context)
{
	struct mount *mount = context;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while (!atomic_load(&mount->ended)) {
		const struct timespec soon = { .tv_nsec = 50000000 };
		bool busy;
		int number;

		pthread_mutex_lock(&mount->waiters.lock);
		busy = mount->waiters.count != 0;
		pthread_mutex_unlock(&mount->waiters.lock);
		if (fuse_session_exited(mount->session)) {
			busy = true;
			(void)pthread_kill(mount->looping, SIGUSR1);
		}
		number = busy ? sigtimedwait(&all, NULL, &soon) : sigwaitinfo(&all, NULL);
		waiters_kick(&mount->waiters);
		if (number == SIGTERM || number == SIGINT || number == SIGHUP)
			end(mount);
	}
	return NULL;
}

static int set_signals(void)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN }, wake = { .sa_handler = heard };
	sigset_t watched;

	sigemptyset(&watched);
	sigaddset(&watched, SIGTERM);
	sigaddset(&watched, SIGINT);
	sigaddset(&watched, SIGHUP);
	sigaddset(&watched, SIGUSR2);
	if (sigaction(SIGPIPE, &ignore, NULL) || sigaction(SIGUSR1, &wake, NULL))
		return -errno;
	return -pthread_sigmask(SIG_BLOCK, &watched, NULL);
}

/* ---- mounting --------------------------------------------------------------------------------------------------- */

/* How far the kernel reads ahead, which it lets root alone say. */
static void set_readahead(const struct mount *mount)
{
	char path[96];
	struct stat stat;
	FILE *file;

	/* The device's number is there without asking the pool, which does not answer yet. */
	if (!mount->options.readahead_bytes || fstatat(AT_FDCWD, mount->options.directory, &stat, AT_NO_AUTOMOUNT))
		return;
	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(stat.st_dev),
		       minor(stat.st_dev));
	file = fopen(path, "we");
	if (!file)
		return;
	(void)fprintf(file, "%llu", (unsigned long long)(mount->options.readahead_bytes >> 10));
	if (fclose(file))
		vg_log(VG_LOG_WARNING, "readahead not set", "error=%d", errno);
}

static void *after_start(void *context)
{
	set_readahead(context);
	return NULL;
}

static int run(struct mount *mount)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	pthread_t starter;
	bool started;
	int error;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, mount->options.threads);
	fuse_loop_cfg_set_idle_threads(config, mount->options.threads);
	mount->looping = pthread_self();
	error = set_signals();
	if (!error)
		error = -pthread_create(&mount->watcher, NULL, watch, mount);
	if (error) {
		fuse_loop_cfg_destroy(config);
		return error;
	}
	started = !pthread_create(&starter, NULL, after_start, mount);
	error = fuse_session_loop_mt(mount->session, config);
	if (started)
		pthread_join(starter, NULL);
	waiters_deinit(&mount->waiters);
	atomic_store(&mount->ended, true);
	(void)pthread_kill(mount->watcher, SIGUSR2);
	pthread_join(mount->watcher, NULL);
	fuse_loop_cfg_destroy(config);
	return error < 0 ? error : 0;
}

/* FUSE over io_uring is asked of libfuse by a word that only some know, and of the kernel by a switch. */
static bool can_io_uring(char *why, size_t bytes)
{
	FILE *file = fopen("/sys/module/fuse/parameters/enable_uring", "re");
	int answer = file ? fgetc(file) : EOF;

	if (file)
		(void)fclose(file);
	if (answer != 'Y') {
		(void)snprintf(why, bytes, "%s", !file ? "this kernel has no FUSE over io_uring" :
			       "the kernel's FUSE over io_uring is switched off: "
			       "echo 1 > /sys/module/fuse/parameters/enable_uring");
		return false;
	}
	(void)snprintf(why, bytes, "libfuse %s has no FUSE over io_uring", fuse_pkgversion());
	return true;
}

static struct fuse_session *new_session(struct mount *mount, char *why, size_t bytes)
{
	const struct mount_options *options = &mount->options;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session = NULL;
	char text[320];
	size_t first = strcspn(options->nodes ? options->nodes : "", ",");
	int length;

	(void)snprintf(why, bytes, "libfuse refuses");
	if (options->io_uring && !can_io_uring(why, bytes))
		return NULL;
	length = snprintf(text, sizeof(text),
			  "-odefault_permissions,auto_unmount,subtype=virgo,fsname=virgo:%.*s%s%s%s%s",
			  (int)(first < 200 ? first : 200), options->nodes ? options->nodes : "", options->root,
			  options->read_only ? ",ro" : "", options->allow_other ? ",allow_other" : "",
			  options->io_uring ? ",io_uring" : "");
	if (length < 0 || (size_t)length >= sizeof(text) || strpbrk(options->root, ",\\")) {
		(void)snprintf(why, bytes, "a name for the list of mounts cannot be made of --root");
		return NULL;
	}
	if (!fuse_opt_add_arg(&args, "virgo-mount") && !fuse_opt_add_arg(&args, text))
		session = fuse_session_new(&args, &operations, sizeof(operations), mount);
	fuse_opt_free_args(&args);
	return session;
}

/* Words of libfuse, which ends them with a line feed. */
static void say_log(enum fuse_log_level level, const char *format, va_list arguments)
{
	char text[256];
	int length = vsnprintf(text, sizeof(text), format, arguments);

	if (length < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	vg_log(level <= FUSE_LOG_ERR ? VG_LOG_ERROR : VG_LOG_INFO, "libfuse", "said=\"%s\"", text);
}

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "virgo mount: %s: %s\n", what, why);
	return EXIT_FAILURE;
}

/*
 * libfuse's helper hears from a socket that we are dead, and unmounts if a look into the mount says that nobody serves
 * it (ENOTCONN). When we are killed the kernel lets go of our files last first, and of that socket just before the
 * mount's: the helper may look between the two, hears ECONNABORTED, and leaves a dead mount behind. One descriptor more
 * of the mount, which is behind the socket's, lets the mount go first. -1: as it was.
 */
static int hold_device(struct fuse_session *session)
{
	return fcntl(fuse_session_fd(session), F_DUPFD_CLOEXEC, 0);
}

/* Without any descriptor of it: unmounting would wait for an answer from us. */
static void unmount(struct fuse_session *session, int held)
{
	if (held >= 0)
		close(held);
	fuse_session_unmount(session);
}

static int mount_and_run(struct mount *mount)
{
	const struct mount_options *options = &mount->options;
	char why[256] = "";
	int error, held = -1, code = EXIT_FAILURE;

	mount->uid = geteuid();
	mount->gid = getegid();
	waiters_init(&mount->waiters);
	error = clients_init(&mount->clients, options, why, sizeof(why));
	if (error)
		return complain(*options->root ? options->root : "the pool", why);
	error = tree_init(&mount->tree, options->root);
	if (!error)
		mount->session = new_session(mount, why, sizeof(why));
	if (!mount->session) {
		(void)complain(options->directory, why);
	} else if (fuse_session_mount(mount->session, options->directory)) {
		(void)complain(options->directory, "cannot mount there");
	} else {
		held = hold_device(mount->session);
		if (fuse_daemonize(options->foreground)) {
			(void)complain(options->directory, "cannot go into the background");
		} else {
			if (!options->foreground) {
				vg_log_configure(VG_LOG_NOTICE, VG_LOG_JOURNAL);
				fuse_set_log_func(say_log);
			}
			error = run(mount);
			code = error ? EXIT_FAILURE : EXIT_SUCCESS;
		}
		unmount(mount->session, held);
	}
	if (mount->session)
		fuse_session_destroy(mount->session);
	directories_end(mount);
	handles_end(mount);
	tree_deinit(&mount->tree);
	clients_deinit(&mount->clients);
	return code;
}

int main(int argc, char **argv)
{
	static struct mount mount;
	int parsed = options_parse(&mount.options, argc, argv);

	if (parsed)
		return parsed == OPTIONS_HELP ? EXIT_SUCCESS : OPTIONS_USAGE;
	return mount_and_run(&mount);
}
