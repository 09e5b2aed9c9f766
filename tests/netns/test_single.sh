#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# One daemon without BPF, as a new user meets it: redis-cli, redis-benchmark, hiredis, nc, and the virgo command.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
NS=vg$$-single
DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
PORT=30000
DAEMON=

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ -n "$DAEMON" ] && kill -KILL "$DAEMON" 2>/dev/null
	ip netns del "$NS" 2>/dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for a network namespace"
tap_plan 31

inside() { ip netns exec "$NS" "$@"; }
cli() { inside redis-cli -p $PORT "$@"; }
# nc leaves when the daemon closes, or a second after the last byte.
text() { printf "$@" | inside nc -q1 127.0.0.1 $PORT | tr -d '\0\r'; }

start() { # FLAG…
	# Not through a function: $! must be the daemon, not a shell around it.
	ip netns exec "$NS" "$B/virgod" --listen 127.0.0.1:$PORT --arena-size 64m --heap-size 256m --bpf off "$@" \
		2>> "$DIR/log" &
	DAEMON=$!
	for _ in $(seq 200); do
		inside bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT" 2>/dev/null && return 0
		kill -0 $DAEMON 2>/dev/null || break
		sleep 0.05
	done
	sed 's/^/# /' "$DIR/log"
	return 1
}

stop() { kill -TERM "$DAEMON"; wait "$DAEMON"; local status=$?; DAEMON=; return $status; }

ip netns add "$NS"
ip -n "$NS" link set lo up

tap_ok "starts without BPF" start
tap_is "says once that there is no fast path" "$(grep -c 'no XDP fast path' "$DIR/log")" 1
tap_is "PING" "$(cli ping)" PONG
tap_is "SET" "$(cli set k v)" OK
tap_is "GET" "$(cli get k)" v
tap_is "INCR of a word is the exact error" "$(cli incr k)" "ERR value is not an integer or out of range"
tap_is "unknown command is the exact error" "$(cli nonsense a b)" \
	"ERR unknown command 'nonsense', with args beginning with: 'a' 'b' "
tap_is "wrong arity is the exact error" "$(cli get)" "ERR wrong number of arguments for 'get' command"

head -c 300000 /dev/urandom > "$DIR/large"
tap_is "a large binary value goes in" "$(cli -x set large < "$DIR/large")" OK
cli --no-raw strlen large > "$DIR/strlen"
tap_is "its length" "$(cat "$DIR/strlen")" "(integer) 300000"
cli get large | head -c 300000 > "$DIR/back"
tap_ok "and comes back byte by byte" cmp -s "$DIR/large" "$DIR/back"

head -c 100000000 /dev/zero > "$DIR/huge"
tap_is "100 MB go in" "$(cli -x set huge < "$DIR/huge")" OK
tap_is "and are there" "$(cli strlen huge)" 100000000
cli del huge > /dev/null

tap_is "RESP3: a map is a map" "$(text 'HELLO 3\r\n' | head -c 2)" "%7"
tap_is "pipelines through redis-cli --pipe" \
	"$(for i in $(seq 1000); do printf 'SET pipe:%d %d\r\n' "$i" "$i"; done | cli --pipe | tail -1)" \
	"errors: 0, replies: 1000"
tap_is "SCAN sees them all" "$(cli --scan --pattern 'pipe:*' | sort -u | wc -l)" 1000
tap_is "inline commands" "$(text 'SET inline 1\r\nINCR inline\r\n')" $'+OK\n:2'
tap_is "expiry" "$(cli set short x px 60 >/dev/null; sleep 0.1; cli get short)" ""

token=$(text 'virgo_cloud_malloc(100)\r\n' | tr -d '\n')
tap_ok "text: malloc answers a hex token" grep -Eqx '[0-9a-f]{1,16}' <<< "$token"
tap_is "text: set answers the token" "$(text 'virgo_cloud_set(%s,hello)\r\n' "$token" | tr -d '\n')" "$token"
tap_is "text: get answers the string" "$(text 'virgo_cloud_get(%s)\r\n' "$token" | tr -d '\n')" hello
tap_is "RESP reads the same memory" "$(cli virgo.get "$token" 0 5)" hello
text 'virgo_cloud_free(%s)\r\n' "$token" > "$DIR/free"
tap_ok "text: a freed handle is an error" grep -q '^virgo_error(' <<< "$(text 'virgo_cloud_get(%s)\r\n' "$token")"
tap_is "text: a NUL-padded request of 3000 bytes" \
	"$({ printf 'virgo_cloud_malloc(8)'; head -c 2979 /dev/zero; } | inside nc -q1 127.0.0.1 $PORT | wc -c)" 500
tap_ok "HTTP is sent to the admin port" grep -q 9464 <<< "$(text 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')"

inside redis-benchmark -p $PORT -t set,get -P 16 -n 100000 -q > "$DIR/bench" 2>&1
tap_is "redis-benchmark runs through" "$(grep -c 'requests per second' "$DIR/bench")" 2
tap_ok "hiredis: sync, pipelined, binary" inside "$B/tests/netns/hiredis_client" 127.0.0.1 $PORT
tap_ok "SIGTERM ends it in order" stop

"$B/virgod" --listen 192.0.2.1 --check-config > "$DIR/refused" 2>&1
tap_is "no open door beyond loopback" "$?" 2
start --password secret
tap_is "a password is asked for" "$(cli get k)" "NOAUTH Authentication required."
tap_is "and accepted" "$(cli -a secret --no-auth-warning ping)" PONG
tap_end
