#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Load: the probes against what the kernel itself knows, heartbeats between silent nodes, stamps of strangers, and the
# agent's pages. Two nodes with XDP, a cluster key and files.
# shellcheck disable=SC2317 # functions are called by tap_ok
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
LAB_BUILD=${B:-build}
LAB_FILES=yes
. scripts/lab.sh
TESTS=47
SPINNERS=() RUNNING=""
PYTHON=/usr/bin/python3
[ -x $PYTHON ] || PYTHON=python3
WORK=$(mktemp -d /tmp/virgo-load.XXXXXX)
cleanup() {
	local pid
	for pid in "${SPINNERS[@]}" $RUNNING; do
		kill -KILL "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	lab_down
	rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

[ "$(id -u)" = 0 ] || tap_skip_all $TESTS "needs root for network namespaces and BPF"
for tool in jq python3 curl bpftool taskset; do
	command -v $tool >/dev/null || tap_skip_all $TESTS "needs $tool"
done

true_of() { jq -n "$1" 2>/dev/null | grep -x true >/dev/null || { echo "# not so: $1"; false; }; } # an expression of jq
dump() { bpftool -j map dump pinned "$LAB_DIR/bpf0/v2/maps/$1"; }
# A figure of one CPU, by the name of the field as jq sees it.
cpu_figure() { dump vg_cpu_load | jq ".[0].formatted.values[] | select(.cpu == $1) | .value | $2"; }
until_true() { # SECONDS COMMAND…
	local tries=$(($1 * 10))
	shift
	for (( ; tries > 0; tries--)); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	"$@"
}
status() { lab_agent "${1}" status --json | jq "$2"; }
virgo() { lab_client "$LAB_BUILD/virgo" --node "$(lab_address 0)" --key-file "$LAB_DIR/key" "$@"; }
schedstat() { # FIELD PID…: the sum
	local field=$1 pid sum=0
	shift
	for pid; do sum=$((sum + $(cut -d' ' -f"$field" "/proc/$pid/schedstat"))); done
	echo $sum
}

tap_plan $TESTS
lab_up 2
tap_ok "two nodes with XDP and a cluster key" eval "lab_start 0 && lab_start 1"

# ---- the probes
tap_is "the scheduler is watched" "$(status 0 '[.programs[] | select(.name == "vg_sched_switch")][0].probing')" true
tap_is "and the block layer, by two probes" \
	"$(status 0 '[.programs[] | select((.name | startswith("vg_block")) and .probing)] | length')" 2
tap_is "without notes of our own where the kernel takes them" \
	"$(status 0 '[.programs[] | select(.name == "vg_sched_wakeup")] | length')" 0

CPU=$(($(nproc) - 1))
for mode in auto notes; do
	[ $mode = auto ] || lab_agent 0 upgrade --telemetry notes >/dev/null
	# Four spinners on one CPU: the queue is known, and so is what the kernel says each has waited.
	for ((i = 0; i < 4; i++)); do
		taskset -c "$CPU" $PYTHON -c 'while True: pass' &
		SPINNERS+=($!)
	done
	sleep 1
	# The figures begin before the kernel's own of the spinners, and end behind them: what those waited is in them.
	wait_ns=$(cpu_figure "$CPU" .wait_ns) waits=$(cpu_figure "$CPU" .waits)
	length=$(cpu_figure "$CPU" .runnable_ns) total=$(cpu_figure "$CPU" '.stint_ns | add')
	idle=$(cpu_figure "$CPU" '.stint_ns[0]')
	waited=$(schedstat 2 "${SPINNERS[@]}")
	sleep 3
	waited=$(($(schedstat 2 "${SPINNERS[@]}") - waited))
	total=$(($(cpu_figure "$CPU" '.stint_ns | add') - total))
	idle=$(($(cpu_figure "$CPU" '.stint_ns[0]') - idle))
	length=$(($(cpu_figure "$CPU" .runnable_ns) - length))
	wait_ns=$(($(cpu_figure "$CPU" .wait_ns) - wait_ns)) waits=$(($(cpu_figure "$CPU" .waits) - waits))
	tap_ok "a queue of four is at least four long ($mode)" true_of "$length / $total > 3.7"
	# Not "busy": what else polls on this machine has its share of it.
	tap_ok "and its CPU is not idle" true_of "$idle / $total < 0.05"
	tap_ok "every wait is in one bucket" [ "$(cpu_figure "$CPU" '(.wait_buckets | add) == .waits and .waits > 0')" = true ]
	if [ $mode = auto ]; then
		tap_ok "the run-queue delay is the kernel's own, and that of others" true_of "$wait_ns >= 0.9 * $waited"
		tap_ok "of those who wait in turn most is of milliseconds" \
			true_of "$(cpu_figure "$CPU" '[.wait_buckets[10:][]] | add') > 10"
		tap_ok "a cgroup has its share, sampled" true_of "$(dump vg_cgroup_load |
			jq '[.[].formatted.value.waits] | add') > 0"
		tap_ok "the load stamp tells it" until_true 10 eval \
			'[ "$(status 0 .load.run_queue_delay_ns)" -gt 100000 ]'
		tap_ok "and the other node hears of it" until_true 10 eval \
			'[ "$(status 1 ".nodes[0].load.run_queue_delay_ns")" -gt 100000 ]'
	else
		tap_ok "a sample of waits is measured by notes of our own" true_of "$wait_ns / $waits > 100000"
	fi
	kill -KILL "${SPINNERS[@]}"
	wait "${SPINNERS[@]}" 2>/dev/null
	SPINNERS=()
