#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The agent against a real kernel: two network namespaces with a veth pair between them, and a bpffs of its own.
# shellcheck disable=SC2317 # functions are called by the trap and by tap_ok
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh

B=${B:-build}
PYTHON=/usr/bin/python3 # not one from PATH: another user must be able to run it
[ -x $PYTHON ] || PYTHON=python3
AGENT=$B/virgo-agent
TESTS=89

[ "$(id -u)" = 0 ] || tap_skip_all $TESTS "needs root"
for tool in bpftool ip jq setpriv flock python3; do
	command -v $tool >/dev/null || tap_skip_all $TESTS "needs $tool"
done

ID=$$
NODE=vga$ID PEER=vgb$ID
IF_NODE=va$ID IF_PEER=vb$ID
WORK=$(mktemp -d /tmp/virgo-agent.XXXXXX)
BPFFS=$WORK/bpf
ROOT=$BPFFS/node
RUNNING=""

cleanup() {
	[ -z "$RUNNING" ] || kill "$RUNNING" 2>/dev/null
	ip netns del "$NODE" 2>/dev/null
	ip netns del "$NODE-x" 2>/dev/null
	ip netns del "$PEER" 2>/dev/null
	umount -l "$BPFFS" 2>/dev/null
	rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

mkdir "$BPFFS" && chmod 755 "$WORK" && mount -t bpf -o mode=755 bpf "$BPFFS" || exit 1
ip netns add "$NODE" && ip netns add "$PEER" || exit 1
ip link add "$IF_NODE" netns "$NODE" type veth peer name "$IF_PEER" netns "$PEER" || exit 1
ip -n "$NODE" addr add 10.77.0.1/24 dev "$IF_NODE"
ip -n "$PEER" addr add 10.77.0.2/24 dev "$IF_PEER"
ip -n "$NODE" link set lo up
ip -n "$NODE" link set "$IF_NODE" up
ip -n "$PEER" link set "$IF_PEER" up

# Run the agent in a namespace: its standard output and error in $OUT and $ERR, its exit code in $CODE.
agent_in() {
	local netns=$1
	shift
	ip netns exec "$netns" "$AGENT" "$@" >"$WORK/out" 2>"$WORK/err"
	CODE=$?
	OUT=$(cat "$WORK/out")
	ERR=$(cat "$WORK/err")
}
agent() { agent_in "$NODE" "$@" --pin-root "$ROOT"; }
status() { ip netns exec "$NODE" "$AGENT" status --json --pin-root "$ROOT" | jq -r "$1"; }
has() { case $1 in *"$2"*) true ;; *) printf '# got %q\n' "$1"; false ;; esac; }
pins() { find "$1" -mindepth 1 | grep -c . ; }
xdp_mode() { # NETNS INTERFACE: what ip says of it
	ip -n "$1" -j -d link show "$2" | jq -r '.[0].xdp.mode // 0'
}
xdp_id() { ip -n "$1" -j -d link show "$2" | jq -r '.[0].xdp.prog.id // 0'; }
gone() { # ID...: none of these programs is in the kernel; the kernel frees them from a work queue
	local id tries
	for id; do
		for ((tries = 0; tries < 100; tries++)); do
			bpftool prog show id "$id" >/dev/null 2>&1 || break
			sleep 0.05
		done
		[ "$tries" -lt 100 ] || return 1
	done
}
little_endian64() { # NUMBER: eight bytes as bpftool reads them
	local i
	for ((i = 0; i < 8; i++)); do printf '%d ' $(($1 >> 8 * i & 255)); done
}
lease_write() { # NANOSECONDS: until when a daemon would hold the arena
	local zeros
	zeros=$(printf '0 %.0s' {1..56})
	# shellcheck disable=SC2046,SC2086 # numbers
	bpftool map update pinned "$ROOT/v2/maps/vg_local" key 0 0 0 0 value $(little_endian64 "$1") $zeros
}
monotonic_ns() { $PYTHON -c 'import time; print(time.clock_gettime_ns(time.CLOCK_MONOTONIC))'; }

