#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Random command streams to redis-server and to virgod: every answer must be the same to the byte. One node, two workers.
# VG_SEED repeats a run; VG_ORACLE_COMMANDS says how many commands (make test-oracle: a million).
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
NS=vg$$-oracle
DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
COMMANDS=${VG_ORACLE_COMMANDS:-30000}
SEED=${VG_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
PIDS=()

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ ${#PIDS[@]} = 0 ] || { kill -TERM "${PIDS[@]}" && wait "${PIDS[@]}"; } 2>/dev/null
	ip netns del "$NS" 2>/dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

TESTS=5
[ "$(id -u)" = 0 ] || tap_skip_all $TESTS "needs root for a network namespace"
command -v redis-server > "$DIR/path" || tap_skip_all $TESTS "redis-server is not installed"
version=$(redis-server --version | sed -n 's/.* v=\([0-9]*\.[0-9]*\)\..*/\1/p')
[ "$version" = 7.0 ] || tap_skip_all $TESTS "redis-server is $version; the answers compared are those of 7.0"
tap_plan $TESTS
echo "# VG_SEED=$SEED"

# Never in the background: $! would be a shell, not the command.
inside() { ip netns exec "$NS" "$@"; }

wait_for() { # PORT PID
	for _ in $(seq 200); do
		inside bash -c "exec 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null && return 0
		kill -0 "$2" 2>/dev/null || break
		sleep 0.05
	done
	[ ! -f "$DIR/log" ] || sed 's/^/# /' "$DIR/log"
	return 1
}

start() { # PORT FLAG…
	local port=$1
	shift
	ip netns exec "$NS" "$B/virgod" --listen "127.0.0.1:$port" --arena-size 64m --heap-size 256m --bpf off "$@" \
		> "$DIR/out" 2>> "$DIR/log" &
	PIDS+=($!)
	wait_for "$port" $!
}

ip netns add "$NS"
ip -n "$NS" link set lo up

ip netns exec "$NS" redis-server --port 7000 --save '' --appendonly no --databases 1 --dir "$DIR" > "$DIR/redis" 2>&1 &
PIDS+=($!)
tap_ok "redis-server is there" wait_for 7000 $!
tap_ok "virgod is there" start 30000 --workers 2
replay() { # SEED: one half of the commands; what differs is printed, with the seed that shows it again
	timeout $((120 + COMMANDS / 500)) ip netns exec "$NS" "$B/tests/oracle/resp_oracle" 7000 30000 "$1" $((COMMANDS / 2)) ||
		{ echo "# again: VG_SEED=$1 VG_ORACLE_COMMANDS=$COMMANDS $0"; return 1; }
}
tap_ok "answers are the same" replay "$SEED"
tap_ok "and with another seed" replay $((SEED + 1))
inside redis-cli -p 7000 flushall > "$DIR/flushed"
inside redis-cli -p 30000 flushall >> "$DIR/flushed"
tap_is "nothing is left over" "$(inside redis-cli -p 30000 dbsize)" 0
tap_end
