#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# memcached's clients on a cluster of two: libmemcached's tools, pymemcache, bare TCP and UDP; redis-cli beside them; and a
# node whose get over UDP is answered by XDP.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
LAB_BUILD=${B:-build} LAB_VIRGOD_FLAGS="--key-file= --insecure --memcache-port 11211 --memcache-udp"
. scripts/lab.sh
B=${B:-build}
NS=vg$$-mc
DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
PIDS=()

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ ${#PIDS[@]} = 0 ] || { kill -TERM "${PIDS[@]}" && wait "${PIDS[@]}"; } 2>/dev/null
	ip netns del "$NS" 2>/dev/null
	lab_down
	rm -rf "$DIR"
}
trap cleanup EXIT

TESTS=26
[ "$(id -u)" = 0 ] || tap_skip_all $TESTS "needs root for a network namespace"
command -v memccp > "$DIR/path" || tap_skip_all $TESTS "libmemcached-tools is not installed"
command -v jq > "$DIR/path" || tap_skip_all $TESTS "needs jq"
tap_plan $TESTS

inside() { ip netns exec "$NS" "$@"; }

ip netns add "$NS"
ip -n "$NS" link set lo up
for node in 1 2; do
	ip netns exec "$NS" "$B/virgod" --listen "127.0.0.$node:30000" --nodes 127.0.0.1:30000,127.0.0.2:30000 \
		--memcache-port 11211 --memcache-udp --arena-size 64m --heap-size 256m --workers 1 --bpf off \
		> "$DIR/out$node" 2>> "$DIR/log" &
	PIDS+=($!)
done
up() {
	for _ in $(seq 400); do
		inside bash -c "exec 3<>/dev/tcp/$1/11211" 2>/dev/null && return 0
		sleep 0.05
	done
	sed 's/^/# /' "$DIR/log"
	return 1
}
tap_ok "two nodes are there" eval 'up 127.0.0.1 && up 127.0.0.2'

SERVER=--servers=127.0.0.1:11211
tap_ok "memcping" inside memcping $SERVER
head -c 200000 /dev/urandom | base64 > "$DIR/large"
echo "a small file" > "$DIR/small"
tap_ok "memccp stores files" inside memccp $SERVER --flag=42 "$DIR/small" "$DIR/large"
inside memccat --servers=127.0.0.2:11211 --file="$DIR/got" large
tap_ok "memccat reads a large one at the other node" cmp "$DIR/got" "$DIR/large"
tap_is "client flags are kept" "$(printf 'mg small f\r\nmn\r\n' | inside nc -q1 127.0.0.2 11211 | head -1 | tr -d '\r')" "HD f42"
tap_ok "memcexist" inside memcexist $SERVER small
tap_ok "memctouch" inside memctouch $SERVER --expire=100 small
tap_ok "memcrm" inside memcrm $SERVER small
tap_ok "memcstat shows what memcached's dashboards read" eval \
	'inside memcstat $SERVER | tr -d "\t " > "$DIR/stats" &&
		[ "$(grep -c -e ^cmd_set: -e ^get_hits: -e ^curr_items: "$DIR/stats")" = 3 ]'
tap_ok "memcslap runs through" eval "inside memcslap $SERVER --concurrency=4 --execute-number=500 --test=set > $DIR/slap"

# The distribution's own python has the distribution's packages.
tap_ok "pymemcache: values, many, cas, counters, flags, expiry" inside /usr/bin/python3 - <<'PYTHON'
from pymemcache.client.base import Client

client = Client(("127.0.0.1", 11211), timeout=20)
other = Client(("127.0.0.2", 30000), timeout=20)
assert client.set("key", b"value", noreply=False)
assert other.get("key") == b"value"
keys = {f"many{i}": str(i).encode() * 9 for i in range(300)}
assert not client.set_many(keys, noreply=False)
assert other.get_many(list(keys) + ["absent"]) == keys
value, unique = client.gets("key")
assert client.cas("key", b"changed", unique, noreply=False) is True
assert client.cas("key", b"again", unique, noreply=False) is False
assert client.cas("absent", b"x", unique, noreply=False) is None
assert client.set("n", b"10", noreply=False)
assert other.incr("n", 5) == 15 and client.decr("n", 20) == 0
assert client.add("n", b"1", noreply=False) is False and client.replace("absent", b"1", noreply=False) is False
assert client.append("key", b"!", noreply=False) and client.prepend("key", b">", noreply=False)
assert other.get("key") == b">changed!"
assert client.touch("key", 100, noreply=False) and client.delete("key", noreply=False)
assert client.get("key") is None
assert client.set("gone", b"x", expire=-1, noreply=False) and client.get("gone") is None
assert client.version().startswith(b"1.6")
assert client.stats()[b"curr_items"] > 0
assert client.flush_all(noreply=False) and other.get_many(list(keys)) == {}
PYTHON

