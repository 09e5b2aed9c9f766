#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# virgo mount on one node: each thing that POSIX promises, done on the mount and on a local file system and compared;
# random reads and writes, mappings, holes; two mounts that see each other; a node that is killed under open files; ends
# of all kinds. With VG_FILE_LONG=1: longer, and fio, dbench and stress-ng.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for network namespaces"
[ -c /dev/fuse ] || tap_skip_all 1 "needs /dev/fuse"
LONG=${VG_FILE_LONG:-}
LAB_BUILD=$B
LAB_XDP=no
LAB_FILES=yes
LAB_VIRGOD_FLAGS="--bpf off --file-ids"
. scripts/lab.sh

. tests/netns/mounted.sh
trap down EXIT
trap 'exit 130' INT TERM

lab_up 1
M=$LAB_DIR/mnt
N=$LAB_DIR/second
POOL=$LAB_DIR/files0
mkdir -p "$M" "$N" "$LAB_DIR/local"

# ---- starting

try() { # OPTION…: what a mount that fails says, and ends with
	there timeout 20 "$B/virgo" mount --node "$(lab_list)" --key-file "$LAB_DIR/key" "$@" 2>&1
	echo "/$?"
}
tap_ok "without a node: an error that says so" grep -q 'no file pool answers' <(try "$M")
lab_start 0 || echo "# the node does not start"
tap_is "not a directory" "$(try "$M/none")" "virgo mount: $M/none: No such file or directory"$'\n/2'
tap_ok "a root that is not in the pool" grep -q 'no/such' <(try --root no/such "$M")
if [ "$(cat /sys/module/fuse/parameters/enable_uring 2> /dev/null)" = Y ]; then
	echo "ok $((++TAP_NUMBER)) - FUSE over io_uring # SKIP the kernel has it, libfuse may"
else
	tap_ok "FUSE over io_uring: what is missing" grep -qE 'io_uring|enable_uring' <(try --io-uring "$M")
fi
tap_ok "mounted" mount_at "$M" --ids --allow-other
tap_is "its size is that of the node's file system" "$(stat -f -c %b:%S "$M")" "$(stat -f -c %b:%S "$POOL")"

# ---- POSIX, one by one

posix "$M"

# ---- random operations

tap_ok "random operations" exercise 3000 1048576 "$M"
tap_ok "random operations on a larger file" exercise 400 16777216 "$M"

# ---- two mounts

tap_ok "a second mount, without a cache" mount_at "$N" --ids --cache 0
echo one > "$M/shared"
tap_is "what is written here is read there" "$(cat "$N/shared")" one
echo two >> "$N/shared"
tap_is "and there, here" "$(sleep 1.1; cat "$M/shared")" $'one\ntwo'
for i in 1 2 3 4 5 6 7 8 9 10; do
	for dir in "$M" "$N"; do
		for ((k = 0; k < 20; k++)); do echo "$i.$k.$dir"; done >> "$dir/appended" &
		APPENDERS+=($!)
	done
done
wait "${APPENDERS[@]}"
tap_is "appends of both at once are all there" "$(sort -u "$POOL/appended" | wc -l)" 400
exec 8> "$M/locked" 9> "$N/locked"
flock 8
tap_ok "a lock here is held there" eval '! flock -n 9'
exec 8>&-
tap_ok "and free when it is closed" flock -w 5 9
exec 9>&-
mkdir -p "$M/a/b" && echo deep > "$M/a/b/c" && cat "$N/a/b/c" > /dev/null
mv "$M/a" "$M/moved"
tap_is "a directory renamed here is found there" "$(cat "$N/moved/b/c")" deep
exec 7< "$N/moved/b/c"
rm -r "$M/moved"
tap_is "a file removed here is read on there" "$(cat <&7)" deep
exec 7<&-
tap_ok "the second one goes" "$B/virgo" umount "$N"
tap_ok "and its process" soon gone "$MOUNT_PID"
tap_is "it is no mount any more" "$("$B/virgo" umount "$N" 2>&1; echo "/$?")" "virgo: $N: no pool is mounted there"$'\n/1'

# ---- a node that is killed

