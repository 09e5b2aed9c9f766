#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The virgo command and the examples against a daemon without BPF: results, JSON, exit codes, large ranges, load and
# verify.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
NS=vg$$-cli
DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
DAEMON=

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ -n "$DAEMON" ] && kill -KILL "$DAEMON" 2>/dev/null && wait "$DAEMON" 2>/dev/null
	ip netns del "$NS" 2>/dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for a network namespace"
tap_plan 47

inside() { ip netns exec "$NS" "$@"; }
virgo() { inside "$B/virgo" "$@" 2> "$DIR/err"; }
# What a command prints and what it ends with.
said() {
	local out
	out=$(virgo "$@")
	echo "$out/$?"
}
json() { virgo --json "$@" | jq -c "$FILTER"; }

start() { # FLAG…
	ip netns exec "$NS" "$B/virgod" --listen 127.0.0.1:30000 --arena-size 64m --heap-size 256m --bpf off "$@" \
		2>> "$DIR/log" &
	DAEMON=$!
	for _ in $(seq 400); do
		inside bash -c "exec 3<>/dev/tcp/127.0.0.1/30000" 2>/dev/null && return 0
		kill -0 $DAEMON 2>/dev/null || break
		sleep 0.05
	done
	sed 's/^/# /' "$DIR/log"
	return 1
}
stop() { kill -TERM "$DAEMON"; wait "$DAEMON"; DAEMON=; }

ip netns add "$NS"
ip -n "$NS" link set lo up

# ---- nobody there

tap_is "without a node: unreachable" "$(said get k)" /3
tap_ok "and it says where, and what to try" grep -q '127.0.0.1:30000.*is virgod running' "$DIR/err"
tap_is "the same as JSON" "$(FILTER='[.ok, .error.name]' json get k)" '[false,"EHOSTUNREACH"]'
tap_is "no command: usage" "$(said)" /2
tap_is "unknown command: usage" "$(said nonsense)" /2
tap_is "unknown option: usage" "$(said get --nonsense k)" /2
tap_is "too few arguments: usage" "$(said set k)" /2
tap_is "a node that is none: usage" "$(said --node 127.0.0.1:x get k)" /2
tap_ok "help of every command" bash -c "for c in \$($B/virgo --help | awk '/^  [a-z]+ / { print \$1 }'); do
	$B/virgo \$c --help | grep -q 'virgo '\$c || exit 1; done"

# ---- keys

tap_ok "the daemon starts" start
tap_is "set" "$(said set k hello)" /0
tap_is "get" "$(said get k)" hello/0
tap_is "get as JSON" "$(FILTER='[.ok, .value, .length]' json get k)" '[true,"hello",5]'
tap_is "get of nothing" "$(said get none)" /1
tap_is "set --nx of a key that exists" "$(said set k x --nx)" /1
tap_is "set --xx of one that does not" "$(said set none x --xx)" /1
tap_is "set --ex: there" "$(said set brief x --ex 300ms; said get brief)" /0$'\n'x/0
sleep 0.4
tap_is "set --ex: gone" "$(said get brief)" /1
tap_is "del" "$(said del k)" /0
tap_is "del of nothing" "$(said del k)" /1
tap_is "bytes that are no text, as JSON" \
	"$(printf '\377\000' | virgo set bytes - && FILTER=.value_hex json get bytes)" '"ff00"'
head -c 3000000 /dev/urandom > "$DIR/large"
virgo set large - < "$DIR/large"
tap_ok "a large value, byte by byte" cmp -s <(virgo get large) "$DIR/large"
virgo get large --output "$DIR/back"
tap_ok "into a file" cmp -s "$DIR/back" "$DIR/large"
tap_is "over TCP alone" "$(virgo --no-udp set k tcp; said --no-udp get k)" tcp/0
tap_is "over UDP alone" "$(virgo --no-tcp set k udp; said --no-tcp get k)" udp/0
tap_is "what no datagram holds, over UDP alone" "$(said --no-tcp get large)" /5

# ---- memory

handle=$(virgo malloc 5m)
tap_ok "malloc prints 16 hex digits" grep -qE '^[0-9a-f]{16}$' <<< "$handle"
tap_is "write" "$(said write "$handle" "$DIR/large" --offset 1000)" /0
tap_ok "read of a part" cmp -s <(virgo read "$handle" --offset 1000 --length 3000000) "$DIR/large"
tap_is "read of all" "$(virgo read "$handle" | wc -c)" 5242880
tap_is "write beyond the end" "$(said write "$handle" "$DIR/large" --offset 4m)" /5
tap_is "free" "$(said free "$handle")" /0
tap_is "free again: gone" "$(said free "$handle")" /1
tap_is "not a handle: usage" "$(said read xyz)" /2

# ---- many keys

mkdir -p "$DIR/doc/sub"
cp README.md LICENSES/*.txt "$DIR/doc" 2> /dev/null
: > "$DIR/doc/empty"
cp "$DIR/large" "$DIR/doc/sub/large"
files=$(find "$DIR/doc" -type f | wc -l)
tap_ok "load of a folder" grep -q "^loaded $files/$files" <(virgo load --prefix doc: "$DIR/doc")
tap_is "verify" "$(said verify --prefix doc: "$DIR/doc")" "verified $files/$files/0"
tap_is "names are paths below the folder" "$(virgo get doc:sub/large | cmp - "$DIR/large" && echo same)" same
echo x >> "$DIR/doc/empty"
tap_is "a difference is found" "$(said verify --prefix doc: "$DIR/doc")" "verified $((files - 1))/$files/1"
tap_is "lines, with and without values" \
	"$(printf 'a\tfirst\nb\n\n' | virgo load - > /dev/null; said get a; said get b)" first/0$'\n'b/0
tap_ok "20000 lines" grep -q 'verified 20000/20000' <(seq 20000 > "$DIR/seq"; virgo load --prefix n: "$DIR/seq" > /dev/null
	virgo verify --prefix n: "$DIR/seq")

# ---- nodes

tap_is "ping" "$(FILTER='[.ok, .node]' json ping)" '[true,"127.0.0.1:30000"]'
tap_is "status counts the keys" "$(FILTER='.nodes[0].status.memory.keys' json status)" "$(virgo command dbsize)"
tap_is "command: an error of the pool" "$(said command incr a)" /5
tap_is "bench finds no wrong value" "$(FILTER='[.ok, .errors, .wrong, .misses]' json bench --seconds 1 --keys 500)" '[true,0,0,0]'
tap_ok "the examples run" bash -c "{ ip netns exec $NS $B/examples/kv && ip netns exec $NS $B/examples/pool; } > $DIR/out"

# ---- a cluster key

stop
echo 00112233445566778899aabbccddeeff > "$DIR/key"
chmod 600 "$DIR/key"
start --key-file "$DIR/key" || echo "# the daemon did not start with a key"
tap_is "without the key: refused" "$(said get k)" /4
tap_is "with it" "$(virgo --key-file "$DIR/key" set k keyed; said --key-file "$DIR/key" get k)" keyed/0
exit "$TAP_FAILED"