done
lab_agent 0 upgrade >/dev/null
tap_is "back to the kernel's notes" "$(status 0 '[.programs[] | select(.name == "vg_sched_wakeup")] | length')" 0

# A spinner that works a part of the time: the CPU was busy at least as long as the kernel says that it ran.
taskset -c "$CPU" $PYTHON -c 'import time
while True:
    end = time.monotonic() + 0.03
    while time.monotonic() < end: pass
    time.sleep(0.03)' &
SPINNERS=($!)
sleep 0.5
ran=$(schedstat 1 "${SPINNERS[@]}") busy=$(cpu_figure "$CPU" '.stint_ns[1]') total=$(cpu_figure "$CPU" '.stint_ns | add')
sleep 3
total=$(($(cpu_figure "$CPU" '.stint_ns | add') - total))
busy=$(($(cpu_figure "$CPU" '.stint_ns[1]') - busy)) ran=$(($(schedstat 1 "${SPINNERS[@]}") - ran))
tap_ok "a spinner of half a duty cycle has run" true_of "$ran > 0.02 * $total"
tap_ok "and its time is in the CPU's busy time" true_of "$busy >= 0.95 * $ran"
tap_ok "stints are all there is: they add up to the time" true_of "$total > 2.5e9 and $total < 60e9"
# The same thread by the name of a poller.
kill -KILL "${SPINNERS[@]}"; wait "${SPINNERS[@]}" 2>/dev/null
polling=$(cpu_figure "$CPU" '.stint_ns[2]')
taskset -c "$CPU" $PYTHON -c 'open("/proc/self/comm", "w").write("lcore-worker-9")
while True: pass' &
SPINNERS=($!)
sleep 2
ran=$(schedstat 1 "${SPINNERS[@]}")
kill -KILL "${SPINNERS[@]}"; wait "${SPINNERS[@]}" 2>/dev/null
SPINNERS=()
sleep 0.2
tap_ok "a poller's time is not busy time" true_of "$(cpu_figure "$CPU" '.stint_ns[2]') - $polling > 0.7 * $ran"

