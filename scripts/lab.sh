# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# A laboratory of whole nodes on one machine, for the demo and the namespace tests: each node in a network namespace of
# its own with a bpffs of its own, a client, and a bridge between them. Source it, call lab_up, use the rest, and
# lab_down in a trap. Everything carries a name with the shell's PID, so two laboratories do not meet.
#
#   LAB_BUILD    the build folder
#   lab_up N     namespaces and links for N nodes and a client
#   lab_node I   run a command on node I;    lab_client runs it on the client
#   lab_start I  agent and daemon of node I; LAB_VIRGOD_FLAGS has further flags, LAB_XDP=no leaves BPF out,
#                LAB_FILES=yes gives it a file pool on LAB_DIR/filesI
#   lab_slow I PERCENT   before lab_start: the node and its jobs get so much of one processor, or, where there is no
#                        cgroup for it, run with low priority
#   lab_stop I   end node I's daemon in order;    lab_kill I: kill -9

PATH=$PATH:/usr/sbin:/sbin # su leaves them out
LAB=vg$$
LAB_DIR=
LAB_NODES=0
LAB_XDP=${LAB_XDP:-yes}
LAB_VIRGOD_FLAGS=${LAB_VIRGOD_FLAGS:-}
LAB_FILES=${LAB_FILES:-no}
declare -a LAB_PIDS=() LAB_CGROUP=() LAB_NICE=()

lab_address() { echo "10.77.0.$((10 + $1))"; }
lab_address6() { echo "fd77::$((10 + $1))"; }
lab_node() { local i=$1; shift; ip netns exec "$LAB-n$i" "$@"; }
lab_client() { ip netns exec "$LAB-c" "$@"; }
lab_switch() { ip netns exec "$LAB-s" "$@"; }
lab_agent() { local i=$1; shift; lab_node "$i" "$LAB_BUILD/virgo-agent" "$@" --pin-root "$LAB_DIR/bpf$i"; }
lab_list() { # the node list, as every node and client gets it
	local i list=
	for ((i = 0; i < LAB_NODES; i++)); do list+=${list:+,}$(lab_address "$i"); done
	echo "$list"
}

# lab_link NAMESPACE PORT ADDRESS ADDRESS6: eth0 in the namespace, PORT on the switch's bridge.
lab_link() {
	ip netns add "$1"
	# Connections that leave may else be given the file pool's port.
	ip netns exec "$1" sysctl -qw net.ipv4.ip_local_reserved_ports=50000
	ip link add "$2" netns "$LAB-s" type veth peer name eth0 netns "$1"
	ip -n "$LAB-s" link set "$2" master br0 up
	ip -n "$1" addr add "$3/24" dev eth0
	ip -n "$1" addr add "$4/64" dev eth0 nodad
	ip -n "$1" link set eth0 up
	ip -n "$1" link set lo up
}

