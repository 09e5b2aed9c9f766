#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# One tree over three nodes: names, directories, placement and striped files, with all of them alive, one of them dead,
# and under kill -9 while everything changes. With names of checks: those alone.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
. tests/netns/namespace.sh
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for a network namespace"
own_namespace tree
ip netns exec "$NS" python3 tests/netns/file_tree.py "$DIR" "$@"
