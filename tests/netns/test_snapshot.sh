#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Snapshots of a whole node: by command and by rules, kill -9 and starting from snapshot and log, backups while money
# moves between accounts, restoring, damaged files.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
NS=vg$$-snap
DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
PIDS=()

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ ${#PIDS[@]} = 0 ] || { kill -KILL "${PIDS[@]}" && wait "${PIDS[@]}"; } 2>/dev/null
	ip netns del "$NS" 2>/dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

TESTS=31
ACCOUNTS=100
[ "$(id -u)" = 0 ] || tap_skip_all $TESTS "needs root for a network namespace"
command -v redis-cli > "$DIR/path" || tap_skip_all $TESTS "redis-cli is not installed"
tap_plan $TESTS

# Never in the background: $! would be a shell, not the command.
inside() { ip netns exec "$NS" "$@"; }
r() { inside redis-cli -p 7100 --raw "$@" 2>&1; }
virgo() { inside "$B/virgo" --node 127.0.0.1:7100 "$@"; }

up() { # ARGUMENT…: a node; 0 when it answers
	ip netns exec "$NS" "$B/virgod" --listen 127.0.0.1:7100 --bpf off --cpu-port 0 --memcache-port 0 --workers 2 \
		--arena-size 64m --heap-size 256m "$@" >> "$DIR/log" 2>&1 &
	NODE=$!
	PIDS=("$NODE")
	for _ in $(seq 300); do
		[ "$(r ping)" = PONG ] && return 0
		kill -0 "$NODE" 2>/dev/null || return 1
		sleep 0.1
	done
	return 1
}
down() { # SIGNAL: it ends; 0 when in order
	kill "-$1" "$NODE" 2>/dev/null
	PIDS=()
	wait "$NODE" 2>/dev/null
}
info() { r info persistence | tr -d '\r' | sed -n "s/^$1://p"; }
# saved N: at least N snapshots were made since the start
# shellcheck disable=SC2317 # called by tap_ok
saved() {
	for _ in $(seq 300); do
		[ "$(info rdb_saves)" -ge "$1" ] && [ "$(info rdb_bgsave_in_progress)" = 0 ] && return 0
		sleep 0.1
	done
	return 1
}
sum() { # of all accounts, as they are in a snapshot
	local keys=() i
	for ((i = 0; i < ACCOUNTS; i++)); do keys+=("account:$i"); done
	virgo snapshot-read "${keys[@]}" | awk '{ s += $2 } END { print s + 0, NR }'
}
fill() { seq "$1" "$2" | sed 's/.*/SET key:& value-&/' | inside redis-cli -p 7100 --pipe > "$DIR/pipe"; }

ip netns add "$NS" && inside ip link set lo up

# ---- by command, by rules
tap_ok "a node with a data directory" up --data-dir "$DIR/data" --appendonly no
fill 1 20000
tap_is "BGSAVE" "$(r bgsave)" "Background saving started"
tap_ok "is done" saved 1
tap_is "and says so" "$(info rdb_last_bgsave_status)" ok
r set after snapshot > "$DIR/out"
down KILL
tap_ok "killed, it starts again" up --data-dir "$DIR/data" --appendonly no --save "1 5"
tap_is "with the keys of the snapshot" "$(r dbsize)" 20000
tap_is "as they were" "$(r get key:777)" value-777
tap_is "and none of later, without a log" "$(r exists after)" 0
fill 20001 20010
tap_ok "a rule saves by itself" saved 1
tap_is "SAVE" "$(r save)" OK
tap_is "two daemons in one directory: refused" "$(inside "$B/virgod" --listen 127.0.0.1:7200 --bpf off --cpu-port 0 \
	--memcache-port 0 --data-dir "$DIR/data" 2>&1 | grep -c 'another daemon has')" 1
r set last word > "$DIR/out"
tap_ok "SIGTERM saves what the rules would" down TERM
tap_ok "starts" up --data-dir "$DIR/data" --appendonly no
tap_is "with the last word" "$(r get last)" word
r set unsaved 1 > "$DIR/out"
r shutdown nosave > "$DIR/out"
down TERM
up --data-dir "$DIR/data" --appendonly no
tap_is "SHUTDOWN NOSAVE saves nothing" "$(r exists unsaved)" 0
down TERM

# ---- snapshot and log
tap_ok "with a log" up --data-dir "$DIR/both" --appendonly yes --appendfsync always
fill 1 5000
r bgrewriteaof > "$DIR/out"
for ((i = 0; i < 50; i++)); do r incr counter; done > "$DIR/out"
tap_ok "its snapshot is done" saved 1
for ((i = 0; i < 50; i++)); do r incr counter; done > "$DIR/out"
r del key:17 > "$DIR/out"
down KILL
tap_ok "killed, it starts again" up --data-dir "$DIR/both" --appendonly yes --appendfsync always
tap_is "from snapshot and log" "$(r get counter) $(r dbsize) $(r exists key:17)" "100 5000 0"

# ---- money moves, snapshots are taken
for ((i = 0; i < ACCOUNTS; i++)); do echo "SET account:$i 1000"; done | inside redis-cli -p 7100 --pipe > "$DIR/pipe"
# Each transaction takes from one and gives to another.
awk -v n=$ACCOUNTS 'BEGIN { srand(7); for (i = 0; i < 200000; i++) { a = int(rand() * n); b = int(rand() * n);
	x = int(rand() * 50); print "MULTI"; print "DECRBY account:" a, x; print "INCRBY account:" b, x; print "EXEC" } }' \
	> "$DIR/moves"
ip netns exec "$NS" redis-cli -p 7100 < "$DIR/moves" > "$DIR/moved" 2>&1 &
MOVER=$!
PIDS+=("$MOVER")
right=0
for ((i = 0; i < 10; i++)); do
	[ "$(sum)" = "$((ACCOUNTS * 1000)) $ACCOUNTS" ] && right=$((right + 1))
done
tap_is "the sum is right in every snapshot" "$right" 10
tap_ok "a backup meanwhile" virgo backup "$DIR/backup"
tap_ok "another, packed" virgo backup --compress "$DIR/packed"
tap_ok "money was moving all the time" kill -0 "$MOVER"
kill -TERM "$MOVER" 2>/dev/null
wait "$MOVER" 2>/dev/null
r save > "$DIR/out"
down KILL
for file in backup packed; do
	up --data-dir "$DIR/new-$file" --appendonly no
	tap_ok "$file: restored into an empty node" virgo restore "$DIR/$file"
	tap_is "$file: the sum is right" "$(sum) $(r dbsize)" "$((ACCOUNTS * 1000)) $ACCOUNTS $((5000 + ACCOUNTS))"
	down KILL
done

# ---- damage
mkdir "$DIR/start"
cp "$DIR/packed" "$DIR/start/snapshot.vgs"
tap_ok "a backup is a snapshot to start from" up --data-dir "$DIR/start" --appendonly no
tap_is "with all its keys" "$(r dbsize)" $((5000 + ACCOUNTS))
down KILL
printf 'damage' | dd of="$DIR/start/snapshot.vgs" bs=1 seek=3000 conv=notrunc 2> "$DIR/out"
: > "$DIR/log"
tap_ok "a damaged one is refused" eval '! up --data-dir "$DIR/start" --appendonly no'
PIDS=()
tap_is "and the place is named" "$(grep -c 'damaged at byte' "$DIR/log")" 1
tap_end