tap_ok "libvirgo: many keys at once, compare-and-set" inside "$B/tests/netns/many_keys" 127.0.0.1,127.0.0.2
version=$(inside "$B/virgo" --node 127.0.0.2 cas fresh 0 first)
tap_is "virgo cas KEY prints the version" "$(inside "$B/virgo" --node 127.0.0.1 cas fresh)" "$version"
inside "$B/virgo" --node 127.0.0.1 cas fresh "$version" second > "$DIR/second"
inside "$B/virgo" --node 127.0.0.1 cas fresh "$version" third > "$DIR/third" 2>&1
tap_is "and an old version changes nothing" "$? $(inside "$B/virgo" --node 127.0.0.1 get fresh)" "1 second"

text() { printf "$@" | inside nc -q1 127.0.0.1 30000 | tr -d '\r'; }
tap_is "the port of all protocols knows it by its first line" "$(text 'set k 5 0 3\r\nabc\r\nget k\r\nquit\r\n')" \
	$'STORED\nVALUE k 5 3\nabc\nEND'
tap_is "a meta command as the first" "$(text 'mg k v f\r\nmn\r\n')" $'VA 3 f5\nabc\nMN'
tap_is "redis-cli reads what memcached's client wrote" "$(inside redis-cli -c -h 127.0.0.1 -p 30000 get k)" abc

udp() { # ADDRESS LINE: what answers, without its frame header
	"${FROM:-inside}" python3 - "$1" "$2" <<'PYTHON'
import socket
import sys

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect((sys.argv[1], 11211))
s.send(b"\x12\x34\0\0\0\1\0\0" + sys.argv[2].encode() + b"\r\n")
try:
    answer = s.recv(2000)
    assert answer[:8] == b"\x12\x34\0\0\0\1\0\0"
    print(answer[8:].decode().replace("\r\n", "|"))
except socket.timeout:
    print("nothing")
PYTHON
}
owner=127.0.0.1
inside bash -c "exec 3<>/dev/tcp/127.0.0.1/11211" && [ "$(udp 127.0.0.1 'get k')" = "ERROR|" ] && owner=127.0.0.2
tap_is "get over UDP" "$(udp $owner 'get k')" "VALUE k 5 3|abc|END|"
tap_is "UDP changes nothing" "$(udp $owner 'set k 0 0 1')" "ERROR|"

yes 'x' | tr -d '\n' | head -c 200000 | inside timeout 20 nc -q1 127.0.0.1 11211 > "$DIR/hostile"
tap_is "an endless line is cut off" "$(wc -c < "$DIR/hostile")" 0
head -c 300000 /dev/urandom | inside timeout 20 nc -q1 127.0.0.1 11211 > "$DIR/hostile"
tap_ok "and noise; the node goes on" inside memcping $SERVER

# A node that XDP answers for, asked from another machine.
counted() { lab_agent 0 status --json | jq "[.counters[] | select(.reason == \"$1\")][0].packets"; }
lab_up 1
tap_ok "a node with XDP" lab_start 0
NODE=$(lab_address 0)
printf 'set k 5 0 3\r\nabc\r\nquit\r\n' | lab_client nc -q1 "$NODE" 11211 > "$DIR/set"
FROM=lab_client
tap_is "get over UDP with room for the value" "$(udp "$NODE" 'get k                ')" "VALUE k 5 3|abc|END|"
tap_is "and of what is not there" "$(udp "$NODE" 'get l')" "END|"
tap_is "both came from XDP" "$(counted memcache_hit) $(counted memcache_miss)" "1 1"
tap_is "what does not fit is the daemon's to refuse" "$(udp "$NODE" 'get k') $(counted no_room)" "ERROR| 1"
tap_end
