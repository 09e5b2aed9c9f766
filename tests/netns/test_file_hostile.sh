#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The file pool on one node, by hand: paths that leave the root, links, devices, numbers, frames (file_hostile.c); the
# original's text; leases, bounds, a read-only node, and what the node refuses to start with.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
NS=vg$$-file
DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
ADDRESS=127.0.0.1
ROOT=$DIR/root OUTSIDE=$DIR/outside
KEY=-
DAEMON=

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ -n "$DAEMON" ] && kill -KILL "$DAEMON" 2> /dev/null
	ip netns pids "$NS" 2> /dev/null | xargs -r kill -KILL 2> /dev/null
	ip netns del "$NS" 2> /dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for a network namespace"

inside() { ip netns exec "$NS" "$@"; }
text() { printf "$@" | inside timeout 20 nc -N "$ADDRESS" 50000 | tr -d '\r'; }
figure() { inside "$B/virgo" status --json -n "$ADDRESS" 2> /dev/null | jq "[.. | .file? | objects | .$1? // empty][0]"; }
start() { # FLAG…
	ip netns exec "$NS" "$B/virgod" --listen "$ADDRESS" --cpu-port 0 --bpf off --arena-size 16m --heap-size 128m \
		--workers 2 --file-root "$ROOT" "$@" 2>> "$DIR/log" &
	DAEMON=$!
	for _ in $(seq 200); do
		inside bash -c "exec 3<>/dev/tcp/$ADDRESS/50000" 2> /dev/null && return 0
		kill -0 $DAEMON 2> /dev/null || break
		sleep 0.05
	done
	sed 's/^/# /' "$DIR/log"
	return 1
}
stop() {
	kill -TERM "$DAEMON"
	wait "$DAEMON"
	local status=$?
	DAEMON=
	[ $status = 0 ] || { echo "# ended with $status"; sed 's/^/# /' "$DIR/log"; }
	return $status
}
refused() { "$B/virgod" --check-config "$@" 2>&1 | head -1; }
# shellcheck disable=SC2317 # called by tap_ok
figure_is() { [ "$(figure "$1")" = "$2" ]; }
# shellcheck disable=SC2317
soon() { # COMMAND…: within ten seconds
	for _ in $(seq 200); do
		"$@" && return 0
		sleep 0.05
	done
	return 1
}

# What file_hostile.c finds, each a result; and that it came to its end.
hostile() { # TITLE
	local line status
	inside timeout 240 "$B/tests/netns/file_hostile" "$ADDRESS" 50000 "$KEY" "$ROOT" "$OUTSIDE" > "$DIR/hostile"
	status=$?
	while read -r line; do
		case $line in
		"ok "*) tap_result 0 "$1: ${line#ok }" ;;
		"not ok "*) tap_result 1 "$1: ${line#not ok }" ;;
		*) echo "$line" ;;
		esac
	done < "$DIR/hostile"
	tap_is "$1: to the end" "$status" 0
}

mkdir "$ROOT" "$OUTSIDE"
printf 'what nobody outside may read' > "$OUTSIDE/secret"
outside_before=$(find "$OUTSIDE" -printf '%p %T@ %s\n')
ip netns add "$NS" && \
	ip netns exec "$NS" sysctl -qw net.ipv4.ip_local_reserved_ports=50000 && \
	inside ip link set lo up

# ---- what it does not start with ----
tap_is "a port without a directory" "$(refused --file-port 50000)" \
	"virgod: file-port needs file-root, the directory that is to be shared"
tap_is "beyond loopback without a key" "$(refused --listen 192.0.2.1 --password x --file-root "$ROOT")" \
	"virgod: refusing to open the file pool beyond loopback without a cluster key: set key-file"
inside "$B/virgod" --listen 127.0.0.1 --cpu-port 0 --bpf off --file-root "$DIR/absent" 2> "$DIR/error"
tap_ok "a directory that is not there" grep -q "file-root $DIR/absent: No such file or directory" "$DIR/error"

# ---- by hand ----
tap_ok "a node with files" start --file-memory 32m
hostile "open"
tap_is "nothing outside was touched" "$(find "$OUTSIDE" -printf '%p %T@ %s\n')" "$outside_before"
tap_ok "sessions are kept for their lease" test "$(figure sessions)" -ge 1
tap_ok "and end after it" test "$(figure sessions_ended)" -ge 2
tap_ok "no request is left behind" soon figure_is in_flight 0
tap_is "nor its memory" "$(figure memory_bytes)" 0

