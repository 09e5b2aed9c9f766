#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Random operations on a file pool and on a local directory: the same answers, over links that are cut all the time.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
. tests/netns/namespace.sh
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for a network namespace"
own_namespace model
ip netns exec "$NS" python3 tests/netns/file_model.py "$DIR" "$@"
