#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Who may do what in a file pool, and how much: exports by key, quotas, a disk that is full, a disk that fails.
# With names of checks: those alone.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
. tests/netns/namespace.sh
PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for a network namespace"
own_namespace room
LOOPS=()
# shellcheck disable=SC2317 # called at the end
leave() {
	umount -l "$DIR/full" "$DIR/failing" 2> /dev/null
	for loop in "${LOOPS[@]}"; do losetup -d "$loop" 2> /dev/null; done
	umount -l "$DIR/thin" 2> /dev/null
}

device() { # FILE MIB: a loop device on it, in LOOP
	truncate -s "$2M" "$1"
	LOOP=$(losetup -f --show "$1") && LOOPS+=("$LOOP")
}

mkdir "$DIR/full" "$DIR/thin" "$DIR/failing"
device "$DIR/full.image" 16 && mkfs.ext4 -q -N 512 "$LOOP" && mount "$LOOP" "$DIR/full" ||
	tap_skip_all 1 "no loop device here"
# Four megabytes that call themselves 32: writing more of them than there are fails in the device.
mount -t tmpfs -o size=4m thin "$DIR/thin" && device "$DIR/thin/image" 32 &&
	mkfs.ext4 -q -N 64 -O ^has_journal "$LOOP" && mount "$LOOP" "$DIR/failing" || tap_skip_all 1 "no tmpfs here"
rmdir "$DIR/full/lost+found"

ip netns exec "$NS" python3 tests/netns/file_room.py "$DIR" "$DIR/full" "$DIR/failing" "$@"
