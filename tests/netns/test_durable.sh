#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# A daemon with a data directory, as a person meets it: restarts, settings, a log that is torn or damaged, a full disk.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for a network namespace and a small tmpfs"

# Everything below runs in a namespace of its own: its ports and mounts are nobody else's, and go with it.
if [ "${VG_DURABLE_INSIDE:-}" != yes ]; then
	VG_DURABLE_INSIDE=yes exec unshare --net --mount -- "$0"
fi
ip link set lo up
B=${B:-build}
FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/vg-durable-XXXXXX")
DATA=$FOLDER/data
LOG=$FOLDER/virgod.log
DAEMON=

# shellcheck disable=SC2317 # called by the trap
clean_up() {
	[ -z "$DAEMON" ] || kill -9 "$DAEMON" 2>/dev/null
	wait 2>/dev/null
	mountpoint -q "$FOLDER/full" && umount "$FOLDER/full"
	rm -rf "$FOLDER"
}
trap clean_up EXIT

cli() { redis-cli -p 30000 "$@" 2>&1; }
info() { cli info persistence | tr -d '\r' | sed -n "s/^$1://p"; }
# start DIRECTORY OPTION…: true when it answers
start() {
	local directory=$1
	shift
	"$B/virgod" --listen 127.0.0.1:30000 --bpf off --data-dir "$directory" --workers 2 --arena-size 16m --heap-size 64m \
		--connections 64 --log-segment-size 1m "$@" >> "$LOG" 2>&1 &
	DAEMON=$!
	for _ in $(seq 300); do
		[ "$(cli ping)" = PONG ] && return 0
		kill -0 "$DAEMON" 2>/dev/null || break
		sleep 0.1
	done
	DAEMON=
	tail -2 "$LOG" | sed 's/^/# /'
	return 1
}
stop() { # SIGNAL
	kill "-$1" "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	DAEMON=
	# What a killed ring held is let go a moment after its process has gone.
	for _ in $(seq 100); do
		ss -Hlnu 'sport = :30000' | grep -q . || return 0
		sleep 0.1
	done
}
fails_to_start() { ! start "$@"; }
fill() { # FIRST LAST
	local i
	for ((i = $1; i <= $2; i++)); do printf 'SET key%d value%d\r\n' "$i" "$i"; done | cli > /dev/null
}
flip() { # FILE OFFSET: one byte becomes another
	printf '\xa5' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
offset_of() { # CHANGE: where its record begins
	"$B/virgo" check-log --records "$DATA" | awk -v n="$1" '$3 == n && $4 == "set" { print $2 }'
}

# ---- over restarts ----
tap_ok "it starts with a data directory" start "$DATA" --appendfsync always
fill 1 100
cli mset pair:a 1 pair:b 2 > /dev/null
cli set mortal 1 px 50 > /dev/null
cli set later 1 ex 1000 > /dev/null
cli del key7 > /dev/null
tap_is "the log is what INFO says" "$(info aof_enabled) $(info aof_last_write_status) $(info virgo_log_fsync)" "1 ok always"
tap_is "every change is on the disk" "$(info virgo_log_durable)" "$(info virgo_log_sequence)"
stop KILL
tap_ok "it starts after kill -9" start "$DATA" --appendfsync always
tap_is "all is there" "$(cli mget key1 key100 key7 pair:a pair:b mortal | tr '\n' ,)" "value1,value100,,1,2,,"
tap_is "deadlines too" "$(cli ttl later | grep -cE '^(99[0-9]|1000)$')" 1
"$B/virgod" --listen 127.0.0.1:30001 --bpf off --data-dir "$DATA" > "$FOLDER/out" 2>&1
tap_is "one daemon has the directory" "$(grep -c 'another daemon' "$FOLDER/out")" 1

# ---- settings ----
tap_is "appendfsync is a setting" "$(cli config get appendfsync | tail -1)" always
tap_is "and can be set" "$(cli config set appendfsync everysec)" OK
tap_is "to what there is" "$(cli config set appendfsync sometimes | grep -c '^ERR CONFIG SET failed')" 1
cli set under everysec > /dev/null
tap_is "it is in force" "$(info virgo_log_fsync)" everysec
stop TERM

# ---- what check-log says ----
tap_is "the log is whole" "$("$B/virgo" check-log "$DATA" | tail -1)" "the log is whole"
tap_is "as JSON" "$("$B/virgo" check-log --json "$DATA" | jq -r '.end + " " + (.kinds.transaction | tostring)')" "whole 1"
FIRST=$(find "$DATA" -name 'log-*.vgl' | sort | head -1)
tap_is "one file alone" "$("$B/virgo" check-log "$FIRST" | tail -1)" "the log is whole"
tap_is "every record by name" "$("$B/virgo" check-log --records "$DATA" | grep -c 'set "key5" bytes=6')" 1
"$B/virgo" check-log "$FOLDER/nothing" 2> /dev/null
tap_is "no such file" $? 5
cp -r "$DATA" "$FOLDER/good"
"$B/virgo" check-log --json --records "$DATA" | jq -r '.list[-1] | "\(.file) \(.offset)"' > "$FOLDER/out"
read -r NUMBER SIZE < "$FOLDER/out"
truncate -s $((SIZE + 5)) "$DATA/$(printf 'log-%010d.vgl' "$NUMBER")"
tap_is "a torn end" "$("$B/virgo" check-log "$DATA" > "$FOLDER/out"; echo "$? $(tail -1 "$FOLDER/out" | cut -c1-5)")" "0 torn:"
tap_ok "is cut at the start" start "$DATA"
tap_is "and said" "$(grep -c 'the torn end of the log was cut' "$LOG")" 1
stop TERM

# ---- damage ----
rm -rf "$DATA" && cp -r "$FOLDER/good" "$DATA"
AT=$(offset_of 50)
flip "$FIRST" $((AT + 30))
"$B/virgo" check-log --json "$DATA" > "$FOLDER/out"
tap_is "damage in the middle: exit code" $? 1
tap_is "and place" "$(jq -r '"\(.end) \(.offset) \(.expected)"' "$FOLDER/out")" "corrupt $AT 50"
tap_ok "the daemon does not start on it" fails_to_start "$DATA"
tap_is "and says where" "$(grep -c "is damaged at byte $AT: change 50" "$LOG")" 1
tap_ok "unless told to" start "$DATA" --repair-log
tap_is "then what was before is there" "$(cli mget key49 key50 | tr '\n' ,)" "value49,,"
tap_is "and the damaged file is kept" "$(find "$DATA" -name '*.damaged' | wc -l)" \
	"$(find "$FOLDER/good" -name 'log-*.vgl' -size +0 | wc -l)"
stop TERM
tap_is "what remains is whole" "$("$B/virgo" check-log "$DATA" | tail -1)" "the log is whole"

# ---- a full disk ----
mkdir "$FOLDER/full"
mount -t tmpfs -o size=3m tmpfs "$FOLDER/full"
tap_ok "it starts on a small disk" start "$FOLDER/full/data" --appendfsync always
cli set readable yes > /dev/null
dd if=/dev/zero of="$FOLDER/full/ballast" bs=64k status=none 2>/dev/null
VALUE=$(head -c 60000 /dev/zero | tr '\0' v)
for ((i = 0; i < 100; i++)); do
	ANSWER=$(cli set "big$i" "$VALUE")
	[ "$ANSWER" = OK ] || break
done
tap_is "a write is refused when it is full" "$(cli set one 1)" "MISCONF Errors writing to the log: No space left on device"
tap_is "binary, too" "$("$B/virgo" set one 1 2>&1 | grep -c 'refuse')" 1
tap_is "and text" "$(printf 'virgo_set(one,1)\r\n' | timeout 5 nc -q 1 127.0.0.1 30000 | grep -c not_logged)" 1
printf 'set one 0 0 1\r\n1\r\nquit\r\n' | timeout 5 nc -q 1 127.0.0.1 30000 | tr -d '\r' > "$FOLDER/out"
tap_is "and memcached's" "$(cat "$FOLDER/out")" \
	"SERVER_ERROR Errors writing to the log: No space left on device"
tap_is "reads go on" "$(cli get readable)" yes
tap_is "INFO says so" "$(info aof_last_write_status)" err
rm "$FOLDER/full/ballast"
mount -o remount,size=64m "$FOLDER/full"
for _ in $(seq 100); do
	[ "$(cli set after room)" = OK ] && break
	sleep 0.1
done
tap_is "with room again it is written again" "$(cli get after) $(info aof_last_write_status)" "room ok"
KEYS=$(cli dbsize)
stop KILL
tap_ok "and all of it comes back" start "$FOLDER/full/data" --appendfsync always
tap_is "what was refused is not in it, what was answered is" "$(cli get one) $(cli get after) $(cli dbsize)" " room $KEYS"
stop TERM
tap_plan "$TAP_NUMBER"
tap_end
