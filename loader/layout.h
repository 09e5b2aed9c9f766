/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whether a pinned map is the map an object declares: type, sizes, flags, and the fields of its value, by BTF. libbpf
 * compares sizes only and adopts a map whose fields have moved.
 */
#ifndef VG_LOADER_LAYOUT_H
#define VG_LOADER_LAYOUT_H

struct bpf_map;
struct btf;

/* 0, or -EPROTONOSUPPORT, explained. Fields are compared where the kernel lets the agent read the map's BTF. */
int vg_layout_check(const struct bpf_map *map, const struct btf *object_btf, int pinned_fd);

/* The same for two types of two BTFs. NULL when they agree, else the name of what differs, owned by `btf_a`. Pure. */
const char *vg_layout_difference(const struct btf *btf_a, unsigned int type_a, const struct btf *btf_b,
				 unsigned int type_b);

#endif
