#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# A seeded storm of random messages against a whole node, with XDP and a cluster key and without either; an honest
# client's values stay what they were.
#
#   VG_STORM_SEED=n replays one storm; VG_STORM_DATAGRAMS and VG_STORM_STREAMS set how long it is.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
LAB_BUILD=${B:-build}
. scripts/lab.sh
trap lab_down EXIT

[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for network namespaces and BPF"
SEED=${VG_STORM_SEED:-$(date +%s)}
echo "# replay with VG_STORM_SEED=$SEED"

storm() { # NAME KEY
	local status what
	while read -r status what; do
		case $status in
		'#') echo "# $what" ;;
		*) [ "$status" = ok ]; tap_result $? "$1: $what" ;;
		esac
	done < <(lab_client timeout 250 "$LAB_BUILD/tests/netns/storm" "$(lab_address 0)" "$2" "$SEED" \
		"${VG_STORM_DATAGRAMS:-100000}" "${VG_STORM_STREAMS:-10000}" ||
		echo "bad the client itself: it ended with $?")
	tap_ok "$1: the daemon ends in order" lab_stop 0
	grep -Eq 'Sanitizer|runtime error' "$LAB_DIR/virgod0.log"
	tap_is "$1: no sanitizer has spoken" $? 1
	grep -E -A20 'Sanitizer|runtime error' "$LAB_DIR/virgod0.log" | sed 's/^/# /'
}

lab_up 1
tap_ok "a node with XDP and a cluster key" lab_start 0
storm "xdp, keyed" "$(cat "$LAB_DIR/key")"
lab_down
lab_up 1
LAB_XDP=no
LAB_VIRGOD_FLAGS="--key-file= --insecure --bpf off"
tap_ok "a node without XDP, without a key" lab_start 0
storm "sockets, open" -
tap_plan "$TAP_NUMBER"
tap_end
