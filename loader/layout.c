// SPDX-License-Identifier: GPL-3.0-or-later
#include "layout.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "caps.h"
#include "explain.h"

const char *vg_layout_difference(const struct btf *btf_a, unsigned int type_a, const struct btf *btf_b,
				 unsigned int type_b)
{
	int resolved_a = btf__resolve_type(btf_a, type_a), resolved_b = btf__resolve_type(btf_b, type_b);
	const struct btf_type *a = resolved_a < 0 ? NULL : btf__type_by_id(btf_a, resolved_a);
	const struct btf_type *b = resolved_b < 0 ? NULL : btf__type_by_id(btf_b, resolved_b);
	const char *name;

	if (!a || !b)
		return a == b ? NULL : "the type";
	name = btf__name_by_offset(btf_a, a->name_off);
	if (btf_kind(a) != btf_kind(b) || btf__resolve_size(btf_a, type_a) != btf__resolve_size(btf_b, type_b))
		return name && name[0] ? name : "the type";
	if (!btf_is_composite(a))
		return NULL;
	if (btf_vlen(a) != btf_vlen(b))
		return name;
	for (unsigned int i = 0; i < btf_vlen(a); i++) {
		const struct btf_member *member_a = btf_members(a) + i, *member_b = btf_members(b) + i;
		const char *member = btf__name_by_offset(btf_a, member_a->name_off);

		if (strcmp(member, btf__name_by_offset(btf_b, member_b->name_off)) ||
		    member_a->offset != member_b->offset ||
		    btf__resolve_size(btf_a, member_a->type) != btf__resolve_size(btf_b, member_b->type))
			return member;
	}
	return NULL;
}

static int fields_check(const struct bpf_map *map, const struct btf *object_btf, const struct bpf_map_info *info)
{
	struct btf *pinned_btf;
	const char *difference;

	if (!info->btf_id || !info->btf_value_type_id || !object_btf || !bpf_map__btf_value_type_id(map))
		return 0;
	vg_caps_raise(CAP_SYS_ADMIN);
	pinned_btf = btf__load_from_kernel_by_id(info->btf_id);
	vg_caps_lower(CAP_SYS_ADMIN);
	if (!pinned_btf) /* not allowed to look: sizes and the version in the path have to do */
		return 0;
	difference =
		vg_layout_difference(object_btf, bpf_map__btf_value_type_id(map), pinned_btf, info->btf_value_type_id);
	if (difference)
		vg_explain(-EPROTONOSUPPORT, "pinned map %s has another layout: %s differs; unload first",
			   bpf_map__name(map), difference);
	btf__free(pinned_btf);
	return difference ? -EPROTONOSUPPORT : 0;
}

int vg_layout_check(const struct bpf_map *map, const struct btf *object_btf, int pinned_fd)
{
	struct bpf_map_info info = {};
	__u32 info_bytes = sizeof(info);
	const char *what = NULL;
	int error = bpf_map_get_info_by_fd(pinned_fd, &info, &info_bytes);

	if (error)
		return vg_explain(error, "%s: cannot ask the kernel about the pinned map", bpf_map__name(map));
	if (info.type != bpf_map__type(map))
		what = "type";
	else if (info.key_size != bpf_map__key_size(map))
		what = "key size";
	else if (info.value_size != bpf_map__value_size(map))
		what = "value size";
	else if (info.max_entries != bpf_map__max_entries(map))
		what = "number of entries";
	else if (info.map_flags != bpf_map__map_flags(map) || info.map_extra != bpf_map__map_extra(map))
		what = "flags";
	if (what)
		return vg_explain(-EPROTONOSUPPORT, "pinned map %s has another %s than this agent's; unload first",
				  bpf_map__name(map), what);
	return fields_check(map, object_btf, &info);
}
