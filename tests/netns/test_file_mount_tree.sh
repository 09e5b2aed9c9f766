#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# virgo mount on three nodes: POSIX's promises again, a tree of real files copied, compared, renamed and removed, several
# processes at once, and a node that goes and comes back.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for network namespaces"
[ -c /dev/fuse ] || tap_skip_all 1 "needs /dev/fuse"
LAB_BUILD=$B
LAB_XDP=no
LAB_FILES=yes
LAB_VIRGOD_FLAGS="--bpf off --file-ids"
. scripts/lab.sh
. tests/netns/mounted.sh
trap down EXIT
trap 'exit 130' INT TERM

lab_up 3
M=$LAB_DIR/mnt
N=$LAB_DIR/second
mkdir -p "$LAB_DIR/local"
for i in 0 1 2; do lab_start "$i" || echo "# node $i does not start"; done
tap_ok "mounted" mount_at "$M" --ids --allow-other --timeout 2s
tap_ok "a second mount" mount_at "$N" --ids --cache 0 --timeout 2s
posix "$M" -s
tap_ok "random operations" exercise 1500 1048576 "$M"

# ---- a tree

cp -r src include docs "$LAB_DIR/local/"
tap_ok "a tree is copied" cp -r "$LAB_DIR/local/src" "$LAB_DIR/local/include" "$LAB_DIR/local/docs" "$M"
tap_ok "it is the same" diff -r "$LAB_DIR/local/src" "$M/src"
tap_ok "also there" diff -r "$LAB_DIR/local/docs" "$N/docs"
for i in 0 1 2; do
	tap_ok "node $i has a part of it" [ "$(find "$LAB_DIR/files$i" -type f -size +0 | wc -l)" -gt 20 ]
done
tap_is "tar reads it" "$(tar -cf - -C "$M" src include docs 2> /dev/null | tar -tf - | sort | cksum)" \
	"$(tar -cf - -C "$LAB_DIR/local" src include docs | tar -tf - | sort | cksum)"
tap_ok "a directory is renamed, with all in it" mv "$M/src" "$M/docs/sources"
tap_ok "it is the same there" diff -r "$LAB_DIR/local/src" "$N/docs/sources"
tap_ok "and back, there" mv "$N/docs/sources" "$N/src"
sleep 1.1
tap_ok "it is the same here" diff -r "$LAB_DIR/local/src" "$M/src"

# What a new client of the mount asks first may be a list.
mkdir "$M/small"
for ((i = 0; i < 30; i++)); do
	mkdir "$M/small/d$i" && echo "$i" > "$M/small/d$i/one$i"
done
tap_ok "a third mount" mount_at "$LAB_DIR/third"
listed() { find "$1" -mindepth 1 -maxdepth 1 | xargs -n1 -P16 ls | wc -l; }
tap_is "small directories, many at once" "$(listed "$LAB_DIR/third/small")" 30
umount "$LAB_DIR/third"

# ---- a file in stripes over three nodes

head -c 7000000 /dev/urandom > "$LAB_DIR/big"
lab_client "$B/virgo" --node "$(lab_list)" --key-file "$LAB_DIR/key" put --stripe 3 "$LAB_DIR/big" striped
# As if the nodes had been slow: each piece is younger than the file.
for piece in "$LAB_DIR"/files?/.virgo/pieces/*; do
	cp -p "$piece" "$LAB_DIR/piece" && mv "$LAB_DIR/piece" "$piece"
done
same_stripes() { cmp "$LAB_DIR/big" "$M/striped"; }
append() { head -c 100000 docs/protocol.md >> "$1"; }
tap_ok "a striped file is read" same_stripes
tap_is "open or not, it is one file" "$(stat -L -c %i:%s /dev/stdin < "$N/striped")" "$(stat -c %i:%s "$N/striped")"
for file in "$LAB_DIR/big" "$M/striped"; do
	tap_ok "${file##*/} is cut off" truncate -s 5000001 "$file"
	tap_ok "${file##*/} is appended to" append "$file"
	tap_ok "${file##*/} is written in the middle" dd if=docs/protocol.md of="$file" bs=10k seek=97 conv=notrunc status=none
done
tap_ok "cut off, appended to, written in the middle" same_stripes
sleep 1.1
tap_ok "read again" same_stripes
for file in "$LAB_DIR/big" "$N/striped"; do
	dd if=docs/protocol.md of="$file" bs=10k count=3 seek=30 conv=notrunc status=none
