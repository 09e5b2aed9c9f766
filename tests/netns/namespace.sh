# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# A network namespace of the test's own, NS, with loopback up and the file pool's port kept for nodes, and a folder,
# DIR. When the shell ends both go, with every process in the namespace; `leave`, if the test defines it, runs between.

own_namespace() { # NAME
	NS=vg$$-$1
	DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
	trap end_namespace EXIT
	ip netns add "$NS" && ip netns exec "$NS" sysctl -qw net.ipv4.ip_local_reserved_ports=50000 &&
		ip -n "$NS" link set lo up
}

# shellcheck disable=SC2317 # called by the trap
end_namespace() {
	ip netns pids "$NS" 2> /dev/null | xargs -r kill -KILL 2> /dev/null
	ip netns del "$NS" 2> /dev/null
	[ "$(type -t leave)" != function ] || leave
	rm -rf "$DIR"
}
