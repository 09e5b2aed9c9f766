#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# bench-mem runs through, in its shortest form: what it measures here is worth nothing, that it measures is.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
DIR=$(mktemp -d "/tmp/vg$$-benchmem-XXXXXX")

# shellcheck disable=SC2317 # called by the trap
cleanup() { rm -rf "$DIR"; }
trap cleanup EXIT

TESTS=5
[ "$(id -u)" = 0 ] || tap_skip_all $TESTS "needs root"
[ "$(nproc)" -ge 2 ] || tap_skip_all $TESTS "needs two processors"
for peer in redis-server memcached; do
	command -v $peer > "$DIR/path" || tap_skip_all $TESTS "$peer is not installed"
done
tap_plan $TESTS

# A file system of its own for the results; peers end with the bench, however it ends.
timeout 200 bench/mem "$B" --quick --only mem --runs 1 --seconds 0.05 --results "$DIR" > "$DIR/table" 2> "$DIR/log"
status=$?
[ $status = 0 ] || tail -20 "$DIR/log" | sed 's/^/# /'
tap_is "it ends well" $status 0
tap_ok "every peer is in the table" eval 'grep -q "virgod / redis" "$DIR/table" &&
	grep -q "virgod / memcached" "$DIR/table" && grep -q "virgod memcached / memcached" "$DIR/table"'
tap_ok "results are JSON" python3 -c "import glob, json; json.load(open(glob.glob('$DIR/*.json')[0]))"
tap_ok "plots are XML" python3 -c "
import glob, xml.dom.minidom
names = glob.glob('$DIR/*.svg')
assert len(names) == 4
for name in names:
    xml.dom.minidom.parse(name)"
mkdir "$DIR/bin"
ln -s "$(command -v git)" "$DIR/bin/git"
python=$(python3 -c 'import sys; print(sys.executable)') # what python3 is may be a script that needs a shell
(PATH=$DIR/bin && "$python" bench/mem "$B" --quick --only mem --runs 1 --seconds 0.05) > "$DIR/out" 2>&1
tap_is "without a peer it fails" "$? $(grep -c 'is not installed' "$DIR/out")" "1 1"
tap_end
