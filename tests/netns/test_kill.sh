#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# kill -9 of the daemon while XDP serves under load: no wrong value, ever; after the lease everything goes up to the
# socket that nobody has; the next daemon adopts the arena with all it holds.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
LAB_BUILD=${B:-build}
. scripts/lab.sh
trap lab_down EXIT

[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for network namespaces and BPF"
ROUNDS=4

reason() { lab_agent 0 status --json | jq "[.counters[] | select(.reason == \"$1\") | .packets] | add // 0"; }
# rises REASON FROM: within ten seconds
# shellcheck disable=SC2317 # called by tap_ok
rises() {
	for _ in $(seq 100); do
		[ "$(reason "$1")" -gt "$2" ] && return 0
		sleep 0.1
	done
	return 1
}
adopted() { grep -c 'arena adopted' "$LAB_DIR/virgod0.log"; }

lab_up 1
tap_ok "a node with XDP" lab_start 0
# Not through a function: $! must be the client, not a shell around it.
ip netns exec "$LAB-c" "$LAB_BUILD/tests/netns/steady" "$(lab_address 0)" "$(cat "$LAB_DIR/key")" > "$LAB_DIR/steady" &
STEADY=$!
for ((round = 1; round <= ROUNDS; round++)); do
	tap_ok "round $round: XDP serves" rises hit "$(reason hit)"
	leases=$(reason no_lease)
	lab_kill 0
	tap_ok "round $round: without a lease it passes everything up" rises no_lease "$leases"
	hits=$(reason hit)
	sleep 0.3
	tap_is "round $round: and answers nothing" "$(reason hit)" "$hits"
	before=$(adopted)
	tap_ok "round $round: the next daemon starts" lab_daemon 0
	tap_is "round $round: it adopts the arena" "$(adopted)" $((before + 1))
done
tap_ok "XDP serves again" rises hit "$(reason hit)"
kill -TERM "$STEADY"
wait "$STEADY"
while read -r status what; do
	case $status in
	'#') echo "# $what" ;;
	*) [ "$status" = ok ]; tap_result $? "$what" ;;
	esac
done < "$LAB_DIR/steady"
tap_ok "the daemon ends in order" lab_stop 0
tap_plan "$TAP_NUMBER"
tap_end