# ---- block requests
writes() { dump vg_io_load | jq '[.[].formatted | select(.key == 1) | .values[].value.requests] | add'; }
written=$(writes)
file=$(mktemp /var/tmp/virgo-load.XXXXXX)
dd if=/dev/zero of="$file" bs=64k count=32 oflag=direct conv=fsync 2>/dev/null
case $(df --output=source "$file" | tail -1) in
/dev/*) tap_ok "writes to a disk are timed" until_true 5 eval '[ "$(writes)" -gt "$written" ]' ;;
*)
	TAP_NUMBER=$((TAP_NUMBER + 1))
	echo "ok $TAP_NUMBER - writes to a disk are timed # SKIP no disk below /var/tmp"
	;;
esac
rm -f "$file"

# ---- heartbeats
fresh() { true_of "$(status "$1" ".nodes[$2].load.mem.age_s") < 2"; }
tap_ok "silent nodes hear of each other" until_true 10 fresh 0 1
tap_ok "both of them" until_true 10 fresh 1 0
tap_ok "of the CPU pool too, which has a load of its own" until_true 10 eval \
	'[ "$(status 0 ".nodes[1].load.cpu.age_s < 2")" = true ]'
stamps=$(status 0 '.nodes[1].load.stamps')
tap_ok "again and again" until_true 10 eval '[ "$(status 0 ".nodes[1].load.stamps")" -gt $((stamps + 5)) ]'
tap_is "nobody is a stranger" "$(status 0 '[.nodes[].load.strangers] | add')" 0
virgo nodes --json >"$WORK/nodes.json"
tap_is "virgo nodes shows both" "$(jq '[.nodes[].node] | sort | join(" ")' "$WORK/nodes.json")" '"0 1"'
tap_ok "with what they heard and when" true_of "$(jq '.nodes[0].load.heard[0].mem.age_s' "$WORK/nodes.json") < 5"
tap_ok "and a table for people" [ "$(virgo nodes | wc -l)" = 3 ]

# ---- strangers
cat >"$WORK/stranger.py" <<'PY'
import socket, struct, sys
opcode, flags, node = 1, int(sys.argv[2]), 1
header = struct.pack(">HBBHBBQQHHIQIIQIIIHHQ", 0x5647, 1, opcode, flags, 0, 0, 7, 7, node, 0, 0, 0, 0, 0, 0,
                     4000000000, 1, 1, 1, 0, 12345)
assert len(header) == 80
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(20):
    s.sendto(header, (sys.argv[1], 30000))
PY
lab_client $PYTHON "$WORK/stranger.py" "$(lab_address 0)" 3 # an answer with a tag that is wrong
tap_ok "stamps of strangers are counted" until_true 10 eval '[ "$(status 0 ".nodes[1].load.strangers")" = 20 ]'
tap_ok "and not believed" true_of "$(status 0 '.nodes[1].load.mem.in_flight') < 1000000"

# ---- the agent's pages
ip netns exec "$LAB-n0" "$LAB_BUILD/virgo-agent" run eth0 --pin-root "$LAB_DIR/bpf0" --admin-port 9464 \
	>"$WORK/run.log" 2>&1 &
RUNNING=$!
page() { lab_node 0 curl -sS -m 10 "http://127.0.0.1:9464$1"; }
tap_ok "/healthz" until_true 10 eval '[ "$(page /healthz)" = ok ]'
figure() { virgo status --json | jq ".nodes[].status | select(.node == 0) | .services.$1"; } # SERVICE.NAME
metric() { page /metrics | sed -n "s/^$1 //p"; }
head -c 100000 /dev/urandom >"$WORK/file"
for ((i = 0; i < 8; i++)); do virgo put "$WORK/file" "file$i"; done
tap_is "files, on this node too" "$(for ((i = 0; i < 8; i++)); do virgo cat "file$i"; done | wc -c)" 800000
virgo run --on 0 -- true
virgo run --on 0 -- sh -c 'echo some; exit 3' >/dev/null
tap_is "and jobs" $? 3
tap_ok "the agent counts the jobs" until_true 5 eval \
	'[ "$(metric "virgo_cpu_jobs_total{result=\"done\"}") $(figure cpu.done)" = "2 2" ]'
tap_ok "and what was written to files" until_true 5 eval \
	'[ "$(metric virgo_file_written_bytes_total)" -ge 100000 ] &&
	 [ "$(metric virgo_file_written_bytes_total)" = "$(figure file.written_bytes)" ]'
tap_ok "and the time of a job, in seconds" true_of "$(metric virgo_cpu_job_seconds) > 0 and $(metric virgo_cpu_job_seconds) < 5"
virgo status >"$WORK/status"
tap_is "virgo status has a table each, with a line for each node" \
	"$(awk '$1 == "node" { what = $2 } $1 ~ /^[01]$/ { lines[what]++ }
		END { print lines["address"], lines["jobs"], lines["files"] }' "$WORK/status")" "2 2 2"
page /metrics >"$WORK/metrics"
tap_ok "/metrics is what Prometheus reads" eval '$PYTHON tests/netns/check_metrics.py <"$WORK/metrics" >"$WORK/check" ||
	{ sed "s/^/# /" "$WORK/check"; false; }'
if command -v promtool >/dev/null; then
	tap_ok "and promtool finds nothing" eval 'promtool check metrics <"$WORK/metrics"'
else
	TAP_NUMBER=$((TAP_NUMBER + 1))
	echo "ok $TAP_NUMBER - and promtool finds nothing # SKIP promtool is not installed"
fi
missing=""
for metric in virgo_run_queue_delay_seconds_bucket virgo_cpu_seconds_total virgo_block_request_seconds_bucket \
	virgo_cgroup_run_queue_delay_seconds_sum virgo_packets_total virgo_pool_keys virgo_stamps_total \
	virgo_strangers_total virgo_node_heard_seconds virgo_load_in_flight virgo_host_memory_available_bytes \
	$(grep -o '"virgo_[a-z_]*' include/virgo/figures.h | tr -d '"' | sort -u); do
	grep "^$metric[{ ]" "$WORK/metrics" >/dev/null || missing+=" $metric"
done
tap_is "with all that is to be seen" "$missing" ""
missing=""
for metric in $(jq -r '.. | .expr? // empty' docs/grafana.json | grep -o 'virgo_[a-z_]*' | sort -u); do
	grep "^$metric[{ ]" "$WORK/metrics" >/dev/null || missing+=" $metric"
done
tap_is "and all that the dashboard asks for" "$missing" ""
tap_is "/nodes is JSON with every node and its load" \
	"$(page /nodes | jq -c '[.[] | [.node, .self, (.load.mem.age_s < 10)]]')" "[[0,true,true],[1,false,true]]"
tap_is "an unknown page says which there are" "$(page /nothing)" "/metrics, /status, /nodes or /healthz"
kill -TERM "$RUNNING"
wait "$RUNNING"
tap_is "it ends well" $? 0
RUNNING=""

# ---- a node that falls silent
lab_kill 1
silent() { true_of "$(status 0 ".nodes[1].load.mem.age_s") > 1"; }
tap_ok "a dead node's stamp grows old" until_true 20 silent
tap_end
