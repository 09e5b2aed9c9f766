/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a check of the POSIX checker is made of: it does something in an empty working directory and says what it saw.
 * Two places are right about each other when they say the same.
 */
#ifndef VG_TEST_POSIX_CHECK_H
#define VG_TEST_POSIX_CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
	unsigned int order;
	const char *name;
	void (*run)(void);
	const char *wanted; /* where the mount is meant to say something else; NULL: the same */
	const char *reason;
	bool spread; /* but only over several nodes */
};

/*
 * CHECK("what is checked") { … }, DIFFERS("…", "what the mount says", "why") { … }, and DIFFERS_SPREAD, of a pool of
 * several nodes: in the order they stand.
 */
#define CHECK_JOIN(a, b) a##b
#define CHECK_NAMED(function, number, title, saying, because, many)                                                 \
	static void function(void);                                                                              \
	static const struct check CHECK_JOIN(function, _entry) = { number, title, function, saying,   \
									    because, many };         \
	static const struct check *CHECK_JOIN(function, _at) __attribute__((used, section("checks"))) =    \
		&CHECK_JOIN(function, _entry);                                                                   \
	static void function(void)
#define CHECK_LINE(line, title, saying, because, many) \
	CHECK_NAMED(CHECK_JOIN(check_, line), line, title, saying, because, many)
#define CHECK(title) CHECK_LINE(__COUNTER__, title, NULL, NULL, false)
#define DIFFERS(title, saying, because) CHECK_LINE(__COUNTER__, title, saying, because, false)
#define DIFFERS_SPREAD(title, saying, because) CHECK_LINE(__COUNTER__, title, saying, because, true)

/* One word more of what is seen. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "OK" or the error's name; the number or the error's name. */
#define T(call) say("%s", (call) < 0 ? strerrorname_np(errno) : "OK")
#define N(call)                                                    \
	do {                                                       \
		long long n_ = (long long)(call);                  \
		if (n_ < 0)                                        \
			say("%s", strerrorname_np(errno));         \
		else                                               \
			say("%lld", n_);                           \
	} while (0)

/* Make a file, say what is in one, its size, open or die. */
void put(const char *path, const char *text);
void show(const char *path);
void show_size(const char *path);
int must_open(const char *path, int flags);
/* Run in a child; its exit status, or what it said, is said. */
void in_child(void (*fn)(void));

#endif
