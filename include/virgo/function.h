/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a plug-in of the CPU pool is: a shared library in the node's plug-in directory (virgod --plugin-dir) that
 * exports functions, bytes in, bytes out. They run in worker processes of their own, one call at a time each; a crash
 * or a hang costs the caller an error and the node nothing.
 *
 *     #include <string.h>
 *     #include <virgo/function.h>
 *
 *     VIRGO_FUNCTION(echo)
 *     {
 *             if (call->argument_length > call->result_room)
 *                     return VIRGO_RESULT_TOO_LONG;
 *             memcpy(call->result, call->argument, call->argument_length);
 *             call->result_length = call->argument_length;
 *             return 0;
 *     }
 *
 *     cc -shared -fPIC -o echo.so echo.c
 *
 * A function may keep state between calls in its process, but finds it only by luck: there are several processes, and
 * they are replaced when something goes wrong.
 */
#ifndef VIRGO_FUNCTION_H
#define VIRGO_FUNCTION_H

#include <stddef.h>

#define VIRGO_FUNCTION_ABI 1

struct virgo_call {
	size_t size;	       /* of this struct: a later ABI has more behind `result_length` */
	const void *argument;
	size_t argument_length;
	void *result;	       /* room for the answer; uninitialised */
	size_t result_room;
	size_t result_length;  /* set by the function; 0 before */
};

/* What a function returns reaches the caller as the job's exit code; these mean the same to all. */
#define VIRGO_RESULT_TOO_LONG 125 /* result_room is too small */
#define VIRGO_BAD_ARGUMENT 124

/* Declares and begins a function of this name. The prefix keeps callers from any other symbol of the process. */
#define VIRGO_FUNCTION(name)                                                                          \
	__attribute__((visibility("default"))) int virgo_function_##name(struct virgo_call *call);    \
	int virgo_function_##name(struct virgo_call *call)

typedef int virgo_function(struct virgo_call *call);

#endif
