# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# TAP for shell tests: tap_plan N; tap_is NAME GOT WANTED; tap_ok NAME COMMAND…; tap_skip_all REASON.

TAP_NUMBER=0
TAP_FAILED=0

tap_plan() { echo "1..$1"; }

tap_result() { # STATUS NAME
	TAP_NUMBER=$((TAP_NUMBER + 1))
	if [ "$1" = 0 ]; then
		echo "ok $TAP_NUMBER - $2"
	else
		echo "not ok $TAP_NUMBER - $2"
		TAP_FAILED=1
	fi
}

tap_ok() {
	local name=$1
	shift
	if "$@"; then tap_result 0 "$name"; else tap_result 1 "$name"; fi
}

tap_is() {
	if [ "$2" = "$3" ]; then
		tap_result 0 "$1"
	else
		printf '# got    %q\n# wanted %q\n' "$2" "$3"
		tap_result 1 "$1"
	fi
}

tap_skip_all() { # COUNT REASON
	local i
	tap_plan "$1"
	for ((i = 1; i <= $1; i++)); do echo "ok $i - # SKIP $2"; done
	exit 0
}

tap_end() { exit "$TAP_FAILED"; }
