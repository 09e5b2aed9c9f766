#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# virgo lb sim: the policies against the ideal, files in and out, and what it says to nonsense. Needs no network.
# shellcheck disable=SC2317 # functions are called by tap_ok
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh

VIRGO=${B:-build}/virgo
PYTHON=/usr/bin/python3
[ -x $PYTHON ] || PYTHON=python3
TESTS=20
for tool in jq python3; do
	command -v $tool >/dev/null || tap_skip_all $TESTS "needs $tool"
done
WORK=$(mktemp -d /tmp/virgo-lb.XXXXXX)
trap 'rm -rf "$WORK"' EXIT
trap 'exit 1' INT TERM
lb() { "$VIRGO" lb sim "$@" 2>"$WORK/err"; }
p99() { # FILE POLICY LOAD
	jq "[.results[] | select(.policy == \"$2\" and .load == $3)][0].p99" "$1"
}
at_most() { jq -n "$1 <= $2" | grep -x true >/dev/null; } # NUMBER NUMBER: real ones
carried() { jq '.results[] | select(.policy == "jsq") | .utilization > 0.75 and .utilization < 0.85' "$1" | grep -x true >/dev/null; }
code() { lb "$@" >/dev/null; echo $?; }

tap_plan $TESTS

# ---- the bars, on nodes of unequal strength at 80 % of their capacity
for trace in poisson heavy; do
	lb --json --trace $trace --loads 80 --requests 50000 --svg "$WORK/$trace.svg" >"$WORK/$trace.json"
	jsq=$(p99 "$WORK/$trace.json" jsq 0.8)
	prequal=$(p99 "$WORK/$trace.json" prequal 0.8)
	tap_ok "prequal's p99 slowdown is within 10 % of the ideal shortest queue ($trace)" \
		at_most "$prequal" "1.1 * $jsq"
	tap_ok "and less than a third of the random choice's" at_most "3 * $prequal" "$(p99 "$WORK/$trace.json" prg 0.8)"
done
lb --json --nodes 5x1@1,5x1@3 --loads 80 --requests 50000 --policies prequal,p2c,jsq >"$WORK/single.json"
tap_ok "on single processors of two speeds prequal is better than two random choices" \
	at_most "$(p99 "$WORK/single.json" prequal 0.8)" "$(p99 "$WORK/single.json" p2c 0.8)"
tap_ok "the offered load is the load that was carried" \
	carried "$WORK/poisson.json"
tap_is "every request went to some node" \
	"$(jq '[.results[] | .requests_by_node | add] | unique | .[]' "$WORK/poisson.json")" 50000

# ---- the original's expectation, and the truth
tap_is "the original's formula for 10 nodes and 2 requests" \
	"$(jq '.expected_requests_per_node[] | select(.requests == 2) | .original * 1000000 | round' "$WORK/poisson.json")" \
	121222
tap_is "k/N beside it" \
	"$(jq '.expected_requests_per_node[] | select(.requests == 1000) | .true_mean' "$WORK/poisson.json")" 100
lb --json --nodes 3x1@1 --loads 50 --requests 1000 --policies prg >"$WORK/three.json"
tap_is "and as the design text has it for three nodes and two requests" \
	"$(jq '.expected_requests_per_node[] | select(.requests == 2) | .original * 10000 | round' "$WORK/three.json")" 6296

# ---- files
tap_ok "the chart is well-formed" $PYTHON -c 'import sys, xml.dom.minidom as m
assert len(m.parse(sys.argv[1]).getElementsByTagName("polyline")) == 7 * 3 + 2' "$WORK/poisson.svg"
awk 'BEGIN { print "arrival,size"; for (i = 0; i < 500; i++) printf "%.3f,%.4f\n", i * 0.01, 0.001 * (1 + i % 7) }' \
	>"$WORK/trace.csv"
tap_is "a recorded trace is replayed" \
	"$(lb --json --trace "$WORK/trace.csv" --loads 50 --policies prequal | jq .requests)" 500
tap_is "the same seed gives the same figures" "$(lb --requests 2000 --seed 7)" "$(lb --requests 2000 --seed 7)"
tap_is "the table is for people" "$(lb --requests 1000 --loads 50 | grep -c 'original.s expectation')" 1

# ---- nonsense
tap_is "unknown policies are a usage error" "$(code --policies nonsense)" 2
tap_is "and nodes without a core" "$(code --nodes 3x0@1)" 2
tap_is "and loads beyond the capacity" "$(code --loads 150)" 2
printf '0,1\nx,y\n' >"$WORK/bad.csv"
tap_is "and a trace that is none, by its line" "$(code --trace "$WORK/bad.csv") $(grep -c 'bad.csv:2' "$WORK/err")" "2 1"
yes '5,0.1' | head -200 >"$WORK/flat.csv"
tap_is "and a trace without a rate" "$(code --trace "$WORK/flat.csv")" 2
tap_is "there is only sim" "$("$VIRGO" lb nonsense >/dev/null 2>&1; echo $?)" 2
tap_end
