/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/screen.h"

#define LINE_BYTES_MAX 1024
#define PICTURE_BYTES_MAX (1u << 20) /* more than any terminal shows */

/* A signal handler must find the terminal to give back, so this lives here and not with the caller. */
static struct {
	bool open, keys;
	struct termios before;
	struct sigaction before_int, before_term, before_hup, before_winch;
	sigset_t mask; /* while we wait; at other times the signals are held back, so that none falls between two looks
			*/
	char *picture;
	size_t length;
	unsigned int rows;
} screen;
static volatile sig_atomic_t ended, resized;

static void on_signal(int number)
{
	if (number == SIGWINCH)
		resized = 1;
	else
		ended = 1;
}

static void hold_signals(sigset_t *ret_before)
{
	sigset_t held;

	(void)sigemptyset(&held);
	(void)sigaddset(&held, SIGINT);
	(void)sigaddset(&held, SIGTERM);
	(void)sigaddset(&held, SIGHUP);
	(void)sigaddset(&held, SIGWINCH);
	(void)sigprocmask(SIG_BLOCK, &held, ret_before);
}

static void catch_signal(int number, struct sigaction *ret_before)
{
	struct sigaction action = { .sa_handler = on_signal };

	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(number, &action, ret_before);
}

int cli_screen_open(void)
{
	static const char start[] = "\033[?1049h\033[?25l\033[2J";
	struct termios raw;

	if (isatty(STDOUT_FILENO) != 1)
		return -ENOTTY;
	screen.picture = malloc(PICTURE_BYTES_MAX);
	if (!screen.picture)
		return -ENOMEM;
	ended = resized = 0;
	hold_signals(&screen.mask);
	catch_signal(SIGINT, &screen.before_int);
	catch_signal(SIGTERM, &screen.before_term);
	catch_signal(SIGHUP, &screen.before_hup);
	catch_signal(SIGWINCH, &screen.before_winch);
	screen.keys = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &screen.before) == 0;
	if (screen.keys) {
		raw = screen.before;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		raw.c_cc[VMIN] = 0;
		raw.c_cc[VTIME] = 0;
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	screen.open = true;
	return cli_write_all(STDOUT_FILENO, start, sizeof(start) - 1);
}

void cli_screen_close(void)
{
	static const char end[] = "\033[?25h\033[?1049l";

	if (!screen.open)
		return;
	screen.open = false;
	/* A terminal that has gone cannot be told. */
	(void)cli_write_all(STDOUT_FILENO, end, sizeof(end) - 1);
	if (screen.keys)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &screen.before);
	(void)sigaction(SIGINT, &screen.before_int, NULL);
	(void)sigaction(SIGTERM, &screen.before_term, NULL);
	(void)sigaction(SIGHUP, &screen.before_hup, NULL);
	(void)sigaction(SIGWINCH, &screen.before_winch, NULL);
	(void)sigprocmask(SIG_SETMASK, &screen.mask, NULL);
	free(screen.picture);
	screen.picture = NULL;
}

static struct winsize window(void)
{
	struct winsize size = { 0 };

	(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	return size;
}

unsigned int cli_screen_columns(void)
{
	unsigned int columns = window().ws_col;

	return columns ? columns : 80;
}

unsigned int cli_screen_rows(void)
{
	unsigned int rows = window().ws_row;

	return rows ? rows : 24;
}

void cli_screen_begin(void)
{
	screen.length = 0;
	screen.rows = 0;
}

static void put(const char *text, size_t length)
{
	if (screen.length + length > PICTURE_BYTES_MAX)
		return;
	memcpy(screen.picture + screen.length, text, length);
	screen.length += length;
}

/* Bytes of the first `columns` characters; control characters, which could steer the terminal, become question marks.
 */
static size_t cut(char *text, unsigned int columns)
{
	size_t at = 0;
	unsigned int seen = 0;

	for (; text[at]; at++) {
		unsigned char c = (unsigned char)text[at];

		if ((c & 0xc0) != 0x80 && seen++ == columns)
			break;
		if (c < 0x20 || c == 0x7f)
			text[at] = '?';
	}
	return at;
}

void cli_screen_line(bool strong, const char *format, ...)
{
	char text[LINE_BYTES_MAX];
	va_list arguments;

	if (screen.rows >= cli_screen_rows())
		return;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	put(screen.rows ? "\r\n" : "\033[H", screen.rows ? 2 : 3);
	if (strong)
		put("\033[7m", 4);
	put(text, cut(text, cli_screen_columns()));
	put("\033[K\033[0m", 7);
	screen.rows++;
}

void cli_screen_show(void)
{
	put("\033[J", 3);
	if (cli_write_all(STDOUT_FILENO, screen.picture, screen.length))
		ended = 1;
}

int cli_screen_key(int timeout_ms)
{
	struct pollfd input = { .fd = screen.keys ? STDIN_FILENO : -1, .events = POLLIN };
	struct timespec timeout = { timeout_ms / 1000, timeout_ms % 1000 * 1000000L };
	char keys[64];
	ssize_t got;

	if (ppoll(&input, 1, &timeout, &screen.mask) < 0 && errno != EINTR)
		return CLI_SCREEN_KEY_END;
	if (ended)
		return CLI_SCREEN_KEY_END;
	if (resized) {
		resized = 0;
		return CLI_SCREEN_KEY_RESIZED;
	}
	if (!input.revents)
		return CLI_SCREEN_KEY_NONE;
	got = read(STDIN_FILENO, keys, sizeof(keys));
	if (got <= 0)
		return CLI_SCREEN_KEY_END;
	return got == 1 ? (unsigned char)keys[0] : CLI_SCREEN_KEY_RESIZED;
}
