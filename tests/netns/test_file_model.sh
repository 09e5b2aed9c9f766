#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Random operations on a file pool and on a local directory: the same answers, over links that are cut all the time.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for a network namespace"
NS=vg$$-model
DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
# shellcheck disable=SC2317 # called by the trap
cleanup() {
	ip netns pids "$NS" 2> /dev/null | xargs -r kill -KILL 2> /dev/null
	ip netns del "$NS" 2> /dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT
ip netns add "$NS" && \
	ip netns exec "$NS" sysctl -qw net.ipv4.ip_local_reserved_ports=50000 && \
	ip -n "$NS" link set lo up
ip netns exec "$NS" python3 tests/netns/file_model.py "$DIR" "$@"