lab_up() {
	local i
	LAB_NODES=$1
	LAB_DIR=$(mktemp -d "/tmp/$LAB-XXXXXX")
	ip netns add "$LAB-s"
	# A switch looks no further than Ethernet: a firewall for bridges would drop frames that nodes should judge.
	lab_switch sysctl -q net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 \
		2> /dev/null || :
	ip -n "$LAB-s" link add br0 type bridge
	ip -n "$LAB-s" link set br0 up
	for ((i = 0; i < LAB_NODES; i++)); do
		lab_link "$LAB-n$i" "port$i" "$(lab_address "$i")" "$(lab_address6 "$i")"
		mkdir "$LAB_DIR/bpf$i"
		mount -t bpf "$LAB-bpf$i" "$LAB_DIR/bpf$i"
	done
	lab_link "$LAB-c" portc 10.77.0.2 fd77::2
	mkdir "$LAB_DIR/bpfs"
	mount -t bpf "$LAB-bpfs" "$LAB_DIR/bpfs"
	(umask 077; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$LAB_DIR/key")
}

# The agent loads and attaches on the node, and the pass-through program on the switch's side: XDP_TX over veth needs
# it.
lab_load() {
	local i=$1
	{
		[ -d "$LAB_DIR/bpfs/v2" ] || lab_switch "$LAB_BUILD/virgo-agent" load --pin-root "$LAB_DIR/bpfs"
		lab_agent "$i" load
		lab_agent "$i" attach eth0
		lab_switch "$LAB_BUILD/virgo-agent" attach "port$i" --role pass --pin-root "$LAB_DIR/bpfs"
	} >> "$LAB_DIR/agent$i.log" || { cat "$LAB_DIR/agent$i.log" >&2; return 1; }
}

# A cgroup of the node's own with a quota: version 2, or version 1 where that is what the machine has.
lab_slow() {
	local i=$1 percent=$2 group
	LAB_NICE[i]=$((19 - 19 * percent / 100))
	for group in /sys/fs/cgroup /sys/fs/cgroup/cpu; do
		if [ "$group" = /sys/fs/cgroup ]; then
			grep -qsw cpu "$group/cgroup.subtree_control" || continue
		else
			[ -e "$group/cpu.cfs_quota_us" ] || [ -e "$group/tasks" ] || continue
		fi
		mkdir "$group/$LAB-n$i" 2> /dev/null || continue
		LAB_CGROUP[i]=$group/$LAB-n$i
		if echo "$((percent * 1000)) 100000" > "$group/$LAB-n$i/cpu.max" ||
			echo "$((percent * 1000))" > "$group/$LAB-n$i/cpu.cfs_quota_us"; then
			LAB_NICE[i]=0
			return 0
		fi 2> /dev/null
		rmdir "$group/$LAB-n$i"
		unset "LAB_CGROUP[i]"
	done
}

lab_daemon() {
	local i=$1 procs=/dev/null files=
	[ -z "${LAB_CGROUP[i]:-}" ] || procs=${LAB_CGROUP[i]}/cgroup.procs
	[ "$LAB_FILES" = no ] || { files=$LAB_DIR/files$i && mkdir -p "$files"; }
	# Not through a function: $! must be the daemon, not a shell around it.
	# shellcheck disable=SC2086,SC2016 # flags are a list; the inner shell's own
	sh -c 'echo $$ > "$0" && exec "$@"' "$procs" nice -n "${LAB_NICE[i]:-0}" ip netns exec "$LAB-n$i" \
		"$LAB_BUILD/virgod" --listen "$(lab_address "$i")" --nodes "$(lab_list)" \
		--key-file "$LAB_DIR/key" --pin-root "$LAB_DIR/bpf$i" --workers 1 \
		--arena-size 64m --heap-size 256m ${files:+--file-root "$files"} $LAB_VIRGOD_FLAGS \
		2>> "$LAB_DIR/virgod$i.log" &
	LAB_PIDS[i]=$!
	lab_wait_port "$i"
}

lab_start() {
	[ "$LAB_XDP" = no ] || lab_load "$1"
	lab_daemon "$1"
}

# Until the daemon answers; at most ten seconds.
lab_wait_port() {
	local i=$1 tries
	for ((tries = 0; tries < 200; tries++)); do
		if lab_node "$i" bash -c "exec 3<>/dev/tcp/$(lab_address "$i")/30000" 2>/dev/null; then
			return 0
		fi
		kill -0 "${LAB_PIDS[i]}" 2>/dev/null || break
		sleep 0.05
	done
	echo "node $i does not answer:" >&2
	cat "$LAB_DIR/virgod$i.log" >&2
	return 1
}

lab_stop() { kill -TERM "${LAB_PIDS[$1]}" 2>/dev/null; wait "${LAB_PIDS[$1]}"; }
lab_kill() { kill -KILL "${LAB_PIDS[$1]}" 2>/dev/null; wait "${LAB_PIDS[$1]}" 2>/dev/null || :; }

# Takes everything away, in whatever state it is; safe to call twice.
lab_down() {
	local name pid
	[ -n "$LAB_DIR" ] || return 0
	for pid in "${LAB_PIDS[@]}"; do
		kill -KILL "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	# What else still runs in the laboratory's namespaces was started by it.
	for name in $(ip netns list | awk -v p="$LAB-" 'index($1, p) == 1 { print $1 }'); do
		ip netns pids "$name" | xargs -r kill -KILL 2>/dev/null || :
		ip netns del "$name"
	done
	for name in "${LAB_CGROUP[@]}"; do
		for pid in 1 2 3 4 5 6 7 8 9 10; do
			rmdir "$name" 2> /dev/null && break
			sleep 0.1
		done
	done
	for name in "$LAB_DIR"/bpf*; do
		umount "$name" 2>/dev/null || :
	done
	rm -rf "$LAB_DIR"
	LAB_DIR=
}
