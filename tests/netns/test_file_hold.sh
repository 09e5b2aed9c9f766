#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# What a session of the file pool holds and what is remembered for it: locks, watches, changes that are made once, over
# links that are cut and clients and nodes that are killed. With names of checks: those alone.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
. tests/netns/namespace.sh
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for a network namespace"
own_namespace hold
ip netns exec "$NS" python3 tests/netns/file_hold.py "$DIR" "$@"
