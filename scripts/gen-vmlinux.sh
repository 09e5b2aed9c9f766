#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Print vmlinux.h: the kernel types that the programs in bpf/ use, from a kernel's BTF, and nothing else.
#
#   scripts/gen-vmlinux.sh [BTF] > vmlinux.h         default: the running kernel's
#
# To add a type, add its name to `types` (or, for an enumeration, one of its values) or to `macros`, and run it again.
# Of the structures in `parts` only the members named there are kept: CO-RE finds them wherever they are.
# The output depends on the kernel alone: the same twice. Field offsets are looked up at load time (CO-RE), so a header
# made on one kernel serves all that have the types.
set -eu

btf=${1:-/sys/kernel/btf/vmlinux}
bpftool=${BPFTOOL:-$(PATH=$PATH:/usr/sbin:/sbin command -v bpftool)}

types="__u8 __u16 __u32 __u64 __s8 __s16 __s32 __s64 __be16 __be32 __be64 __sum16 __wsum bool true
       xdp_md __sk_buff ethhdr vlan_hdr iphdr ipv6hdr udphdr bpf_fib_lookup
       xdp_action tcx_action_base bpf_map_type
       BPF_F_MMAPABLE BPF_F_MARK_MANGLED_0 BPF_FIB_LKUP_RET_SUCCESS IPPROTO_UDP
       BPF_ANY BPF_LOCAL_STORAGE_GET_F_CREATE blk_status_t"
parts="task_struct:pid,comm,sched_info,cgroups,se sched_entity:cfs_rq cfs_rq:rq rq:nr_running,clock
       sched_info:last_queued css_set:dfl_cgrp cgroup:kn kernfs_node:id request:cmd_flags"
macros="ETH_P_IP ETH_P_IPV6 ETH_P_8021Q ETH_P_8021AD PF_INET PF_INET6 AF_INET AF_INET6"

cat <<'TOP'
/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Kernel types of VIRGO's BPF programs. Made by scripts/gen-vmlinux.sh with `bpftool btf dump` from a Linux 6.18
 * kernel and trimmed to the types named there and what they contain; constants come from the kernel's uapi headers.
 * Do not edit: run the script again.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

TOP

# A definition starts in column 0 and ends with the first line that closes it there. Members that are pointers need no
# definition of what they point to.
"$bpftool" btf dump file "$btf" format c | awk -v wanted="$types" -v parts="$parts" '
# Of a structure in `parts`: its first line, its members that are wanted, its last line.
function trim(body, members,    lines, count, i, kept, member) {
	count = split(body, lines, "\n")
	for (i = 1; i <= count; i++) {
		member = lines[i]
		sub(/(\[[0-9]*\])*( : [0-9]+)?;.*$/, "", member)
		sub(/^.*[ \t*]/, "", member)
		if (lines[i] !~ /^\t/ && lines[i] != "" ||
		    lines[i] ~ /^\t[^\t]/ && index("," members ",", "," member ","))
			kept = kept lines[i] "\n"
	}
	return kept
}
function finish(    i, line, word, count, words) {
	if (name == "" && body ~ /^enum {/) {
		count = split(body, words, /[^A-Za-z0-9_]+/)
		for (i = 1; i <= count; i++)
			if (words[i] in seed)
				name = "enum." blocks
	}
	if (name != "" && !(name in text)) {
		order[++blocks] = name
		text[name] = name in part ? trim(body, part[name]) : body
	}
	inside = 0
}
function need(name,    lines, count, i, words, n, j) {
	if (!(name in text) || name in needed)
		return
	needed[name] = 1
	count = split(text[name], lines, "\n")
	for (i = 1; i <= count; i++) {
		if (lines[i] ~ /\*/)
			continue
		n = split(lines[i], words, /[^A-Za-z0-9_]+/)
		for (j = 1; j <= n; j++)
			if (words[j] != name && (i == 1 || words[j] != ""))
				if (member_type(lines[i], words[j]))
					need(words[j])
	}
}
# The declared name itself is the last word of its line and is not a type.
function member_type(line, word,    rest) {
	if (line ~ /^(struct|union|enum) /)
		return 0
	rest = line
	sub(/(\[[0-9]*\])?( : [0-9]+)?;.*$/, "", rest)
	sub(/[A-Za-z0-9_]+$/, "", rest)
	return rest ~ ("(^|[^A-Za-z0-9_])" word "([^A-Za-z0-9_]|$)")
}
BEGIN {
	count = split(wanted, list, /[ \t\n]+/)
	for (i = 1; i <= count; i++)
		seed[list[i]] = 1
	count = split(parts, list, /[ \t\n]+/)
	for (i = 1; i <= count; i++) {
		split(list[i], pair, ":")
		part[pair[1]] = pair[2]
		seed[pair[1]] = 1
	}
}
!inside && /^(struct|union|enum|typedef) / {
	inside = 1
	body = ""
	name = ""
	if ($1 == "typedef") {
		if ($0 ~ /;$/ && $0 !~ /[()]/) {
			name = $NF
			sub(/(\[[0-9]*\])?;$/, "", name)
		}
	} else if ($2 != "{") {
		name = $2
		sub(/;$/, "", name)
	}
	if ($0 ~ /^(struct|union|enum) [A-Za-z0-9_]+;$/) { # a forward declaration
		inside = 0
		next
	}
}
inside {
	body = body $0 "\n"
	if ($0 ~ /^[^ \t].*;$/)
		finish()
}
END {
	for (i in seed)
		if (i in text)
			need(i)
	for (i = 1; i <= blocks; i++) {
		if (order[i] ~ /^enum\./)
			needed[order[i]] = 1
		if (order[i] in needed)
			printf "%s\n", text[order[i]]
	}
}'

printf '#pragma clang attribute pop\n\n'
printf '#include <linux/if_ether.h>\n#include <sys/socket.h>\n' | ${CC:-cc} -E -dM - |
	awk -v wanted="$macros" '
	BEGIN { count = split(wanted, list, /[ \t\n]+/); for (i = 1; i <= count; i++) seed[list[i]] = 1 }
	$2 in seed { print }' | LC_ALL=C sort
printf '\n#endif\n'
