/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Checks of locks: fcntl(2)'s, those of open files, flock(2)'s. Part of posix_check.c. */
#ifndef VG_TEST_POSIX_LOCKS_H
#define VG_TEST_POSIX_LOCKS_H

#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static int lock(int fd, int command, short type, off_t start, off_t length)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };

	return fcntl(fd, command, &lock);
}

/* Of another process: which parts of 0 … 99, by tens, it could have for itself. */
static void show_free(void)
{
	char map[11] = "";
	int fd = must_open("a", O_RDWR);

	for (int i = 0; i < 10; i++) {
		map[i] = lock(fd, F_SETLK, F_WRLCK, i * 10, 10) ? (lock(fd, F_SETLK, F_RDLCK, i * 10, 10) ? '#' : 'r') : '.';
		lock(fd, F_SETLK, F_UNLCK, i * 10, 10);
	}
	say("%s", map);
}

CHECK("locks: ranges, split and joined")
{
	int fd;

	put("a", "x");
	fd = must_open("a", O_RDWR);
	T(lock(fd, F_SETLK, F_WRLCK, 0, 50));
	in_child(show_free);
	T(lock(fd, F_SETLK, F_UNLCK, 20, 10));
	in_child(show_free);
	T(lock(fd, F_SETLK, F_RDLCK, 30, 70));
	in_child(show_free);
	T(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	in_child(show_free);
}
CHECK("locks: to the end, whatever that is")
{
	int fd;

	put("a", "x");
	fd = must_open("a", O_RDWR);
	T(lock(fd, F_SETLK, F_WRLCK, 50, 0));
	in_child(show_free);
	T(lock(fd, F_SETLK, F_WRLCK, -5, 10));
}
CHECK("locks: of what is not open for it")
{
	put("a", "x");
	T(lock(must_open("a", O_RDONLY), F_SETLK, F_WRLCK, 0, 1));
	T(lock(must_open("a", O_WRONLY), F_SETLK, F_RDLCK, 0, 1));
}
CHECK("locks: any close gives all of the process back")
{
	put("a", "x");
	T(lock(must_open("a", O_RDWR), F_SETLK, F_WRLCK, 0, 0));
	in_child(show_free);
	close(must_open("a", O_RDONLY));
	in_child(show_free);
}
static void who_holds(void)
{
	struct flock found = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 100 };

	T(fcntl(must_open("a", O_RDWR), F_GETLK, &found));
	say("%d %ld %ld", found.l_type, (long)found.l_start, (long)found.l_len);
}
CHECK("locks: asking who holds one")
{
	int fd;

	put("a", "x");
	fd = must_open("a", O_RDWR);
	in_child(who_holds);
	T(lock(fd, F_SETLK, F_RDLCK, 10, 5));
	in_child(who_holds);
	who_holds();
}
CHECK("locks: of open files")
{
	int one, two;

	put("a", "x");
	one = must_open("a", O_RDWR);
	two = must_open("a", O_RDWR);
	T(lock(one, F_OFD_SETLK, F_WRLCK, 0, 10));
	T(lock(two, F_OFD_SETLK, F_WRLCK, 5, 10));
	T(lock(two, F_OFD_SETLK, F_WRLCK, 10, 10));
	T(lock(one, F_OFD_SETLK, F_UNLCK, 0, 0));
	T(lock(two, F_OFD_SETLK, F_WRLCK, 5, 10));
	close(two);
	/* FUSE hears of the close a moment after close(2) has returned. */
	T(lock(one, F_OFD_SETLKW, F_WRLCK, 0, 0));
}

