#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Three nodes with XDP, a client on the bridge: one pool through any node, steering, spread allocations, kill -9 of a
# daemon while XDP serves, warm restart.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
LAB_BUILD=${B:-build}
. scripts/lab.sh
trap lab_down EXIT

[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for network namespaces and BPF"
tap_plan 36

cli() {
	local node=$1
	shift
	lab_client redis-cli -h "$(lab_address "$node")" -p 30000 -a "$(cat "$LAB_DIR/key")" --no-auth-warning "$@"
}
virgo() {
	local node=$1
	shift
	lab_client "$LAB_BUILD/virgo" --node "$(lab_address "$node")" --key-file "$LAB_DIR/key" "$@"
}
# A counter of node I by reason name.
reason() { lab_agent "$1" status --json | jq "[.counters[] | select(.reason == \"$2\") | .packets] | add // 0"; }
# Keys in the memory of node I alone.
lab_local_keys() { virgo "$1" --json status | jq '.. | .memory? | .keys? // empty' | head -1; }

lab_up 3
tap_ok "node 0 starts with XDP" lab_start 0
tap_ok "node 1 starts with XDP" lab_start 1
tap_ok "node 2 starts with XDP" lab_start 2

tap_is "300 keys through node 0" \
	"$(for n in $(seq 300); do printf 'SET key:%d value-%d\r\n' "$n" "$n"; done | cli 0 --pipe | tail -1)" \
	"errors: 0, replies: 300"
tap_is "the pool has them" "$(cli 1 dbsize)" 300
tap_is "no node has them all" "$(for i in 0 1 2; do [ "$(lab_local_keys $i)" -lt 200 ] && echo yes; done | wc -l)" 3
tap_is "without the password nothing is told" \
	"$(printf 'GET key:1\r\n' | lab_client nc -q1 "$(lab_address 2)" 30000 | cut -c1-7)" "-NOAUTH"
tap_is "MGET over all nodes keeps the order" "$(cli 2 mget key:1 key:2 key:3 none key:299 | tr '\n' ' ')" \
	"value-1 value-2 value-3  value-299 "
tap_is "EXISTS counts over all nodes" "$(cli 1 exists key:1 key:2 key:3 key:4 none)" 4
tap_is "SCAN through one node sees the pool" "$(cli 0 --scan --pattern 'key:*' | sort -u | wc -l)" 300
tap_is "INCR through three nodes is one counter" \
	"$(cli 0 incr counter > /dev/null; cli 1 incr counter > /dev/null; cli 2 incr counter)" 3
tap_is "RENAME over nodes is refused or done, never half" \
	"$(cli 0 set '{a}x' 1 > /dev/null; cli 0 rename '{a}x' '{a}y'; cli 1 get '{a}y')" $'OK\n1'

hits=$(reason 0 hit); steered=$(reason 0 steered)
good=0
for n in $(seq 60); do [ "$(virgo 0 --no-tcp --any-node get "key:$n")" = "value-$n" ] && good=$((good + 1)); done
tap_is "60 gets over UDP by a client that knows node 0 only" "$good" 60
tap_ok "XDP of node 0 answered its own" test "$(reason 0 hit)" -gt "$hits"
tap_ok "XDP of node 0 steered the others'" test "$(reason 0 steered)" -gt "$steered"
tap_ok "XDP of node 1 answered steered requests" test "$(reason 1 hit)" -gt 0
virgo 0 --no-tcp --any-node get none > /dev/null 2>&1
tap_is "a missing key is exit code 1" "$?" 1
lab_client "$LAB_BUILD/virgo" --node "$(lab_address 0)" get key:1 > "$LAB_DIR/out" 2>&1
tap_is "a client without the key is refused with its own exit code" "$?" 4
tap_ok "and XDP has counted it" test "$(reason 0 bad_tag)" -gt 0

head -c 2000000 /dev/urandom > "$LAB_DIR/blob"
handle=$(virgo 0 malloc 2000000)
tap_ok "an allocation of 2 MB has a handle" test -n "$handle"
tap_ok "it is written through node 0" virgo 0 write "$handle" "$LAB_DIR/blob"
virgo 1 read "$handle" --output "$LAB_DIR/back" > /dev/null
tap_ok "and read through node 1, byte by byte" cmp -s "$LAB_DIR/blob" "$LAB_DIR/back"
virgo 2 read "$handle" --offset 1234567 --length 1000 --output "$LAB_DIR/part" > /dev/null
tap_ok "a range that crosses chunks" cmp -s <(tail -c +1234568 "$LAB_DIR/blob" | head -c 1000) "$LAB_DIR/part"
tap_ok "it is freed through node 2" virgo 2 free "$handle"
virgo 0 read "$handle" --output "$LAB_DIR/gone" > /dev/null 2>&1
tap_is "and gone" "$?" 1

# A daemon dies while XDP serves.
before=$(lab_local_keys 2)
lab_kill 2
sleep 1
expired=$(reason 2 no_lease)
virgo 2 --no-tcp --timeout 300ms ping > /dev/null 2>&1
tap_ok "after kill -9 and the lease, XDP answers for nobody" test "$(reason 2 no_lease)" -gt "$expired"
down=0 up=0
for n in $(seq 30); do
	case $(cli 0 get "key:$n" 2>&1) in
	*CLUSTERDOWN*) down=$((down + 1)) ;;
	value-*) up=$((up + 1)) ;;
	esac
done
tap_is "its keys answer CLUSTERDOWN, the others go on" "$((down + up))" 30
tap_ok "some of each" test "$down" -gt 0 -a "$up" -gt 0
tap_ok "the daemon starts again" lab_daemon 2
tap_ok "and has adopted the arena" grep -q 'arena adopted' "$LAB_DIR/virgod2.log"
tap_is "with every key" "$(lab_local_keys 2)" "$before"
sleep 0.5
good=0
for n in $(seq 60); do [ "$(cli 0 get "key:$n")" = "value-$n" ] && good=$((good + 1)); done
tap_is "which node 0 reaches again" "$good" 60
tap_is "FLUSHALL empties the pool" "$(cli 1 flushall; cli 0 dbsize)" $'OK\n0'

tap_ok "node 0 stops in order" lab_stop 0
tap_ok "bpftool shows the configuration by field name" \
	grep -q '"port_mem"' <(bpftool map dump pinned "$LAB_DIR/bpf1/v2/maps/vg_config" 2>/dev/null ||
		/usr/sbin/bpftool map dump pinned "$LAB_DIR/bpf1/v2/maps/vg_config")
lab_agent 0 unload > "$LAB_DIR/unload.log"
tap_is "unload leaves nothing pinned" "$(find "$LAB_DIR/bpf0" -mindepth 1 ! -name "*.debug")" ""
tap_end
