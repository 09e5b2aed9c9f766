/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * DUMP and RESTORE: a value as bytes that another VIRGO takes back. The form is ours:
 *
 *     "VGD"  version  client flags (4 bytes, big-endian)  value …  CRC-32C of all before it (4 bytes, big-endian)
 */
#include <errno.h>
#include <stdint.h>

#include "base/crc32c.h"
#include "svc/mem/cmd.h"
#include "svc/mem/data.h"

#define DUMP_VERSION 1
#define HEAD_BYTES 8
#define TAIL_BYTES 4

static void put32(__u8 *at, __u32 value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (__u8)(value >> 8 * (3 - i));
}

static __u32 get32(const __u8 *at)
{
	return (__u32)at[0] << 24 | (__u32)at[1] << 16 | (__u32)at[2] << 8 | at[3];
}

struct dump {
	const struct vg_mem *mem;
	size_t length;
	__u8 bytes[];
};

static void release_dump(void *context)
{
	struct dump *dump = context;

	dump->mem->free(dump->mem->context, dump);
}

int vg_cmd_dump(struct vg_call *call)
{
	const struct vg_mem *mem = call->env->mem;
	struct vg_key key = vg_call_key(call, 1);
	struct vg_value value = { .data = "" };
	char buffer[VG_CELL_MAX];
	struct dump *dump;

	if (vg_data_read(call, &key, buffer, &value)) {
		vg_data_miss(call, &key);
		vg_resp_null(call->out, call->version);
		return 0;
	}
	call->env->stats->hits++;
	dump = mem->alloc(mem->context, sizeof(*dump) + HEAD_BYTES + value.length + TAIL_BYTES);
	if (!dump) {
		vg_value_release(&value);
		return vg_call_failure(call, -ENOMEM);
	}
	dump->mem = mem;
	dump->length = HEAD_BYTES + value.length + TAIL_BYTES;
	memcpy(dump->bytes, "VGD", 3);
	dump->bytes[3] = DUMP_VERSION;
	put32(dump->bytes + 4, value.client_flags);
	memcpy(dump->bytes + HEAD_BYTES, value.data, value.length);
	put32(dump->bytes + HEAD_BYTES + value.length, vg_crc32c(0, dump->bytes, HEAD_BYTES + value.length));
	vg_value_release(&value);
	vg_resp_bulk_lend(call->out, dump->bytes, dump->length, release_dump, dump);
	return 0;
}

/* ---- RESTORE ---------------------------------------------------------------------------------------------------- */

struct restore {
	bool replace, absolute, passed, busy;
	__s64 idle_seconds, frequency;
	__u64 expire_ms;
	const __u8 *value;
	size_t length;
	__u32 client_flags;
};

/* False: an error was answered. How old and how often used the value was is checked, and not kept. */
static bool read_options(struct vg_call *call, struct restore *restore)
{
	restore->idle_seconds = restore->frequency = -1;
	for (int i = 4; i < call->args; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];
		bool more = i + 1 < call->args;

		if (vg_arg_is(arg, "replace")) {
			restore->replace = true;
		} else if (vg_arg_is(arg, "absttl")) {
			restore->absolute = true;
		} else if (vg_arg_is(arg, "idletime") && more && restore->frequency == -1) {
			if (!vg_call_integer(call, ++i, &restore->idle_seconds))
				return false;
			if (restore->idle_seconds < 0) {
				vg_resp_error(call->out, "ERR Invalid IDLETIME value, must be >= 0");
				return false;
			}
		} else if (vg_arg_is(arg, "freq") && more && restore->idle_seconds == -1) {
			if (!vg_call_integer(call, ++i, &restore->frequency))
				return false;
			if (restore->frequency < 0 || restore->frequency > 255) {
				vg_resp_error(call->out, "ERR Invalid FREQ value, must be >= 0 and <= 255");
				return false;
			}
		} else {
			vg_call_syntax_error(call);
			return false;
		}
	}
	return true;
}

static bool read_deadline(struct vg_call *call, struct restore *restore)
{
	__s64 when;

	if (!vg_call_integer(call, 2, &when))
		return false;
	if (when < 0) {
		vg_resp_error(call->out, "ERR Invalid TTL value, must be >= 0");
		return false;
	}
	if (when && !restore->absolute && __builtin_add_overflow(when, (__s64)call->now_ms, &when))
		when = INT64_MAX;
	restore->expire_ms = (__u64)when;
	restore->passed = when && (__u64)when <= call->now_ms;
	return true;
}

static bool read_payload(struct vg_call *call, struct restore *restore)
{
	const __u8 *bytes = (const __u8 *)call->arg[3].data;
	size_t length = call->arg[3].length;

	if (length < HEAD_BYTES + TAIL_BYTES || memcmp(bytes, "VGD", 3) != 0 || bytes[3] != DUMP_VERSION ||
	    get32(bytes + length - TAIL_BYTES) != vg_crc32c(0, bytes, length - TAIL_BYTES)) {
		vg_resp_error(call->out, "ERR DUMP payload version or checksum are wrong");
		return false;
	}
	restore->value = bytes + HEAD_BYTES;
	restore->length = length - HEAD_BYTES - TAIL_BYTES;
	restore->client_flags = get32(bytes + 4);
	return true;
}

static int restore_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct restore *restore = context;

	restore->busy = old->exists && !restore->replace;
	if (restore->busy)
		return 0;
	if (restore->passed) {
		change->action = old->exists ? VG_CHANGE_DELETE : VG_CHANGE_NONE;
		return 0;
	}
	change->action = VG_CHANGE_STORE;
	change->expire_ms = restore->expire_ms;
	change->client_flags = restore->client_flags;
	change->part[0] = (struct vg_part){ restore->value, restore->length };
	change->parts = 1;
	return 0;
}

static int busy(struct vg_call *call)
{
	vg_resp_error(call->out, "BUSYKEY Target key name already exists.");
	return 0;
}

int vg_cmd_restore(struct vg_call *call)
{
	struct vg_key key = vg_call_key(call, 1);
	struct restore restore = { 0 };
	struct vg_key_facts facts;
	int result;

	if (!read_options(call, &restore))
		return 0;
	if (!restore.replace && vg_data_facts(call, &key, false, &facts) == 0)
		return busy(call);
	if (!read_deadline(call, &restore) || !read_payload(call, &restore))
		return 0;
	result = vg_data_update(call, &key, restore_update, &restore);
	if (result)
		return vg_call_failure(call, result);
	if (restore.busy)
		return busy(call);
	vg_resp_simple(call->out, "OK");
	return 0;
}
