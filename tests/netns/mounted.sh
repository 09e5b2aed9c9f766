# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# Mounts of a laboratory's pool (scripts/lab.sh), for the tests of virgo mount. `trap down EXIT` takes all away.

# A mount is seen by all processes of this machine's file systems, but asks over the client's network: "ip netns exec"
# would hide it.
there() { nsenter --net="/run/netns/$LAB-c" "$@"; }
mount_at() { # DIR OPTION…: one more mount of the pool; its process is in MOUNTS
	local dir=$1
	shift
	mkdir -p "$dir"
	nsenter --net="/run/netns/$LAB-c" "$B/virgo" mount --node "$(lab_list)" --key-file "$LAB_DIR/key" --foreground \
		"$@" "$dir" >> "$LAB_DIR/mount.log" 2>&1 &
	MOUNT_PID=$!
	MOUNTS+=("$MOUNT_PID")
	soon mounted "$dir"
}
mounted() { grep -q " $1 fuse.virgo " /proc/mounts; }
unmounted() { ! mounted "$1"; }
gone() { ! kill -0 "$1" 2> /dev/null; }
soon() { # CONDITION…: within ten seconds
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" && return 0
		sleep 0.05
	done
	return 1
}
declare -a MOUNTS=()
down() {
	local pid dir
	for dir in $(awk -v p="$LAB_DIR/" 'index($2, p) == 1 && $3 == "fuse.virgo" { print $2 }' /proc/mounts); do
		umount -l "$dir"
	done
	for pid in "${MOUNTS[@]}"; do
		kill -KILL "$pid" 2> /dev/null
		wait "$pid" 2> /dev/null
	done
	lab_down
}

posix() { # DIRECTORY [-s]: what the POSIX checker says, as results of ours
	local line
	while IFS= read -r line; do
		case $line in
		'ok '*) tap_result 0 "${1##*/}: ${line#ok * - }" ;;
		'not ok '*) tap_result 1 "${1##*/}: ${line#not ok * - }" ;;
		'# '*) echo "$line" ;;
		esac
	done < <("$B/tests/netns/posix_check" ${2:+"$2"} "$LAB_DIR/local" "$1")
}

exercise() { # OPERATIONS BYTES DIRECTORY: random ones on a file; more of them with VG_FILE_LONG
	"$B/tests/netns/exerciser" -n "${VG_FILE_LONG:+1}$1" -b "$2" "$3/exercised" | tee "$LAB_DIR/exercise"
	grep -q 'all as they should be' "$LAB_DIR/exercise"
}
