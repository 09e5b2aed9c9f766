#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Upgrades while requests that only XDP answers are under way: not one is lost, the data stays, and a failure changes
# nothing. First pings without a daemon, so that nobody else could have answered; then GETs of what a daemon stores.
# shellcheck disable=SC2317 # functions are called by the trap and by tap_ok
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh

B=${B:-build}
AGENT=$B/virgo-agent
FLOOD=$B/tests/netns/agent_flood
UPGRADES=10

[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root"
for tool in bpftool ip jq setpriv nsenter; do
	command -v $tool >/dev/null || tap_skip_all 1 "needs $tool"
done

ID=$$
NODE=vgu$ID PEER=vgv$ID
IF_NODE=vu$ID IF_PEER=vv$ID
WORK=$(mktemp -d /tmp/virgo-upgrade.XXXXXX)
BPFFS=$WORK/bpf
ROOT=$BPFFS/node
RUNNING=""
DAEMON=""
VALUE=apple-pear-plum-cherry-quince-medlar-fig-date-olive-grape-melon-1

cleanup() {
	[ -z "$RUNNING" ] || kill "$RUNNING" 2>/dev/null
	[ -z "$DAEMON" ] || kill -KILL "$DAEMON" 2>/dev/null
	ip netns del "$NODE" 2>/dev/null
	ip netns del "$PEER" 2>/dev/null
	umount -l "$BPFFS" 2>/dev/null
	rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

mkdir "$BPFFS" && chmod 755 "$WORK" && mount -t bpf -o mode=755 bpf "$BPFFS" || exit 1
ip netns add "$NODE" && ip netns add "$PEER" || exit 1
ip link add "$IF_NODE" netns "$NODE" type veth peer name "$IF_PEER" netns "$PEER" || exit 1
ip -n "$NODE" addr add 10.78.0.1/24 dev "$IF_NODE"
ip -n "$PEER" addr add 10.78.0.2/24 dev "$IF_PEER"
ip -n "$NODE" link set "$IF_NODE" up
ip -n "$PEER" link set "$IF_PEER" up

agent() {
	ip netns exec "$NODE" "$AGENT" "$@" --pin-root "$ROOT" >"$WORK/out" 2>"$WORK/err"
	CODE=$?
	[ $CODE = 0 ] || sed 's/^/# /' "$WORK/err"
}
status() { ip netns exec "$NODE" "$AGENT" status --json --pin-root "$ROOT" | jq -r "$1"; }
programs() { status '[.programs[] | select(.name | test("^vg_(xdp|tc)_")) | .id] | map(tostring) | join(" ")'; }
attached() { status '[.attachments[].program_id] | sort | map(tostring) | join(" ")'; }
counted() { status ".counters[] | select(.reason == \"$1\") | .packets"; }
map_id() { bpftool -j map show pinned "$ROOT/v2/maps/$1" | jq .id; }

tap_plan 30

agent load
tap_is "load" "$CODE" 0
agent attach "$IF_NODE" --mode native
tap_is "attach" "$CODE" 0
# A veth delivers what XDP transmits only to a peer that runs XDP too.
ip netns exec "$PEER" "$AGENT" attach "$IF_PEER" --role pass --pin-root "$ROOT" >/dev/null
tap_is "attach the peer's pass program" $? 0
tap_ok "a daemon's lease" "$FLOOD" lease "$ROOT/v2/maps" 600
read -r sent lost < <(ip netns exec "$PEER" "$FLOOD" flood 10.78.0.1 1 8)
tap_ok "XDP answers pings" [ "$sent" -gt 1000 ]
tap_is "all of them" "$lost" 0

# Keep requests under way while upgrades go on: sets failures, sent and lost.
upgrade_under() { # FLOOD-ARGUMENT...
	local i
	ip netns exec "$PEER" "$FLOOD" flood 10.78.0.1 120 16 "$@" >"$WORK/flood" &
	RUNNING=$!
	failures=0
	for ((i = 0; i < UPGRADES; i++)); do
		agent upgrade
		[ "$CODE" = 0 ] || failures=$((failures + 1))
		sleep 0.1
	done
	tap_ok "requests are still under way after $UPGRADES upgrades" kill -TERM "$RUNNING"
	wait "$RUNNING"
	RUNNING=""
	read -r sent lost <"$WORK/flood"
	echo "# $sent requests"
	tap_is "all upgrades went well" $failures 0
	tap_is "not one request was lost" "$lost" 0
}

before=$(programs)
arena=$(map_id vg_arena)
upgrade_under
tap_ok "other programs are attached now" [ "$(programs)" != "$before" ]
tap_is "those that are pinned" "$(attached)" "$(programs | tr ' ' '\n' | sort -n | tr '\n' ' ' | sed 's/ $//')"
tap_is "the arena is the same one" "$(map_id vg_arena)" "$arena"
tap_ok "the counters went on" [ "$(counted ping)" -ge "$sent" ]
tap_is "nothing of the upgrade is left" "$(find "$ROOT" -name '*next*' | grep -c .)" 0

# An upgrade that fails half-way: somebody has taken the program off the link behind the agent's back.
before=$(programs)
link=$(find "$ROOT/v2/links" -name 'native_*' | head -n 1)
bpftool prog load "$B/bpf/xdp_pass.bpf.o" "$BPFFS/foreign" type xdp 2>/dev/null
"$FLOOD" update "$link" "$BPFFS/foreign"
ip netns exec "$NODE" "$AGENT" upgrade --pin-root "$ROOT" >/dev/null 2>"$WORK/err"
tap_is "an upgrade over a foreign program is refused" $? 6
tap_is "and the pinned programs stay" "$(programs)" "$before"
tap_is "what was switched already is switched back" \
	"$(status '.attachments[] | select(.mode == "tcx") | .program_id')" \
	"$(status '.programs[] | select(.name == "vg_tc_egress") | .id')"
"$FLOOD" update "$link" "$ROOT/v2/progs/vg_xdp_ingress"

# What an agent that was killed in the middle of an upgrade leaves: new programs in progs_next, one of them attached.
mkdir "$ROOT/v2/progs_next"
interrupted=$ROOT/v2/progs_next/vg_xdp_pass
bpftool prog load "$B/bpf/xdp_pass.bpf.o" "$interrupted" type xdp 2>/dev/null
peer_link=$(find "$ROOT/v2/links" -name 'native_*' | grep -v "^$link$")
"$FLOOD" update "$peer_link" "$interrupted"
agent upgrade
tap_is "an upgrade after an interrupted one" "$CODE" 0
tap_is "ends with the pinned programs attached" "$(attached)" \
	"$(programs | tr ' ' '\n' | sort -n | tr '\n' ' ' | sed 's/ $//')"
agent unload --force
tap_is "unload" "$CODE" 0

# ---- with a daemon, which has no privileges at all
agent load --daemon-user nobody
# As if an agent had pinned them that did not have these yet.
rm "$ROOT/v2/maps/vg_cpu_figures" "$ROOT/v2/maps/vg_file_figures"
tap_is "pins that lack what only tells figures will do" \
	"$(status '[.maps[] | select(.name == "vg_pool" or .name == "vg_cpu_figures") | .name] | join(" ")')" vg_pool
agent attach "$IF_NODE" --mode native
ip netns exec "$PEER" "$AGENT" attach "$IF_PEER" --role pass --pin-root "$ROOT" >/dev/null
cp "$B/virgod" "$WORK/virgod"
nsenter --net="/run/netns/$NODE" setpriv --reuid nobody --regid nogroup --clear-groups "$WORK/virgod" \
	--listen 10.78.0.1 --insecure --pin-root "$ROOT" --bpf require --arena-size 64m --heap-size 128m --workers 1 \
	2>"$WORK/virgod.log" &
DAEMON=$!
resp() { # REQUEST: the first line of the answer
	# shellcheck disable=SC2016 # expanded inside
	ip netns exec "$PEER" bash -c 'exec 3<>/dev/tcp/10.78.0.1/30000 && printf "%s\r\n" "$1" >&3 && head -n 1 <&3' \
		sh "$1" 2>/dev/null | tr -d '\r'
}
for ((tries = 0; tries < 200; tries++)); do
	[ "$(resp PING)" != +PONG ] || break
	sleep 0.05
done
tap_is "a daemon without privileges serves from the maps" "$(resp "SET fruit $VALUE")" +OK
hits=$(counted hit)
upgrade_under fruit "$VALUE"
# What XDP passes up (a writer in the bucket, its budget used up) the daemon answers.
tap_ok "XDP answered nearly all of them" [ $((($(counted hit) - hits) * 100)) -ge $((sent * 99)) ]
tap_is "the maps that were missing are there, for the daemon's user" \
	"$(stat -c %U "$ROOT/v2/maps/vg_cpu_figures" "$ROOT/v2/maps/vg_file_figures" | tr '\n' ' ')" "nobody nobody "
agent unload
tap_is "a living daemon is not unloaded under" "$CODE" 6
kill -TERM "$DAEMON"
wait "$DAEMON"
tap_is "the daemon ends well" $? 0
DAEMON=""
agent unload
tap_is "then the agent unloads" "$CODE" 0

tap_end
