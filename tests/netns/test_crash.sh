#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# kill -9 and power cuts at any moment, with clients that write down what was acknowledged (crash_ledger.c). Here a few;
# `make test-crash` does 200. VG_CRASH_KILLS says how many, VG_SEED repeats a run.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh

B=${B:-build}
KILLS=${VG_CRASH_KILLS:-8}
SEED=${VG_SEED:-$((RANDOM * 32768 + RANDOM))}
FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/vg-crash-XXXXXX")
STATUS=0

# shellcheck disable=SC2317 # called by the trap
clean_up() {
	mountpoint -q "$FOLDER/disk" && umount "$FOLDER/disk"
	rm -rf "$FOLDER"
}
trap clean_up EXIT

[ "$(id -u)" = 0 ] || tap_skip_all "$KILLS" "needs root for loop devices and its own network namespace"

# ledger MODE KILLS: of that many results in all; a namespace of its own, so that the port is nobody else's
ledger() {
	rm -rf "$FOLDER"/*
	unshare --net --mount -- bash -c "ip link set lo up && exec timeout 3000 '$B/tests/netns/crash_ledger' \
		'$B/virgod' '$FOLDER' 30000 $2 $1 $SEED" > "$FOLDER.out" 2>&1 || STATUS=1
	grep '^#' "$FOLDER.out"
	while read -r line; do
		TAP_NUMBER=$((TAP_NUMBER + 1))
		echo "$line" | sed "s/^\(not ok\|ok\) [0-9]*/\1 $TAP_NUMBER/"
	done < <(grep -E '^(not )?ok ' "$FOLDER.out")
	[ "$STATUS" = 0 ] || tail -5 "$FOLDER/virgod.log" 2>/dev/null | sed 's/^/# /'
	rm -f "$FOLDER.out"
}

# Where there are no loop devices a power cut cannot be made: those kills are plain ones then.
POWER=-power
modprobe loop 2>/dev/null
[ -e /dev/loop-control ] && command -v mkfs.ext4 > /dev/null || POWER=
LATE=$((KILLS / 16 + 1))
CUTS=$((KILLS / 5 + 1))
ledger everysec "$LATE"
ledger "everysec$POWER" "$LATE"
ledger "always$POWER" "$CUTS"
ledger always $((KILLS - CUTS - 2 * LATE))
tap_plan "$KILLS"
exit "$STATUS"