tap_plan $TESTS

# ---- before anything is loaded
agent probe --json
tap_is "probe exits with 0 where everything needed is there" "$CODE" 0
tap_is "probe tries arenas" "$(jq '.[] | select(.name == "arena") | .works' <<<"$OUT")" true
agent status
tap_is "status without pins has an exit code of its own" "$CODE" 3
tap_ok "and says that nothing is loaded" has "$ERR" "nothing is loaded at $ROOT"
agent attach "$IF_NODE"
tap_is "attach without pins is refused" "$CODE" 3
agent_in "$NODE" load --pin-root "$WORK/elsewhere"
tap_is "a pin root outside a bpffs is refused" "$CODE" 5
tap_ok "with the command that helps" has "$ERR" "mount -t bpf bpf"
agent_in "$NODE" load --pin-root relative
tap_is "a relative pin root is a usage error" "$CODE" 2
agent_in "$NODE" nonsense
tap_is "an unknown command is a usage error" "$CODE" 2

# ---- load
agent load
tap_is "load" "$CODE" 0
tap_is "it is silent on standard error" "$ERR" ""
agent load
tap_is "a second load adopts" "$CODE $OUT" "0 adopted $ROOT/v2"
tap_is "the arena is an arena" "$(bpftool -j map show pinned "$ROOT/v2/maps/vg_arena" | jq -r .type)" arena
tap_is "bpftool dumps a pinned map with its fields" \
	"$(bpftool -j map dump pinned "$ROOT/v2/maps/vg_config" | jq '.[0].formatted.value.nodes')" 0
tap_is "status counts every reason" "$(status '.counters | length')" "$(grep -c '^	X(' include/virgo/reasons.h)"
tap_ok "status names three programs, and the probes" [ "$(status '.programs | length')" -ge 3 ]
tap_ok "and the verifier walked them" [ "$(status '.programs[0].verified_instructions')" -gt 0 ]
tap_is "no daemon has the lease" "$(status .lease.state)" none
tap_is "the key is never shown" \
	"$(status '[paths | map(tostring) | join(".")] | map(select(test("cluster_key"))) | length')" 0
agent status
tap_ok "the table names the programs" has "$OUT" vg_xdp_ingress

# ---- attach
for mode in native generic auto; do
	agent attach "$IF_NODE" --mode $mode
	tap_is "attach --mode $mode" "$CODE" 0
	case $mode in
	generic) expected=2 how=generic ;;
	*) expected=1 how=native ;;
	esac
	tap_ok "and says the mode it got" has "$OUT" "$IF_NODE: vg_xdp_ingress $how, vg_tc_egress tcx"
	tap_is "which is what the interface says" "$(xdp_mode "$NODE" "$IF_NODE")" $expected
	[ $mode = auto ] || agent detach "$IF_NODE"
done
agent attach "$IF_NODE"
tap_is "attaching again changes nothing" "$CODE $(status '.attachments | length')" "0 2"
agent attach "$IF_NODE" --mode generic
tap_is "another mode than the one it has is refused" "$CODE" 6
agent attach nosuch$ID
tap_is "an interface that is not there" "$CODE" 3
agent detach "$IF_NODE"
agent attach "$IF_NODE" nosuch$ID
tap_is "of several interfaces all are attached or none" "$CODE $(status '.attachments | length')" "3 0"
agent attach "$IF_NODE"
tap_is "status knows where it is attached" \
	"$(status '.attachments[] | select(.program == "vg_xdp_ingress") | .interface + " " + .mode')" "$IF_NODE native"
ip netns exec "$PEER" bash -c 'echo hello >/dev/udp/10.77.0.1/9'
tap_ok "packets pass it, and are counted" [ "$(status '[.counters[].packets] | add')" -gt 0 ]
agent_in "$PEER" attach "$IF_PEER" --role pass --pin-root "$ROOT"
tap_ok "the pass role attaches the pass program alone" has "$OUT" "$IF_PEER: vg_xdp_pass native"
tap_is "an attachment of another namespace is shown as one" \
	"$(status '[.attachments[] | select(.interface == null)] | length')" 1
