/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A screen that is drawn anew every moment, for commands that show a live table: the terminal's second page, no cursor,
 * no echo of keys. A picture is built line by line and shown at once, so that nothing flickers; lines are cut at the
 * terminal's width (a line counts characters, not bytes), and what does not fit its height is not shown.
 *
 * Whatever ends the program (return, SIGINT, SIGTERM, SIGHUP) gives the terminal back as it was. One screen a process,
 * one thread.
 */
#ifndef VG_CLI_SCREEN_H
#define VG_CLI_SCREEN_H

#include <stdbool.h>

#define CLI_SCREEN_KEY_NONE 0	    /* the time has passed */
#define CLI_SCREEN_KEY_RESIZED (-1) /* draw again */
#define CLI_SCREEN_KEY_END (-2)	    /* a signal or the end of the input asks to leave */

/* 0, or -ENOTTY: standard output is no terminal. Standard input may be something else: then there are no keys. */
int cli_screen_open(void);
/* Give the terminal back; harmless when none was taken. */
void cli_screen_close(void);
/* What there is to draw on; 80 and 24 where the terminal does not say. */
unsigned int cli_screen_columns(void);
unsigned int cli_screen_rows(void);

/* A new picture … */
void cli_screen_begin(void);
/* … its lines, without line feeds; `strong` shows one in reverse … */
void cli_screen_line(bool strong, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* … and on the terminal with it. */
void cli_screen_show(void);

/* Wait for a key, at most so long. The key, or CLI_SCREEN_KEY_*; keys of several bytes (arrows) are swallowed. */
int cli_screen_key(int timeout_ms);

#endif
