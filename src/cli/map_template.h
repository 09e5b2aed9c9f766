/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The words of a command with an argument put in: what `virgo map` runs for one argument. */
#ifndef VG_CLI_MAP_TEMPLATE_H
#define VG_CLI_MAP_TEMPLATE_H

#include <stddef.h>

#include "virgo/types.h"

#define MAP_PLACES "{} {.} {/} {//} {/.} {#}"

/*
 * The command of `words` words for this argument, in memory from malloc in one piece (free() gives all of it back) and
 * NULL-terminated:
 *
 *     {}    the argument                 {.}   without its extension
 *     {/}   its last part, {//} what stands before that ("." where there is nothing), {/.} the last part without
 *           extension                    {#}   the job's number
 *
 * A command without any of them gets the argument as its last word. 0, -ENOMEM, -E2BIG (over MAP_COMMAND_BYTES_MAX).
 */
#define MAP_COMMAND_BYTES_MAX (128u << 10)
int map_expand(char *const *words, size_t count, const char *argument, __u64 number, char ***ret_command);

#endif