echo before > "$M/kept"
exec 7<> "$M/kept" 8<> "$M/locked"
echo changed > "$M/kept"
flock 8
lab_kill 0
began=$SECONDS
tap_ok "while the node is down: an error" eval '! stat "$M/never-asked-before" 2> "$LAB_DIR/said"'
tap_ok "that is not about the file" grep -qE 'Host is down|Input/output error' "$LAB_DIR/said"
tap_ok "within its time" [ $((SECONDS - began)) -le 20 ]
# Not with our files: it would wait for itself.
lab_start 0 7>&- 8>&- || echo "# the node does not start again"
tap_is "an open file goes on" "$(soon read -r line <&7 2> /dev/null; echo "$line")" changed
tap_ok "what was not synced may be lost: fsync says so" eval '! sync "$M/kept" 2> /dev/null || ! sync "$M/kept"'
tap_ok "once" sync "$M/kept"
echo more >&7
tap_is "and is written on" "$(cat "$POOL/kept")" $'changed\nmore'
tap_ok "a file that was locked is stale" eval '! echo x >&8' 2> /dev/null
exec 7>&- 8>&-
tap_is "opened again it is not" "$(echo again > "$M/locked"; cat "$M/locked")" again

# Killed under random operations.
"$B/tests/netns/exerciser" -e -n 8000 "$M/exercised" > "$LAB_DIR/exercise" &
EXERCISER=$!
for i in 1 2; do
	sleep 0.4
	lab_kill 0
	lab_start 0 || echo "# the node does not start again"
done
wait "$EXERCISER"
tap_is "killed twice under random operations" $? 0
grep '^#' "$LAB_DIR/exercise"

# ---- with the kernel's write-back cache, read-only, a part

tap_ok "one that writes back" mount_at "$N" --ids --writeback --allow-other
tap_ok "random operations, written back" exercise 3000 1048576 "$N"
[ -z "$LONG" ] || posix "$N"
exec 7> "$N/late"
head -c 100000 /dev/zero | tr '\0' z >&7
kill -TERM "$MOUNT_PID"
tap_ok "told to end while a file is open: it ends" soon gone "$MOUNT_PID"
exec 7>&-
tap_is "and has written what it kept" "$(tr -d z < "$POOL/late" | wc -c):$(stat -c %s "$POOL/late")" 0:100000
tap_ok "the mount is gone" soon unmounted "$N"
mkdir -p "$M/part/of/it" && echo inside > "$M/part/of/it/file"
tap_ok "a part of the pool, read-only" mount_at "$N" --read-only --root part/of
tap_is "has what is in it" "$(cat "$N/it/file")" inside
tap_ok "and cannot be changed" eval '! echo x > "$N/it/file"' 2> /dev/null
kill -KILL "$MOUNT_PID"
tap_ok "killed, it leaves no mount" soon unmounted "$N"
tap_is "it was not changed" "$(cat "$POOL/part/of/it/file")" inside

# ---- programs of others

if [ -n "$LONG" ]; then
	cd "$M" || exit 1
	for way in write read randwrite randread randrw; do
		tap_ok "fio verifies: $way" fio --name=verified --directory="$M" --rw=$way --bs=4k --size=16m --numjobs=2 \
			--ioengine=psync --verify=crc32c --verify_fatal=1 --output="$LAB_DIR/fio"
	done
	tap_ok "fio verifies: large and direct" fio --name=direct --directory="$M" --rw=write --bs=1m --size=64m --direct=1 \
		--ioengine=libaio --iodepth=8 --verify=crc32c --verify_fatal=1 --output="$LAB_DIR/fio"
	rm -f verified.* direct.*
	tap_ok "dbench" eval 'timeout 60 dbench -D "$M" -t 6 4 > "$LAB_DIR/dbench"'
	for stressors in "access chdir chmod chown copy-file dentry dir dirdeep" "dirmany dup fallocate fcntl filename flock fpunch" \
		"fsize fstat getdent hdd iomix lease link locka" "lockf lockofd open rename symlink sync-file touch utime xattr"; do
		# shellcheck disable=SC2086 # a list
		tap_ok "stress-ng: $stressors" timeout 60 stress-ng --temp-path "$M" --timeout 4 --verify --quiet --oom-avoid \
			$(printf -- '--%s 1 ' $stressors)
	done
	cd - > /dev/null || exit 1
fi
# ---- taken away while it is used: a mount of its own, as "ip netns exec" has given the node a copy of the first one

tap_ok "one more mount" mount_at "$N"
exec 7< "$N/kept"
tap_ok "somebody uses it: umount says so" grep -q 'somebody uses it' <("$B/virgo" umount "$N" 2>&1)
tap_ok "lazily it goes" "$B/virgo" umount --lazy "$N"
tap_ok "at once" unmounted "$N"
tap_is "its user is served on" "$(head -n 1 <&7)" changed
exec 7<&-
tap_ok "and then it ends" soon gone "$MOUNT_PID"
tap_ok "the first one goes, too" "$B/virgo" umount "$M"
tap_is "nothing that a sanitizer or libfuse complains of" \
	"$(grep -vE ' notice | info |^virgo mount: the pool|not all .* error=116' "$LAB_DIR/mount.log" | head -n 5)" ""
tap_plan "$TAP_NUMBER"
tap_end
