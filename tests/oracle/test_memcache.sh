#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Random requests to memcached and to virgod: every answer must be the same to the byte.
#
#   tests/oracle/test_memcache.sh [COMMANDS]     VG_SEED repeats a run; 60000 commands unless told
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
COMMANDS=${1:-${VG_ORACLE_COMMANDS:-60000}}
NS=vg$$-mcoracle
DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
SEED=${VG_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
PIDS=()

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ ${#PIDS[@]} = 0 ] || { kill -TERM "${PIDS[@]}" && wait "${PIDS[@]}"; } 2>/dev/null
	ip netns del "$NS" 2>/dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

TESTS=4
[ "$(id -u)" = 0 ] || tap_skip_all $TESTS "needs root for a network namespace"
command -v memcached > "$DIR/path" || tap_skip_all $TESTS "memcached is not installed"
version=$(memcached --version | sed -n 's/^memcached \([0-9]*\.[0-9]*\.[0-9]*\).*/\1/p')
[ "$version" = 1.6.18 ] || tap_skip_all $TESTS "memcached is $version; the answers compared are those of 1.6.18"
tap_plan $TESTS
echo "# VG_SEED=$SEED, $COMMANDS commands"

inside() { ip netns exec "$NS" "$@"; }

wait_for() { # PORT PID
	for _ in $(seq 400); do
		inside bash -c "exec 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null && return 0
		kill -0 "$2" 2>/dev/null || break
		sleep 0.05
	done
	[ ! -f "$DIR/log" ] || sed 's/^/# /' "$DIR/log"
	return 1
}

ip netns add "$NS"
ip -n "$NS" link set lo up

# Without its background threads: they hold values for a moment, and then a number is not changed in place.
ip netns exec "$NS" memcached -u nobody -l 127.0.0.1 -p 7000 -U 0 -t 1 -m 256 -o no_lru_crawler,no_lru_maintainer \
	> "$DIR/memcached" 2>&1 &
PIDS+=($!)
tap_ok "memcached is there" wait_for 7000 $!
ip netns exec "$NS" "$B/virgod" --listen 127.0.0.1:30000 --memcache-port 11211 --workers 1 --arena-size 64m \
	--heap-size 256m --bpf off > "$DIR/out" 2>> "$DIR/log" &
PIDS+=($!)
tap_ok "virgod is there" wait_for 11211 $!
tap_ok "answers are the same, on memcached's port" \
	timeout 250 ip netns exec "$NS" "$B/tests/oracle/mc_oracle" 7000 11211 "$SEED" $((COMMANDS / 2))
tap_ok "and on the port of all protocols" \
	timeout 250 ip netns exec "$NS" "$B/tests/oracle/mc_oracle" 7000 30000 $((SEED + 1)) $((COMMANDS / 2))
tap_end
