#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# make bench-file in small: everything is measured, and no server or mount is left behind.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root"
PATH=$PATH:/usr/sbin:/sbin
for program in sshd sshfs ganesha.nfsd diod fio iperf3; do
	command -v $program > /dev/null || tap_skip_all 1 "no $program here: scripts/deps bench-file"
done
[ -c /dev/fuse ] || tap_skip_all 1 "no /dev/fuse here"
tap_plan 4
OUT=$(mktemp)
trap 'rm -f "$OUT"' EXIT
bench/file "$B" --quick --runs 1 --seconds 0.1 > "$OUT" 2>&1
STATUS=$?
tap_is "it ends well" $STATUS 0
[ $STATUS = 0 ] || sed 's/^/# /' "$OUT"
BARS=$(grep -cE '^\| .*(≤|≥) .*(met|MISSED)' "$OUT")
tap_ok "the bars: $BARS" [ "$BARS" -ge 25 ]
FOLDER=$(sed -n 's/.*--file-root \([^ ]*\)\/pool.*/\1/p' "$OUT" | head -n 1)
tap_is "no mount is left" "$([ -n "$FOLDER" ] && mount | grep -c "$FOLDER")" 0
tap_is "nor a server" "$([ -n "$FOLDER" ] && pgrep -fc "$FOLDER")" 0
tap_end
