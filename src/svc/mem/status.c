// SPDX-License-Identifier: GPL-3.0-or-later
/* Between the errors of this program and the statuses of the wire. */
#include <errno.h>

#include "svc/mem/handle.h"
#include "svc/mem/mem.h"

/* One line a status: the error it stands for. Several errors may become one status, see vg_mem_status_of. */
static const int error_of_status[VG_STATUS_MAX] = {
	[VG_STATUS_OK] = 0,
	[VG_STATUS_NOT_FOUND] = -ENOENT,
	[VG_STATUS_GONE] = -ESTALE,
	[VG_STATUS_BAD_REQUEST] = -EINVAL,
	[VG_STATUS_UNSUPPORTED] = -EOPNOTSUPP,
	[VG_STATUS_TOO_BIG] = -EMSGSIZE,
	[VG_STATUS_NO_MEMORY] = -ENOMEM,
	[VG_STATUS_UNAUTHORIZED] = -EACCES,
	[VG_STATUS_WRONG_NODE] = -EXDEV,
	[VG_STATUS_UNREACHABLE] = -EHOSTUNREACH,
	[VG_STATUS_BUSY] = -EBUSY,
	[VG_STATUS_REPLAYED] = -EALREADY,
	[VG_STATUS_RANGE] = -ERANGE,
	[VG_STATUS_CONDITION] = -EEXIST,
	[VG_STATUS_INTERNAL] = -EIO,
	[VG_STATUS_NOT_LOGGED] = -EROFS,
	[VG_STATUS_ERRNO] = -EREMOTEIO, /* the file pool's; the argument says which */
};

int vg_mem_error_of(__u8 status)
{
	return status < VG_STATUS_MAX ? error_of_status[status] : -EIO;
}

__u8 vg_mem_status_of(int error)
{
	switch (error) {
	case -ELOOP: /* a bucket that chosen keys have filled */
	case -ENOSPC:
		return VG_STATUS_NO_MEMORY;
	case -ETIMEDOUT:
		return VG_STATUS_UNREACHABLE;
	case -ENOBUFS:
	case -EAGAIN:
		return VG_STATUS_BUSY;
	}
	for (__u8 status = 0; status < VG_STATUS_MAX; status++)
		if (error_of_status[status] == error)
			return status;
	return VG_STATUS_INTERNAL;
}

const char *vg_mem_status_text(__u8 status)
{
	switch (status) {
#define X(name, number, text)      \
	case VG_STATUS_##name:     \
		return text;
		VG_STATUSES(X)
#undef X
	}
	return "unknown status";
}

const char *vg_mem_status_name(__u8 status)
{
	static const char *const name[VG_STATUS_MAX] = {
		[VG_STATUS_OK] = "ok",
		[VG_STATUS_NOT_FOUND] = "not_found",
		[VG_STATUS_GONE] = "gone",
		[VG_STATUS_BAD_REQUEST] = "bad_request",
		[VG_STATUS_UNSUPPORTED] = "unsupported",
		[VG_STATUS_TOO_BIG] = "too_big",
		[VG_STATUS_NO_MEMORY] = "no_memory",
		[VG_STATUS_UNAUTHORIZED] = "unauthorized",
		[VG_STATUS_WRONG_NODE] = "wrong_node",
		[VG_STATUS_UNREACHABLE] = "unreachable",
		[VG_STATUS_BUSY] = "busy",
		[VG_STATUS_REPLAYED] = "replayed",
		[VG_STATUS_RANGE] = "range",
		[VG_STATUS_CONDITION] = "condition",
		[VG_STATUS_INTERNAL] = "internal",
		[VG_STATUS_NOT_LOGGED] = "not_logged",
		[VG_STATUS_ERRNO] = "errno",
	};

	return status < VG_STATUS_MAX ? name[status] : "internal";
}

void vg_mem_count_refusal(struct vg_env *env, __u8 status)
{
	switch (status) {
	case VG_STATUS_BAD_REQUEST:
		vg_refuse(env, VG_REFUSAL_MALFORMED);
		break;
	case VG_STATUS_UNSUPPORTED:
		vg_refuse(env, VG_REFUSAL_BAD_OPCODE);
		break;
	case VG_STATUS_TOO_BIG:
		vg_refuse(env, VG_REFUSAL_REFLECTION);
		break;
	case VG_STATUS_NO_MEMORY:
		vg_refuse(env, VG_REFUSAL_NO_MEMORY);
		break;
	case VG_STATUS_UNAUTHORIZED:
		vg_refuse(env, VG_REFUSAL_UNAUTHORIZED);
		break;
	case VG_STATUS_WRONG_NODE:
		vg_refuse(env, VG_REFUSAL_WRONG_NODE);
		break;
	case VG_STATUS_UNREACHABLE:
		vg_refuse(env, VG_REFUSAL_UNREACHABLE);
		break;
	case VG_STATUS_NOT_LOGGED:
		vg_refuse(env, VG_REFUSAL_NOT_LOGGED);
		break;
	case VG_STATUS_BUSY:
		vg_refuse(env, VG_REFUSAL_BUSY);
		break;
	case VG_STATUS_REPLAYED:
		vg_refuse(env, VG_REFUSAL_REPLAYED);
		break;
	}
}
