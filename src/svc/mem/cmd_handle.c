/* SPDX-License-Identifier: GPL-3.0-or-later */
/* VIRGO.*: memory by handle, for those who speak RESP. A handle is written in hexadecimal, as the text grammar does. */
#include <errno.h>
#include <stdio.h>

#include "svc/mem/cmd.h"
#include "svc/mem/handle.h"

static void answer_error(struct vg_call *call, struct vg_out *out, int error)
{
	struct vg_call at = { .env = call ? call->env : NULL, .out = out };

	switch (error) {
	case -ESTALE:
		vg_resp_error(out, "GONE the handle is gone");
		break;
	case -ERANGE:
		vg_resp_error(out, "ERR outside the allocation");
		break;
	case -EINVAL:
		vg_resp_error(out, "ERR a size is at least 1");
		break;
	case -EHOSTUNREACH:
		vg_resp_error(out, "CLUSTERDOWN the node of the memory does not answer");
		break;
	case -EBUSY:
		vg_resp_error(out, "TRYAGAIN too many requests are waiting");
		break;
	default:
		vg_call_failure(&at, error);
		break;
	}
}

static void fail(struct vg_pending *pending, int error)
{
	struct vg_call call = { .env = pending->env };

	answer_error(&call, &pending->out, error);
}

static void on_alloc(void *context, struct vg_handle_result *result)
{
	struct vg_pending *pending = context;

	if (result->error)
		fail(pending, result->error);
	else
		vg_resp_bulk_format(&pending->out, "%llx", (unsigned long long)result->handle);
	vg_pending_done(pending);
}

static void on_read(void *context, struct vg_handle_result *result)
{
	struct vg_pending *pending = context;

	if (result->error) {
		fail(pending, result->error);
	} else if (!result->data) {
		vg_resp_bulk(&pending->out, "", 0);
	} else {
		void *data = result->data;

		result->data = NULL; /* the output's from now on */
		vg_resp_bulk_lend(&pending->out, data, (size_t)result->length, vg_handle_data_free, data);
	}
	vg_pending_done(pending);
}

static void on_done(void *context, struct vg_handle_result *result)
{
	struct vg_pending *pending = context;

	if (result->error)
		fail(pending, result->error);
	else
		vg_resp_simple(&pending->out, "OK");
	vg_pending_done(pending);
}

/* ---- arguments ------------------------------------------------------------------------------------------------- */

static bool read_handle(struct vg_call *call, __u64 *ret_handle)
{
	const struct vg_resp_arg *arg = &call->arg[1];
	__u64 handle = 0;
	bool good = arg->length >= 1 && arg->length <= 16;

	for (size_t i = 0; good && i < arg->length; i++) {
		char byte = (char)(arg->data[i] | 0x20);

		if (byte >= '0' && byte <= '9')
			handle = handle << 4 | (__u64)(byte - '0');
		else if (byte >= 'a' && byte <= 'f')
			handle = handle << 4 | (__u64)(byte - 'a' + 10);
		else
			good = false;
	}
	if (!good)
		vg_resp_error(call->out, "ERR a handle is up to 16 hexadecimal digits");
	else
		*ret_handle = handle;
	return good;
}

static bool read_number(struct vg_call *call, int position, __u64 *ret_value)
{
	__s64 value;

	if (!vg_call_integer(call, position, &value))
		return false;
	if (value < 0) {
		vg_resp_error(call->out, "ERR value is not an integer or out of range");
		return false;
	}
	*ret_value = (__u64)value;
	return true;
}

/* ---- commands -------------------------------------------------------------------------------------------------- */

int vg_cmd_virgo_alloc(struct vg_call *call)
{
	struct vg_pending *pending;
	__u64 bytes;

	if (!read_number(call, 1, &bytes))
		return 0;
	pending = vg_call_defer(call);
	if (!pending)
		return 0;
	vg_handle_alloc(call->env, bytes, call->forwarded ? VG_HANDLE_HERE : 0, on_alloc, pending);
	return -EINPROGRESS;
}

int vg_cmd_virgo_get(struct vg_call *call)
{
	struct vg_pending *pending;
	__u64 handle, offset, length;

	if (!read_handle(call, &handle) || !read_number(call, 2, &offset) || !read_number(call, 3, &length))
		return 0;
	pending = vg_call_defer(call);
	if (!pending)
		return 0;
	vg_handle_read(call->env, handle, offset, length, call->forwarded ? VG_HANDLE_HERE : 0, on_read, pending);
	return -EINPROGRESS;
}

int vg_cmd_virgo_set(struct vg_call *call)
{
	const struct vg_resp_arg *data = &call->arg[3];
	struct vg_pending *pending;
	__u64 handle, offset;

	if (!read_handle(call, &handle) || !read_number(call, 2, &offset))
		return 0;
	pending = vg_call_defer(call);
	if (!pending)
		return 0;
	vg_handle_write(call->env, handle, offset, data->data, data->length, call->forwarded ? VG_HANDLE_HERE : 0,
			on_done, pending);
	return -EINPROGRESS;
}

int vg_cmd_virgo_free(struct vg_call *call)
{
	struct vg_pending *pending;
	__u64 handle;

	if (!read_handle(call, &handle))
		return 0;
	pending = vg_call_defer(call);
	if (!pending)
		return 0;
	vg_handle_free(call->env, handle, call->forwarded ? VG_HANDLE_HERE : 0, on_done, pending);
	return -EINPROGRESS;
}
