#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Hostile clients against whole nodes: with XDP and a cluster key, and without either. The clients are hostile_udp
# (every field of a datagram), hostile_raw (frames made by hand) and hostile_tcp; each says "ok NAME" or
# "bad NAME: why".
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
LAB_BUILD=${B:-build}
. scripts/lab.sh
trap lab_down EXIT
T=$LAB_BUILD/tests/netns

[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for network namespaces and BPF"

# hostile NAME PROGRAM ARGUMENT…: the program's lines as results.
hostile() {
	local name=$1 status what
	shift
	while read -r status what; do
		[ "$status" = ok ]
		tap_result $? "$name: $what"
	done < <(lab_client timeout 100 "$@" || echo "bad the client itself: it ended with $?")
}

raw() { # NAME KEY
	hostile "$1" "$T/hostile_raw" "$(lab_address 0)" "$2" eth0 10.77.0.2 \
		"$(lab_node 0 cat /sys/class/net/eth0/address)"
}
reason() { lab_agent 0 status --json | jq "[.counters[] | select(.reason == \"$1\") | .packets] | add // 0"; }
# shellcheck disable=SC2317 # called by tap_ok
lives() { kill -0 "${LAB_PIDS[$1]}" 2>/dev/null; }

lab_up 2
LAB_VIRGOD_FLAGS="--connections 64"
tap_ok "two nodes with XDP and a cluster key" eval "lab_start 0 && lab_start 1"
hostile "xdp, keyed" "$T/hostile_udp" "$(lab_address 0)" "$(cat "$LAB_DIR/key")" xdp
raw "xdp, keyed" "$(cat "$LAB_DIR/key")"
hostile "xdp, keyed" "$T/hostile_tcp" "$(lab_address 0)" "$(cat "$LAB_DIR/key")" "${LAB_PIDS[0]}"
for name in bad_magic bad_version bad_header is_reply bad_tag truncated bad_partition not_a_read hash_mismatch \
	steer_hops fragment vlan_stack ip_options ip_checksum not_virgo not_ip; do
	tap_ok "xdp: counted as $name" test "$(reason $name)" -gt 0
done
tap_ok "xdp: node 0 lives" lives 0
tap_ok "xdp: node 0 ends in order" lab_stop 0
tap_ok "xdp: node 1 ends in order" lab_stop 1
lab_down

lab_up 2
LAB_XDP=no
LAB_VIRGOD_FLAGS="--connections 64 --key-file= --insecure --bpf off"
tap_ok "two nodes without XDP, without a key" eval "lab_start 0 && lab_start 1"
hostile "sockets, open" "$T/hostile_udp" "$(lab_address 0)" - sockets
raw "sockets, open" -
hostile "sockets, open" "$T/hostile_tcp" "$(lab_address 0)" - "${LAB_PIDS[0]}"
tap_ok "sockets: node 0 lives" lives 0
tap_ok "sockets: node 0 ends in order" lab_stop 0
tap_ok "sockets: node 1 ends in order" lab_stop 1

tap_plan "$TAP_NUMBER"
tap_end