static int go[2];
static void take_and_hold(void)
{
	int fd = must_open("a", O_RDWR);

	T(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	(void)!write(go[1], "x", 1);
	usleep(300000);
	(void)!write(go[1], "y", 1);
	close(fd);
}
CHECK("locks: waiting until another process ends")
{
	char byte;
	pid_t pid;
	int fd;

	put("a", "x");
	fd = must_open("a", O_RDWR);
	if (pipe(go) || (pid = fork()) < 0)
		return;
	if (!pid) {
		take_and_hold();
		_exit(0);
	}
	T(read(go[0], &byte, 1));
	T(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	T(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
	/* It said so before it let go. */
	N(fcntl(go[0], F_SETFL, O_NONBLOCK));
	T(read(go[0], &byte, 1));
	say("%c", byte);
	waitpid(pid, NULL, 0);
}
static void on_alarm(int number)
{
}
CHECK("locks: a wait ends with a signal")
{
	struct sigaction action = { .sa_handler = on_alarm };
	char byte;
	pid_t pid;
	int fd;

	put("a", "x");
	fd = must_open("a", O_RDWR);
	if (pipe(go) || (pid = fork()) < 0)
		return;
	if (!pid) {
		T(lock(fd, F_SETLK, F_WRLCK, 0, 0));
		(void)!write(go[1], "x", 1);
		pause();
		_exit(0);
	}
	T(read(go[0], &byte, 1));
	sigaction(SIGALRM, &action, NULL);
	alarm(1);
	T(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	T(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
}
CHECK("locks: a killed process holds none")
{
	char byte;
	pid_t pid;

	put("a", "x");
	if (pipe(go) || (pid = fork()) < 0)
		return;
	if (!pid) {
		T(lock(must_open("a", O_RDWR), F_SETLK, F_WRLCK, 0, 0));
		(void)!write(go[1], "x", 1);
		pause();
		_exit(0);
	}
	T(read(go[0], &byte, 1));
	in_child(show_free);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	T(lock(must_open("a", O_RDWR), F_SETLKW, F_WRLCK, 0, 0));
}
CHECK("locks: two that wait for each other")
{
	int fd, status;
	pid_t pid;
	char byte;

	put("a", "x");
	if (pipe(go))
		return;
	fd = must_open("a", O_RDWR);
	T(lock(fd, F_SETLK, F_WRLCK, 0, 10));
	pid = fork();
	if (!pid) {
		/* Holds the second, waits for the first; is woken when the parent gives up. */
		lock(fd, F_SETLK, F_WRLCK, 10, 10);
		(void)!write(go[1], "x", 1);
		_exit(lock(fd, F_SETLKW, F_WRLCK, 0, 10) ? errno : 0);
	}
	T(read(go[0], &byte, 1));
	usleep(300000);
	T(lock(fd, F_SETLKW, F_WRLCK, 10, 10));
	T(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	waitpid(pid, &status, 0);
	say("%d", WEXITSTATUS(status));
}

CHECK("flock: shared, exclusive, changed, closed")
{
	int one, two, three;

	put("a", "x");
	one = must_open("a", O_RDONLY);
	two = must_open("a", O_RDONLY);
	T(flock(one, LOCK_SH));
	T(flock(two, LOCK_SH));
	T(flock(two, LOCK_EX | LOCK_NB));
	T(flock(one, LOCK_UN));
	T(flock(two, LOCK_EX | LOCK_NB));
	T(flock(one, LOCK_SH | LOCK_NB));
	three = dup(two);
	close(two);
	T(flock(one, LOCK_SH | LOCK_NB));
	close(three);
	T(flock(one, LOCK_EX));
}
CHECK("flock: nothing to do with fcntl's")
{
	int one, two;

	put("a", "x");
	one = must_open("a", O_RDWR);
	two = must_open("a", O_RDWR);
	T(flock(one, LOCK_EX));
	T(lock(two, F_OFD_SETLK, F_WRLCK, 0, 0));
	T(flock(two, LOCK_SH | LOCK_NB));
}
CHECK("flock: waiting until it is free")
{
	char byte;
	pid_t pid;

	put("a", "x");
	if (pipe(go) || (pid = fork()) < 0)
		return;
	if (!pid) {
		T(flock(must_open("a", O_RDWR), LOCK_EX));
		(void)!write(go[1], "x", 1);
		usleep(300000);
		_exit(0);
	}
	T(read(go[0], &byte, 1));
	T(flock(must_open("a", O_RDWR), LOCK_EX));
	waitpid(pid, NULL, 0);
}

#endif
