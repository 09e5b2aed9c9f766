/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Values that are numbers. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "svc/mem/cmd.h"
#include "svc/mem/data.h"

/* The update's own errors, told apart from the store's. */
#define NOT_A_NUMBER (-EDOM)
#define OVERFLOWN (-EOVERFLOW)

struct add {
	__s64 increment, result;
	char text[VG_RESP_DIGITS];
};

static int add_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct add *add = context;
	__s64 value = 0;

	if (old->exists && !vg_resp_number(old->value, old->length, &value))
		return NOT_A_NUMBER;
	if (__builtin_add_overflow(value, add->increment, &add->result))
		return OVERFLOWN;
	change->action = VG_CHANGE_STORE;
	change->expire_ms = old->exists ? old->expire_ms : 0;
	change->client_flags = old->client_flags;
	change->part[0] = (struct vg_part){ add->text, vg_resp_digits(add->text, add->result) };
	change->parts = 1;
	return 0;
}

static int add(struct vg_call *call, __s64 increment)
{
	struct add add = { .increment = increment };
	struct vg_key key = vg_call_key(call, 1);
	int result = vg_data_update(call, &key, add_update, &add);

	if (result == NOT_A_NUMBER)
		vg_resp_error(call->out, "ERR value is not an integer or out of range");
	else if (result == OVERFLOWN)
		vg_resp_error(call->out, "ERR increment or decrement would overflow");
	else if (result)
		vg_call_failure(call, result);
	else
		vg_resp_integer(call->out, add.result);
	return 0;
}

int vg_cmd_incr(struct vg_call *call)
{
	return add(call, 1);
}

int vg_cmd_decr(struct vg_call *call)
{
	return add(call, -1);
}

int vg_cmd_incrby(struct vg_call *call)
{
	__s64 increment;

	return vg_call_integer(call, 2, &increment) ? add(call, increment) : 0;
}

int vg_cmd_decrby(struct vg_call *call)
{
	__s64 decrement;

	if (!vg_call_integer(call, 2, &decrement))
		return 0;
	if (decrement == INT64_MIN) {
		vg_resp_error(call->out, "ERR decrement would overflow");
		return 0;
	}
	return add(call, -decrement);
}

/* ---- INCRBYFLOAT ----------------------------------------------------------------------------------------------- */

#define FLOAT_TEXT_BYTES 5120 /* the largest long double has 4933 digits before the point, and 17 behind it */

/* As Redis reads a float: the whole text, no blank in front, not NaN. */
static bool read_float(const char *data, size_t length, long double *ret_value)
{
	char text[FLOAT_TEXT_BYTES], *end;

	if (length == 0 || length >= sizeof(text) || data[0] == ' ' || (data[0] >= '\t' && data[0] <= '\r'))
		return false;
	memcpy(text, data, length);
	text[length] = '\0';
	errno = 0;
	*ret_value = strtold(text, &end);
	if (end != text + length || isnan(*ret_value))
		return false;
	return errno != ERANGE || (fabsl(*ret_value) != HUGE_VALL && *ret_value != 0);
}

struct add_float {
	long double increment;
	size_t length;
	char text[FLOAT_TEXT_BYTES];
};

/* Seventeen decimals, without trailing zeros, never "-0". */
static size_t write_float(char text[FLOAT_TEXT_BYTES], long double value)
{
	size_t length = (size_t)snprintf(text, FLOAT_TEXT_BYTES, "%.17Lf", value);

	while (text[length - 1] == '0')
		length--;
	if (text[length - 1] == '.')
		length--;
	if (length == 2 && text[0] == '-' && text[1] == '0') {
		text[0] = '0';
		length = 1;
	}
	return length;
}

static int add_float_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct add_float *add = context;
	long double value = 0;

	if (old->exists && !read_float(old->value, old->length, &value))
		return NOT_A_NUMBER;
	value += add->increment;
	if (isnan(value) || isinf(value))
		return OVERFLOWN;
	add->length = write_float(add->text, value);
	change->action = VG_CHANGE_STORE;
	change->expire_ms = old->exists ? old->expire_ms : 0;
	change->client_flags = old->client_flags;
	change->part[0] = (struct vg_part){ add->text, add->length };
	change->parts = 1;
	return 0;
}

int vg_cmd_incrbyfloat(struct vg_call *call)
{
	struct vg_key key = vg_call_key(call, 1);
	struct add_float add;
	int result = NOT_A_NUMBER;

	/* Redis looks at the value first, then at the increment; both have the same answer. */
	if (read_float(call->arg[2].data, call->arg[2].length, &add.increment))
		result = vg_data_update(call, &key, add_float_update, &add);
	if (result == NOT_A_NUMBER)
		vg_resp_error(call->out, "ERR value is not a valid float");
	else if (result == OVERFLOWN)
		vg_resp_error(call->out, "ERR increment would produce NaN or Infinity");
	else if (result)
		vg_call_failure(call, result);
	else
		vg_resp_bulk(call->out, add.text, add.length);
	return 0;
}