done
sleep 1.1
tap_ok "written there, it is read here" same_stripes
touch -d @1000000000 "$M/striped"
tap_is "its time is set" "$(stat -c %Y "$M/striped")" 1000000000
exec 7< "$M/striped"
chmod 604 "$M/striped"
tap_is "while it is open, its mode" "$(stat -c %a "$M/striped")" 604
rm "$M/striped"
tap_ok "unlinked, it is read on" cmp "$LAB_DIR/big" - <&7
exec 7<&-

# A node that is silent is no end of the file, even where the kernel may believe for long how long the file is: reads
# begin in a stripe that is there and go on in one that is not.
lab_client "$B/virgo" --node "$(lab_list)" --key-file "$LAB_DIR/key" put --stripe 3 "$LAB_DIR/big" striped
tap_ok "a mount that believes for long" mount_at "$LAB_DIR/third" --ids --cache 60s --timeout 1s
for i in 0 1 2; do
	dd if="$LAB_DIR/third/striped" iflag=nocache count=0 status=none
	exec 7< "$LAB_DIR/third/striped"
	kill -STOP "${LAB_PIDS[i]}"
	tap_ok "a node is silent: reading fails, or all is there" eval \
		'! cat <&7 > "$LAB_DIR/read" 2> "$LAB_DIR/said" || cmp "$LAB_DIR/big" "$LAB_DIR/read"'
	kill -CONT "${LAB_PIDS[i]}"
	exec 7<&-
	tap_ok "it speaks: all is read" soon eval 'cmp -s "$LAB_DIR/big" "$LAB_DIR/third/striped"'
done
tap_ok "it goes" "$B/virgo" umount "$LAB_DIR/third"

# Names that come and go, by four processes: nobody finds what is not there, nothing is left.
churn() {
	local i
	for ((i = 0; i < 25; i++)); do
		echo "$1.$i" > "$M/churn/new.$1" && mv "$M/churn/new.$1" "$M/churn/$1.$((i % 5))" &&
			[ "$(cat "$M/churn/$1.$((i % 5))")" = "$1.$i" ] && ln -f "$M/churn/$1.$((i % 5))" "$M/churn/link.$1" &&
			rm "$M/churn/link.$1" || return 1
	done
}
mkdir "$M/churn"
for who in 1 2 3 4; do
	(churn $who) &
	CHURNERS+=($!)
done
for pid in "${CHURNERS[@]}"; do
	tap_ok "names come and go" wait "$pid"
done
tap_is "all are there" "$(find "$N/churn" -type f | wc -l)" 20
tap_ok "removed there" rm -r "$N/churn"
[ -z "$VG_FILE_LONG" ] || tap_ok "dbench" eval 'timeout 60 dbench -D "$M" -t 6 4 > "$LAB_DIR/dbench"'

# ---- a node that goes

lab_kill 2
began=$SECONDS
there=0 bad=0 other=0
# The list of a directory has only what is there: names of our own.
for file in docs/decisions/00[0-2]*; do
	if cmp -s "$file" "$M/$file"; then
		there=$((there + 1))
	else
		bad=$((bad + 1))
		cat "$M/$file" 2>&1 > /dev/null | grep -qE 'Host is down|Input/output error' || other=$((other + 1))
	fi
	[ $((SECONDS - began)) -lt 60 ] || break
done 2> /dev/null
echo "# $there files are there, $bad are not, in $((SECONDS - began)) s"
tap_ok "a node is gone: files of others are read" [ "$there" -ge 3 ]
tap_is "those that are not say why" "$other:$((bad > 0))" 0:1
tap_ok "a list says that it is not all" eval '! ls "$M/docs/decisions" > /dev/null 2>&1'
lab_start 2 || echo "# node 2 does not start again"
same() { diff -r "$LAB_DIR/local/docs" "$M/docs" > "$LAB_DIR/diff" 2>&1; }
tap_ok "it is back: all are read" soon same
tap_ok "all is removed" rm -r "$M/src" "$M/docs" "$M/include"
tap_is "and nothing is left" "$(find "$LAB_DIR"/files? \( -type f -o -type l \) -path '*/src/*' | wc -l)" 0
tap_ok "both go" "$B/virgo" umount "$M" "$N"
tap_plan "$TAP_NUMBER"
tap_end