agent detach "$IF_NODE"
tap_is "detach" "$CODE $(xdp_id "$NODE" "$IF_NODE")" "0 0"
agent detach "$IF_NODE"
tap_is "detaching what is not attached is said so" "$CODE" 3

# ---- the tc fallback
agent attach "$IF_NODE" --egress clsact
tap_ok "the egress program goes to clsact when asked" has "$OUT" "vg_tc_egress clsact"
tap_ok "tc shows it" has "$(tc -n "$NODE" filter show dev "$IF_NODE" egress)" vg_tc_egress
agent upgrade
tap_is "upgrade replaces it there" "$CODE" 0
tap_is "with one filter, not two" "$(tc -n "$NODE" filter show dev "$IF_NODE" egress | grep -c vg_tc_egress)" 1
agent detach "$IF_NODE"
tap_is "and detach takes it away" \
	"$CODE $(tc -n "$NODE" filter show dev "$IF_NODE" egress | grep -c vg_tc_egress)" "0 0"

# ---- somebody else's XDP program
bpftool prog load "$B/bpf/xdp_pass.bpf.o" "$BPFFS/foreign" type xdp 2>/dev/null
ip netns exec "$NODE" bpftool net attach xdpgeneric pinned "$BPFFS/foreign" dev "$IF_NODE"
foreign=$(xdp_id "$NODE" "$IF_NODE")
agent attach "$IF_NODE"
tap_is "a foreign XDP program is not replaced" "$CODE" 6
tap_ok "the message says whose place it is" has "$ERR" "already has an XDP program (id $foreign"
tap_is "and it survives" "$(xdp_id "$NODE" "$IF_NODE")" "$foreign"
tap_is "nothing of ours stayed behind" "$(status '[.attachments[] | select(.interface != null)] | length')" 0
ip netns exec "$NODE" bpftool net detach xdpgeneric dev "$IF_NODE"
rm "$BPFFS/foreign"

# ---- who may do what
agent load --daemon-user nobody
tap_is "the maps are given to the daemon's user" "$CODE $(stat -c %U "$ROOT/v2/maps/vg_arena")" "0 nobody"
chmod 700 "$BPFFS"
agent load --daemon-user nobody
tap_ok "a directory that keeps that user out is warned of" has "$ERR" "the daemon's user cannot pass $BPFFS (mode 700)"
chmod 755 "$BPFFS"
tap_is "the programs are not" "$(stat -c %U "$ROOT/v2/progs/vg_xdp_ingress")" root
cat >"$WORK/open.py" <<'PY'
import ctypes, mmap, platform, struct, sys
BPF_OBJ_GET, NUMBER = 7, {"x86_64": 321, "aarch64": 280}[platform.machine()]
path = ctypes.create_string_buffer(sys.argv[1].encode())
attributes = struct.pack("QII", ctypes.addressof(path), 0, 0)
fd = ctypes.CDLL(None, use_errno=True).syscall(NUMBER, BPF_OBJ_GET, attributes, len(attributes))
if fd < 0:
    sys.exit(f"errno {ctypes.get_errno()}")
mmap.mmap(fd, 4096)[0:8] = struct.pack("Q", 7)
PY
chmod 755 "$WORK/open.py"
tap_ok "that user opens and maps one without any right" \
	setpriv --reuid nobody --regid nogroup --clear-groups $PYTHON "$WORK/open.py" "$ROOT/v2/maps/vg_local"
tap_is "and what it writes is there" \
	"$(bpftool -j map dump pinned "$ROOT/v2/maps/vg_local" | jq '.[0].formatted.value.lease_until_ns')" 7
