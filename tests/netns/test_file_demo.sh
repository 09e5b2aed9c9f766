#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# make demo-file in small: all it looks at is right, and nothing is left behind.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for network namespaces and a mount"
[ -c /dev/fuse ] || tap_skip_all 1 "no /dev/fuse here"
tap_plan 3
OUT=$(mktemp)
trap 'rm -f "$OUT"' EXIT
[ -n "${VG_FILE_LONG:-}" ] || export DEMO_FILES=60 DEMO_HEADERS=/usr/include/linux/netfilter DEMO_MIB=24
scripts/demo-file "$B" > "$OUT" 2>&1 &
DEMO=$!
wait $DEMO
STATUS=$?
tap_is "it ends well" $STATUS 0
[ $STATUS = 0 ] || sed 's/^/# /' "$OUT"
tap_ok "all was verified" grep -qE '^verified ([0-9]+)/\1$' "$OUT"
# The laboratory's names carry the script's PID.
left() { { ip netns list; ls -d /tmp/vg*; mount; } 2> /dev/null | grep -cE "vg$DEMO-"; }
tap_is "no namespace, mount or file is left" "$(left)" 0
tap_end
