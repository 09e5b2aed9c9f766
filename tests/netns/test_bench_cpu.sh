#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# make bench-cpu in small: everything is measured, every job of it succeeds, and no server is left behind.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root"
PATH=$PATH:/usr/sbin:/sbin
for program in sshd ssh parallel; do
	command -v $program > /dev/null || tap_skip_all 1 "no $program here: scripts/deps bench-cpu"
done
tap_plan 3
OUT=$(mktemp)
trap 'rm -f "$OUT"' EXIT
bench/cpu "$B" --quick --runs 1 --seconds 0.2 --only cpu > "$OUT" 2>&1
STATUS=$?
tap_is "it ends well" $STATUS 0
[ $STATUS = 0 ] || sed 's/^/# /' "$OUT"
tap_is "seven bars" "$(grep -cE '^\| .*(≤|≥) .*(met|MISSED)' "$OUT")" 7
# Its servers listen at a port that stands in the commands it reports.
PORT=$(sed -n 's/.*--cpu-port \([0-9]*\) .*/\1/p' "$OUT" | head -n 1)
tap_is "no server is left" "$([ -n "$PORT" ] && ! (exec 3<> "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null && echo gone)" gone
tap_end
