#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What Redis clients do to each other: transactions, messages, copies. One node with three workers, then three nodes.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
NS=vg$$-redis
DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
PIDS=()

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ ${#PIDS[@]} = 0 ] || { kill -TERM "${PIDS[@]}" && wait "${PIDS[@]}"; } 2>/dev/null
	ip netns del "$NS" 2>/dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

TESTS=14
[ "$(id -u)" = 0 ] || tap_skip_all $TESTS "needs root for a network namespace"
tap_plan $TESTS

inside() { ip netns exec "$NS" "$@"; }

start() { # ADDRESS:PORT FLAG…
	local address=$1
	shift
	ip netns exec "$NS" "$B/virgod" --listen "$address" --arena-size 64m --heap-size 256m --bpf off "$@" \
		> "$DIR/out" 2>> "$DIR/log" &
	PIDS+=($!)
	for _ in $(seq 400); do
		inside bash -c "exec 3<>/dev/tcp/${address%:*}/${address##*:}" 2>/dev/null && return 0
		kill -0 "$!" 2>/dev/null || break
		sleep 0.05
	done
	sed 's/^/# /' "$DIR/log"
	return 1
}

together() { timeout 120 ip netns exec "$NS" python3 tests/netns/redis_together.py 30000 "$1"; }

ip netns add "$NS"
ip -n "$NS" link set lo up
tap_ok "a node starts" start 127.0.0.1:30000 --workers 3
tap_ok "no reader sees half a transaction" together halves
tap_ok "no addition is lost" together counting
tap_ok "every subscriber hears everything, in order" together messages
tap_ok "who keeps copies is told of every change" together copies
tap_ok "a near cache stays coherent" timeout 120 ip netns exec "$NS" "$B/tests/netns/near_client" 127.0.0.1:30000
tap_is "hot keys are told" "$(
	for _ in $(seq 2000); do echo "get hot"; done | inside redis-cli -p 30000 > /dev/null
	inside "$B/virgo" -n 127.0.0.1:30000 hotkeys --count 128 --json | jq -r '.nodes[0].keys[] | select(.key == "hot") | .key'
)" hot
tap_is "the memory pool's table fits 80 columns" "$(
	inside "$B/virgo" -n 127.0.0.1:30000 top mem --once --interval 200ms | awk 'length > 80' | wc -l)" 0
tap_is "memory is told by tier and size class" "$(
	inside "$B/virgo" -n 127.0.0.1:30000 top mem --once --json --interval 200ms |
		jq -r '.nodes[0] | [(.arena_used > 0), ([.classes[] | select(.kind == "item") | .cells_used] | add > 0)] | @csv')" true,true

nodes=127.0.0.1:30001,127.0.0.1:30002,127.0.0.1:30003
start3() {
	start 127.0.0.1:30001 --workers 2 --nodes "$nodes" --node 0 && start 127.0.0.1:30002 --workers 2 --nodes "$nodes" --node 1 &&
		start 127.0.0.1:30003 --workers 2 --nodes "$nodes" --node 2
}
tap_ok "three nodes start" start3
tap_ok "a near cache reads from every owner" \
	timeout 120 ip netns exec "$NS" "$B/tests/netns/near_client" 127.0.0.1:30001
exec_at() { # PORT: a transaction on one key, sent to any node
	printf 'MULTI\nSET k 1\nINCR k\nEXEC\n' | inside redis-cli -p "$1" | tail -1
}
tap_is "a transaction goes to the owner of its keys" "$(exec_at 30001) $(exec_at 30002) $(exec_at 30003)" "2 2 2"
tap_is "keys of several owners are refused" "$(
	printf 'MULTI\nSET a 1\nSET b 1\nSET c 1\nSET d 1\nSET e 1\nEXEC\n' | inside redis-cli -p 30001 | grep -c EXECABORT)" 1
# Subscribed at one node, said at another.
heard() {
	timeout 30 ip netns exec "$NS" redis-cli -p 30003 subscribe c > "$DIR/heard" &
	PIDS+=($!)
	for _ in $(seq 200); do
		[ "$(inside redis-cli -p 30001 publish c hello)" != 1 ] || break
		sleep 0.05
	done
	for _ in $(seq 200); do
		! grep -q '^hello' "$DIR/heard" || return 0
		sleep 0.05
	done
	return 1
}
tap_ok "a message is heard at another node" heard
tap_end