tap_is "an old lease has expired" "$(status .lease.state)" expired
cp "$AGENT" "$WORK/agent"
setpriv --reuid nobody --regid nogroup --clear-groups "$WORK/agent" load --pin-root "$ROOT" 2>"$WORK/err"
tap_is "without rights load has an exit code of its own" $? 4
tap_ok "and names the capabilities" has "$(cat "$WORK/err")" "missing CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"
nsenter --net="/run/netns/$NODE" setpriv --bounding-set -all,+bpf,+net_admin,+perfmon "$AGENT" attach "$IF_NODE" \
	--pin-root "$BPFFS/three" >/dev/null 2>&1
tap_is "with three capabilities it runs: nothing loaded there" $? 3
nsenter --net="/run/netns/$NODE" setpriv --bounding-set -all,+bpf,+net_admin,+perfmon "$AGENT" run "$IF_NODE" \
	--pin-root "$BPFFS/three" --admin 127.0.0.1:bad >/dev/null 2>"$WORK/err"
tap_ok "and loads and attaches with them" [ "$(xdp_mode "$NODE" "$IF_NODE")" = 1 ]
agent_in "$NODE" unload --pin-root "$BPFFS/three"
tap_is "what it made can be unloaded" "$CODE $(xdp_id "$NODE" "$IF_NODE")" "0 0"

# ---- the service
agent attach "$IF_NODE"
ip netns exec "$NODE" "$AGENT" run "$IF_NODE" --pin-root "$ROOT" --admin 127.0.0.1:9464 2>"$WORK/run.log" >/dev/null &
RUNNING=$!
get() { # PATH [METHOD]: status line and body
	# shellcheck disable=SC2016 # expanded inside
	ip netns exec "$NODE" bash -c 'exec 3<>/dev/tcp/127.0.0.1/9464 &&
		printf "%s %s HTTP/1.0\r\n\r\n" "$2" "$1" >&3 && cat <&3' sh "$1" "${2:-GET}" 2>/dev/null | tr -d '\r'
}
for ((tries = 0; tries < 100; tries++)); do
	[ -z "$(get /healthz)" ] || break
	sleep 0.05
done
tap_ok "run answers /healthz" has "$(get /healthz)" "200 OK"
metrics=$(get /metrics)
tap_ok "run answers /metrics" has "$metrics" 'virgo_packets_total{reason="not_virgo",verdict="pass"}'
tap_ok "with the interface" has "$metrics" \
	"virgo_attached{interface=\"$IF_NODE\",mode=\"native\",program=\"vg_xdp_ingress\"} 1"
tap_is "and /status in JSON" "$(get /status | sed '1,/^$/d' | jq -r .pin_root)" "$ROOT"
tap_ok "another path is not found" has "$(get /secret)" "404"
tap_ok "another method is not allowed" has "$(get /metrics DELETE)" "405"
tap_is "the service has no capability left" "$(grep CapPrm "/proc/$RUNNING/status" | cut -f2)" 0000000000000000
agent detach "$IF_NODE"
tap_ok "a program that was taken away is ill health" has "$(get /healthz)" "503"
agent attach "$IF_NODE"
kill "$RUNNING"
wait "$RUNNING"
tap_is "SIGTERM ends it well" $? 0
RUNNING=""
tap_is "and the programs stay" "$(xdp_mode "$NODE" "$IF_NODE")" 1
agent_in "$NODE" load --pin-root "$BPFFS/four"
ip netns exec "$NODE" "$AGENT" run --pin-root "$BPFFS/four" --admin 127.0.0.1:9464 2>>"$WORK/run.log" >/dev/null &
RUNNING=$!
for ((tries = 0; tries < 100; tries++)); do
	[ -z "$(get /healthz)" ] || break
	sleep 0.05
done
agent_in "$NODE" unload --pin-root "$BPFFS/four"
tap_ok "maps that were unloaded are not reported" has "$(get /metrics)" "503"
kill "$RUNNING"
wait "$RUNNING"
RUNNING=""
agent run --admin 0.0.0.0:9464
tap_is "beyond loopback is refused" "$CODE" 2