# ---- text ----
rm -rf "${ROOT:?}"/* && mkdir "$ROOT/dir"
tap_is "open" "$(text 'virgo_cloud_open(a.txt)\r\n')" 0
tap_is "write, from another connection" "$(text 'virgo_cloud_write(0,hello, w(or)ld,11,0)\r\n')" 11
tap_is "read" "$(text 'virgo_cloud_read(0,none,500,3)\n')" "lo, w(or"
tap_is "the file has it" "$(cat "$ROOT/a.txt")" "hello, w(or"
tap_is "numbers count up" "$(text 'virgo_cloud_open(/b.txt)\nvirgo_cloud_open(dir/c)\n' | tr '\n' ' ')" "1 2 "
tap_is "padded" "$(printf 'virgo_cloud_read(0,none,5,0)\0' | inside timeout 20 nc -N "$ADDRESS" 50000 | wc -c)" 500
tap_is "close" "$(text 'virgo_cloud_close(1)\n')" OK
tap_is "closed once" "$(text 'virgo_cloud_close(1)\n')" "virgo_error(EBADF,Bad file descriptor)"
tap_is "what was never opened" "$(text 'virgo_cloud_read(9,none,5,0)\n')" "virgo_error(EBADF,Bad file descriptor)"
tap_is "more than there is to write" "$(text 'virgo_cloud_write(0,abc,4,0)\n')" \
	"virgo_error(ERANGE,Numerical result out of range)"
tap_is "too few arguments" "$(text 'virgo_cloud_write(0,abc)\n' | cut -d, -f1)" "virgo_error(bad_request"
tap_is "a directory" "$(text 'virgo_cloud_open(dir)\n')" "virgo_error(EISDIR,Is a directory)"
tap_is "no such directory" "$(text 'virgo_cloud_open(x/y)\n')" "virgo_error(ENOENT,No such file or directory)"
tap_is "out by dots" "$(text 'virgo_cloud_open(../outside/secret)\n')" "virgo_error(EINVAL,Invalid argument)"
ln -s dir/c "$ROOT/in" && ln -s "$OUTSIDE/secret" "$ROOT/out" && ln -s ../outside/secret "$ROOT/up" &&
	ln -s ../outside/absent "$ROOT/up-absent" && ln -s /proc/self/root/etc/passwd "$ROOT/magic"
tap_is "a link within the root" "$(text 'virgo_cloud_open(in)\n')" 3
for link in out up up-absent magic; do
	tap_is "a link to outside: $link" "$(text 'virgo_cloud_open(%s)\n' $link)" \
		"virgo_error(EXDEV,Invalid cross-device link)"
done
tap_is "the memory pool's words" "$(text 'virgo_get(key)\n' | cut -d, -f1)" "virgo_error(unknown_command"
tap_ok "the node ends well" stop

# ---- text, one node of two: the other is not there ----
rm -rf "${ROOT:?}"/*
tap_ok "one node of two" start --nodes "127.0.0.1:30000/0/50000,127.0.0.2:30000/0/50000"
text "$(printf 'virgo_cloud_open(%s)\\n' a b c d e f g h)" > "$DIR/opened"
tap_ok "its own files are opened" grep -qx '[0-7]' "$DIR/opened"
tap_ok "those of the other are not" grep -qxF 'virgo_error(EHOSTDOWN,Host is down)' "$DIR/opened"
tap_is "every name is one or the other" "$(wc -l < "$DIR/opened") $(find "$ROOT" -type f | wc -l)" \
	"8 $(grep -cx '[0-7]' "$DIR/opened")"
tap_ok "the node ends well" stop

# ---- read only, under a key ----
printf '00112233445566778899aabbccddeeff\n' > "$DIR/key" && chmod 600 "$DIR/key"
echo kept > "$ROOT/kept"
KEY=$DIR/key
tap_ok "a read-only node with a key" start --file-read-only --key-file "$KEY"
tap_is "text wants the password" "$(text 'virgo_cloud_open(kept)\n' | cut -d, -f1)" "virgo_error(unauthorized"
password='virgo_auth(00112233445566778899aabbccddeeff)\n'
tap_is "and reads" "$(text "$password"'virgo_cloud_open(kept)\nvirgo_cloud_read(0,x,9,0)\n' | tr '\n' ' ')" \
	"OK 0 kept  "
tap_is "but does not write" "$(text "$password"'virgo_cloud_write(0,x,1,0)\n' | tail -1)" \
	"virgo_error(EROFS,Read-only file system)"
tap_is "nor make" "$(text "$password"'virgo_cloud_open(new)\n' | tail -1)" \
	"virgo_error(ENOENT,No such file or directory)"
before=$(find "$ROOT" -printf '%p %T@ %C@ %s\n')
inside timeout 60 "$B/tests/netns/file_hostile" "$ADDRESS" 50000 "$KEY" "$ROOT" "$OUTSIDE" read-only > "$DIR/hostile"
tap_is "every change is EROFS" "$(grep -c '^not ok' "$DIR/hostile") $(grep -c '^ok' "$DIR/hostile")" "0 12"
grep -v '^ok' "$DIR/hostile"
tap_is "and none was made" "$(find "$ROOT" -printf '%p %T@ %C@ %s\n')" "$before"
tap_ok "the node ends well" stop
tap_ok "a node with a key" start --key-file "$KEY" --file-memory 32m
hostile "keyed"
tap_ok "the node ends well" stop

tap_plan "$TAP_NUMBER"
exit $TAP_FAILED
