/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stubs: what a symbolic link of the pool's own says. */
#include <stdio.h>
#include <string.h>

#include "svc/file/tree.h"

#define HOME_PREFIX "/.virgo-home/"
#define STRIPES_PREFIX "/.virgo-stripes/"
#define OWN_PREFIX "/.virgo-"

/* A number without sign, blanks or leading zeros, at *at, which moves behind it. False: there is none that fits. */
static bool take_number(const char **at, const char *end, unsigned int base, __u64 max, __u64 *ret_number)
{
	const char *start = *at;
	__u64 number = 0;

	for (; *at < end; (*at)++) {
		unsigned int digit = **at >= '0' && **at <= '9' ? (unsigned int)(**at - '0') :
				     **at >= 'a' && **at <= 'f' ? (unsigned int)(**at - 'a') + 10 :
								  16;

		if (digit >= base)
			break;
		if (number > (max - digit) / base)
			return false;
		number = number * base + digit;
	}
	*ret_number = number;
	return *at > start && (*start != '0' || *at == start + 1);
}

static bool take_char(const char **at, const char *end, char what)
{
	if (*at == end || **at != what)
		return false;
	(*at)++;
	return true;
}

static bool parse_home(const char *at, const char *end, struct vg_stub *stub)
{
	__u64 node;

	if (!take_number(&at, end, 10, VG_NODES_MAX - 1, &node) || at != end)
		return false;
	stub->kind = VG_STUB_HOME;
	stub->home = (__u16)node;
	return true;
}

static bool parse_stripes(const char *at, const char *end, struct vg_stub *stub)
{
	__u64 unit, id, node;

	if (!take_number(&at, end, 10, VG_STUB_UNIT_MAX, &unit) || !unit || unit % VG_STUB_UNIT_STEP ||
	    !take_char(&at, end, '/') || !take_number(&at, end, 16, ~0ULL, &id) || !take_char(&at, end, '/'))
		return false;
	do {
		if (stub->count == VG_FILE_STRIPES_MAX || !take_number(&at, end, 10, VG_NODES_MAX - 1, &node))
			return false;
		stub->node[stub->count++] = (__u16)node;
	} while (take_char(&at, end, ','));
	stub->kind = VG_STUB_STRIPED;
	stub->unit = (__u32)unit;
	stub->id = id;
	return at == end;
}

bool vg_stub_is_reserved(const char *target, size_t length)
{
	return length >= strlen(OWN_PREFIX) && !memcmp(target, OWN_PREFIX, strlen(OWN_PREFIX));
}

enum vg_stub_kind vg_stub_parse(const char *target, size_t length, struct vg_stub *ret_stub)
{
	struct vg_stub stub = { 0 };
	const char *end = target + length;
	bool right = false;

	if (length > strlen(HOME_PREFIX) && !memcmp(target, HOME_PREFIX, strlen(HOME_PREFIX)))
		right = parse_home(target + strlen(HOME_PREFIX), end, &stub);
	else if (length > strlen(STRIPES_PREFIX) && !memcmp(target, STRIPES_PREFIX, strlen(STRIPES_PREFIX)))
		right = parse_stripes(target + strlen(STRIPES_PREFIX), end, &stub);
	if (!right)
		return VG_STUB_NONE;
	*ret_stub = stub;
	return stub.kind;
}

int vg_stub_format(const struct vg_stub *stub, char target[VG_STUB_TARGET_MAX])
{
	int length;

	if (stub->kind == VG_STUB_HOME)
		return snprintf(target, VG_STUB_TARGET_MAX, HOME_PREFIX "%u", stub->home);
	length = snprintf(target, VG_STUB_TARGET_MAX, STRIPES_PREFIX "%u/%llx/", stub->unit, stub->id);
	for (int i = 0; i < stub->count; i++)
		length += snprintf(target + length, VG_STUB_TARGET_MAX - (size_t)length, "%s%u", i ? "," : "",
				   stub->node[i]);
	return length;
}