# ---- unload
lease_write $(($(monotonic_ns) + 3600000000000))
agent unload
tap_is "a living daemon is not unloaded under" "$CODE $(status .lease.state)" "6 alive"
# shellcheck disable=SC2207 # numbers
ids=($(status '.programs[].id'))
agent unload --force
tap_is "unless it is forced" "$CODE $ERR" "0 "
tap_is "no pin is left" "$(pins "$BPFFS")" "$(find "$BPFFS" -mindepth 1 -name '*.debug' | grep -c .)"
tap_ok "no program is left" gone "${ids[@]}"
tap_is "no XDP program is left, here or in the other namespace" \
	"$(xdp_id "$NODE" "$IF_NODE")$(xdp_id "$PEER" "$IF_PEER")" 00

# ---- half-way failures and layouts
mkdir -p "$ROOT/v2/maps/vg_node"
agent load
tap_is "a directory in a pin's place fails the load" "$CODE" 6
tap_is "and all of it is taken back" "$(find "$ROOT" -mindepth 1 | sort | tr '\n' ' ')" \
	"$ROOT/v2 $ROOT/v2/maps $ROOT/v2/maps/vg_node "
rmdir "$ROOT/v2/maps/vg_node"
bpftool map create "$ROOT/v2/maps/vg_config" type array key 4 value 56 entries 1 name vg_config flags 1024
agent load
tap_is "a pinned map of another size is refused" "$CODE" 7
rm "$ROOT/v2/maps/vg_config"
rmdir "$ROOT/v2/maps" "$ROOT/v2"
mkdir -p "$ROOT/v2/progs"
bpftool prog load "$B/bpf/xdp_pass.bpf.o" "$ROOT/v2/progs/vg_xdp_ingress" type xdp 2>/dev/null
agent load
tap_is "another program in the ingress program's place is refused" "$CODE" 6
rm "$ROOT/v2/progs/vg_xdp_ingress"
rmdir "$ROOT/v2/progs" "$ROOT/v2"
mkdir "$ROOT/v1"
agent load
tap_is "pins of another layout are refused" "$CODE" 7
rmdir "$ROOT/v1"
exec 9<"$ROOT"
flock 9
agent load
tap_is "another agent at work is waited for, not for ever" "$CODE" 6
exec 9<&-
rmdir "$ROOT"

# ---- a namespace that goes away with what cannot be reached from elsewhere
agent load
ip netns add "$NODE-x"
agent_in "$NODE-x" attach lo --mode generic --egress clsact --pin-root "$ROOT"
ip netns del "$NODE-x"
agent unload
tap_is "a filter of another namespace is not forgotten silently" "$CODE" 1
agent unload --force
tap_is "unless it is forced" "$CODE $(find "$BPFFS" -mindepth 1 -not -name '*.debug' | grep -c .)" "0 0"

# ---- two nodes on one machine
agent load
agent attach "$IF_NODE"
agent_in "$PEER" load --pin-root "$BPFFS/other"
agent_in "$PEER" attach "$IF_PEER" --pin-root "$BPFFS/other"
tap_is "a second node has a second arena" \
	"$(bpftool -j map show pinned "$ROOT/v2/maps/vg_arena" | jq .id)$CODE" \
	"$(bpftool -j map show pinned "$ROOT/v2/maps/vg_arena" | jq .id)0"
tap_ok "which is not the first one's" [ "$(bpftool -j map show pinned "$ROOT/v2/maps/vg_arena" | jq .id)" != \
	"$(bpftool -j map show pinned "$BPFFS/other/v2/maps/vg_arena" | jq .id)" ]
ip -n "$NODE" link del "$IF_NODE"
tap_is "an interface that went away is known to be gone" "$(status '[.attachments[] | select(.alive)] | length')" 0
agent unload
tap_is "and does not keep the node from unloading" "$CODE" 0
agent_in "$PEER" unload --pin-root "$BPFFS/other"
tap_is "the second node unloads by itself" "$CODE" 0

tap_end
