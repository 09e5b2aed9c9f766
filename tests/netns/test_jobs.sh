#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The CPU pool on one node: programs with their streams, functions, kernel programs, text; storms, floods, lost
# connections; workers, jobs, the spawner and the daemon killed in the middle; everything a client should not say.
#
#   VG_JOBS=10000 VG_STDIN_MIB=1024 tests/netns/test_jobs.sh     at full size
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
NS=vg$$-jobs
DIR=$(mktemp -d "/tmp/$NS-XXXXXX")
ADDRESS=127.0.0.1
KEY=-
DAEMON=
JOBS=${VG_JOBS:-1500}
STDIN_MIB=${VG_STDIN_MIB:-64}

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ -n "$DAEMON" ] && kill -KILL "$DAEMON" 2> /dev/null
	ip netns pids "$NS" 2> /dev/null | xargs -r kill -KILL 2> /dev/null
	ip netns del "$NS" 2> /dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for a network namespace"

inside() { ip netns exec "$NS" "$@"; }
client() { inside timeout 120 "$B/tests/netns/job_client" "$ADDRESS" 10000 "$KEY" "$@"; }
run() { client run noinput=1 "$@" 2> "$DIR/error"; }
text() { printf "$@" | inside timeout 20 nc -q2 "$ADDRESS" 10000 | tr -d '\r'; }
figure() { inside "$B/virgo" status --json -n "$ADDRESS" 2> /dev/null | jq "[.. | objects | .$1? // empty][0]"; }

start() { # FLAG…
	# Not through a function: $! must be the daemon, not a shell around it.
	ip netns exec "$NS" "$B/virgod" --listen "$ADDRESS" --bpf off --arena-size 16m --heap-size 256m --workers 2 \
		--cpu-linger 2 "$@" 2>> "$DIR/log" &
	DAEMON=$!
	for _ in $(seq 200); do
		inside bash -c "exec 3<>/dev/tcp/$ADDRESS/10000" 2> /dev/null && return 0
		kill -0 $DAEMON 2> /dev/null || break
		sleep 0.05
	done
	sed 's/^/# /' "$DIR/log"
	return 1
}
stop() { kill -TERM "$DAEMON"; wait "$DAEMON"; local status=$?; DAEMON=; return $status; }
descriptors() { ls "/proc/$DAEMON/fd" | wc -l; }
zombies() { ps -o stat= --ppid "$DAEMON" | grep -c '^Z'; }
children() { ps -o pid= --ppid "$DAEMON" | wc -l; }
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$DAEMON/status"; }
# shellcheck disable=SC2317
figure_is() { [ "$(figure "$1")" = "$2" ]; }
# soon COMMAND…: within ten seconds
# shellcheck disable=SC2317 # called by tap_ok
soon() {
	for _ in $(seq 200); do
		"$@" && return 0
		sleep 0.05
	done
	return 1
}
# shellcheck disable=SC2317
has() { [ "$("$1")" = "$2" ]; }
# shellcheck disable=SC2317
nobody_sleeps() { ! ip netns pids "$NS" | xargs -r ps -o args= -p | grep -q "^sleep $1"; }
# shellcheck disable=SC2317
nobody_is_left() { [ -z "$(ip netns pids "$NS")" ]; }
somebody_sleeps() { ! nobody_sleeps "$1"; }

ip netns add "$NS"
ip -n "$NS" link set lo up
chmod 755 "$DIR"
mkdir -m 777 "$DIR/open"
mkdir "$DIR/plugins" "$DIR/kernel"
cp "$B"/examples/plugins/*.so "$B"/tests/netns/plugins/*.so "$DIR/plugins"
cp "$B"/examples/kernel/* "$B"/tests/netns/plugins/*.bpf.o "$DIR/kernel"
echo wild >> "$DIR/kernel/allow"

tap_ok "a node with a CPU pool" start --plugin-dir "$DIR/plugins" --kernel-dir "$DIR/kernel"
soon has children 4 # the spawner, two workers for functions, one for kernel programs
FDS=$(descriptors)
CHILDREN=$(children)

# ---- programs
tap_is "output" "$(run -- sh -c 'echo hi; echo there >&2; exit 3')" hi
run -- sh -c 'echo hi; exit 3' > /dev/null
tap_is "exit status" "$?" 3
run -- sh -c 'echo there >&2' > /dev/null
tap_is "stderr is its own stream" "$(cat "$DIR/error")" there
tap_is "or goes where stdout goes" "$(run flags=8 -- sh -c 'echo a; echo b >&2')" $'a\nb'
run -- sh -c 'kill -9 $$'
tap_ok "a signal" grep -q '^signalled code=9' "$DIR/error"
run timeout=200 -- sleep 600
tap_ok "a time limit" grep -q '^timeout code=15 reason=26' "$DIR/error"
run timeout=200 -- sh -c 'trap "" TERM; while :; do sleep 601; done'
tap_ok "a time limit for one that does not listen" grep -q '^timeout code=9' "$DIR/error"
run -- /nonexistent/program
tap_ok "no such program" grep -q '^failed code=0 reason=23 .*the program cannot be executed: No such file' "$DIR/error"
run directory=/nonexistent -- true
tap_ok "no such directory" grep -q '^failed code=0 reason=22 .*No such file' "$DIR/error"
run directory=/root -- true
tap_ok "a directory that is closed" grep -q '^failed code=0 reason=22 .*Permission denied' "$DIR/error"
tap_is "a directory" "$(run directory=/usr/share -- pwd)" /usr/share
tap_is "an environment" "$(run environment=GREETING=hello -- /usr/bin/env)" GREETING=hello
tap_is "not root" "$(run -- id -un)" nobody
tap_is "nothing is inherited" "$(run -- sh -c 'ls /proc/self/fd | wc -l')" 4
tap_is "arguments arrive as they are" "$(run -- printf '<%s>' 'a b' '' '$x' "ü")" '<a b><><$x><ü>'
tap_is "a terminal" "$(echo hello | client run flags=1 -- sh -c 'test -t 0 && stty size; read x; echo got $x' |
	tr -d '\r' | sort | paste -sd' ')" "24 80 got hello hello"

# ---- streams
head -c $((STDIN_MIB << 20)) /dev/urandom > "$DIR/large"
chmod 644 "$DIR/large"
tap_ok "$STDIN_MIB MiB of stdin come back" cmp -s "$DIR/large" <(client run -- cat < "$DIR/large")
tap_ok "a lost connection loses nothing" cmp -s "$DIR/large" <(client lost 5000000 -- cat "$DIR/large")
head -c 4000000 "$DIR/large" > "$DIR/some"
tap_is "a program that does not read all of its input" "$(client run -- head -c 5 < "$DIR/some" | wc -c)" 5
BEFORE=$(rss_kib)
client slow 2 -- head -c 300000000 /dev/zero > "$DIR/flood" 2> /dev/null &
SLOW=$!
sleep 1.5
AFTER=$(rss_kib)
tap_ok "a flood against a slow reader takes little memory" [ $((AFTER - BEFORE)) -lt 16384 ]
wait $SLOW
tap_is "and arrives whole" "$(wc -c < "$DIR/flood")" 300000000

# ---- storms
tap_is "a storm of $JOBS jobs" "$(client storm "$JOBS" 64 -- sh -c "echo {} >> $DIR/open/storm")" \
	"jobs=$JOBS ended=$JOBS failed=0 twice=0 refused=0"
tap_is "none was lost, none ran twice" "$(sort -n "$DIR/open/storm" | paste -sd' ')" "$(seq -s' ' "$JOBS")"
tap_is "no zombie" "$(zombies)" 0
tap_ok "no descriptor is left" soon has descriptors "$FDS"
tap_ok "no process is left" soon has children "$CHILDREN"

# ---- functions
tap_is "a function" "$(printf 'some bytes' | client call echo)" "some bytes"
tap_is "a function of a library" "$(client call text:count < README.md)" "$(wc < README.md | xargs)"
tap_is "binary in, binary out" "$(head -c 100000 "$DIR/large" | client call echo | cmp - <(head -c 100000 "$DIR/large") &&
	echo same)" same
tap_is "the longest result" "$(client call fill < /dev/null | wc -c)" 4194304
client call nosuch < /dev/null 2> "$DIR/error"
tap_ok "an unknown function" grep -q '^failed code=0 reason=10' "$DIR/error"
client call faults:echo < /dev/null 2> "$DIR/error"
tap_ok "a function of another library" grep -q '^failed code=0 reason=10' "$DIR/error"
client call fails < /dev/null 2> "$DIR/error"
tap_is "what a function returns" "$?" 41
client call crash < /dev/null 2> "$DIR/error"
tap_ok "a crash" grep -q 'reason=25 the worker that ran it died of signal 6' "$DIR/error"
client call leave < /dev/null 2> "$DIR/error"
tap_ok "a function that leaves" grep -q 'reason=25 the worker that ran it left with status 7' "$DIR/error"
client call overstate < /dev/null 2> "$DIR/error"
tap_ok "a result that is too long" grep -q 'reason=27' "$DIR/error"
client call hang timeout=300 < /dev/null 2> "$DIR/error"
tap_ok "a function that hangs" grep -q '^timeout code=0 reason=26' "$DIR/error"
for _ in 1 2 3 4 5; do client call crash < /dev/null 2> /dev/null; done
tap_is "workers are replaced" "$(printf again | client call echo)" again

# ---- kernel programs
number() { printf '%b' "$(printf '\\x%02x' "$1" 0 0 0 "${2:-0}" 0 0 0)"; }
if number 42 | client call kernel/numbers:add > "$DIR/sum" 2> "$DIR/error"; then
	tap_is "a kernel program" "$(od -An -tu8 "$DIR/sum" | xargs)" 42
	tap_is "its memory lives on" "$(number 1 | client call kernel/numbers:add | od -An -tu8 | xargs)" 43
	number 18 12 | client call kernel/numbers:divisor > /dev/null
	tap_is "its return value" "$?" 6
	client call kernel/wild:wild < /dev/null 2> "$DIR/error"
	tap_ok "the verifier's refusal is shown" grep -q "reason=13" "$DIR/error"
	tap_ok "with its reason" grep -q "invalid mem access" "$DIR/error"
else
	for _ in 1 2 3 4 5; do
		TAP_NUMBER=$((TAP_NUMBER + 1))
		echo "ok $TAP_NUMBER - # SKIP the kernel runs no programs of type syscall here: $(head -1 "$DIR/error")"
	done
fi
client call kernel/other:wild < /dev/null 2> "$DIR/error"
tap_ok "an object that is not allowed" grep -q 'reason=12' "$DIR/error"
client call kernel/numbers:none < /dev/null 2> "$DIR/error"
tap_ok "a program that is not there" grep -q 'reason=11' "$DIR/error"

# ---- text
tap_is "text: a function by its name" "$(text 'echo some words\r\n')" "some words"
tap_ok "text: an unknown one" grep -q '^virgo_error(symbol,' <<< "$(text 'nosuch\r\n')"
tap_ok "text: a name that leaves the directory" grep -q '^virgo_error(escape,' <<< "$(text '../echo\r\n')"
tap_is "text: the original's 3000 bytes get 500" \
	"$({ printf 'echo hi'; head -c 2993 /dev/zero; } | inside timeout 20 nc -q2 "$ADDRESS" 10000 | wc -c)" 500

# ---- limits and confinement
run memory=50000000 -- sh -c 'head -c 100000000 /dev/zero | tail -c 90000000 > /dev/null'
tap_is "more memory than allowed is not to be had" "$([ $? -ne 0 ] && echo refused)" refused
run cpu=1000 -- sh -c 'while :; do :; done'
tap_ok "a limit of CPU time" grep -Eq '^signalled code=(9|24)' "$DIR/error"
tap_is "a share of the processors" "$(run share=1000 -- nproc)" 1
tap_is "sees no other process" "$(run flags=0x40 -- sh -c 'echo $$')" 1
tap_is "has no network" "$(run flags=0x80 -- sh -c 'grep -c : /proc/net/dev')" 1
tap_is "has files of its own" "$(run flags=0x20 -- sh -c 'ls -A /tmp | wc -l')" 0
run flags=0x100 -- unshare -U true
tap_is "system calls that are refused" "$([ $? -ne 0 ] && grep -c 'Operation not permitted' "$DIR/error")" 1
tap_is "no new privileges" "$(run -- grep NoNewPrivs /proc/self/status | xargs)" "NoNewPrivs: 1"

# ---- killed in the middle
client run noinput=1 -- sleep 610 2> "$DIR/error" &
CLIENT=$!
tap_ok "a job runs" soon somebody_sleeps 610
ip netns pids "$NS" | while read -r pid; do grep -qa '^sleep.610' "/proc/$pid/cmdline" && kill -KILL "$pid"; done
wait $CLIENT
tap_ok "a job that is killed: its client hears of it" grep -q '^signalled code=9' "$DIR/error"
client run noinput=1 -- sleep 611 2> /dev/null &
CLIENT=$!
tap_ok "a job whose client" soon somebody_sleeps 611
kill -KILL "$(pgrep -f "job_client $ADDRESS 10000 $KEY run noinput=1 -- sleep 611" | tail -1)"
wait $CLIENT 2> /dev/null
tap_ok "goes away ends after a while" soon nobody_sleeps 611
tap_is "the status counts it" "$(figure lost)" 1
client run noinput=1 -- sh -c 'sleep 2; echo survived' > "$DIR/survivor" 2> /dev/null &
CLIENT=$!
sleep 0.7
pkill -KILL -P "$DAEMON" -f 'virgo-spawner spawner'
tap_is "the spawner is killed: the next job runs" "$(sleep 0.2; run -- echo next || run -- echo next)" next
wait $CLIENT
tap_is "and what ran goes on" "$(cat "$DIR/survivor")" survived

# ---- what a client should not say
hostile() {
	inside timeout 120 "$B/tests/netns/job_hostile" "$ADDRESS" 10000 "$KEY" > "$DIR/hostile"
	while read -r word what; do
		case $word in
		ok) tap_result 0 "$1: $what" ;;
		not) tap_result 1 "$1: ${what#ok }" ;;
		*) echo "$word $what" ;;
		esac
	done < "$DIR/hostile"
	tap_ok "$1: it came to its end" grep -q '^ok a good request after all that' "$DIR/hostile"
}
tap_ok "ends in order" stop
tap_ok "without kernel programs" start --plugin-dir "$DIR/plugins"
hostile "no key"

# ---- the daemon is killed
client run noinput=1 -- sh -c 'sleep 612 & sleep 612' 2> "$DIR/error" &
CLIENT=$!
tap_ok "a job runs again" soon somebody_sleeps 612
kill -KILL "$DAEMON"
wait "$DAEMON" 2> /dev/null
wait $CLIENT
tap_is "the daemon is killed: the client hears of it" "$?" 99
tap_ok "and nothing of the job is left" soon nobody_sleeps 612
tap_ok "nor of the spawner" soon nobody_is_left

# ---- a small node
tap_ok "a node for one job at a time" start --cpu-jobs 1 --cpu-queue 2 --plugin-dir "$DIR/plugins"
client run noinput=1 -- sh -c "while [ ! -e $DIR/open/go ]; do sleep 0.1; done; echo first >> $DIR/open/order" &
FIRST=$!
tap_ok "one runs" soon figure_is running 1
client run noinput=1 priority=200 -- sh -c "echo last >> $DIR/open/order" &
SECOND=$!
tap_ok "one waits" soon figure_is queued 1
client run noinput=1 priority=10 -- sh -c "echo urgent >> $DIR/open/order" &
THIRD=$!
tap_ok "two wait" soon figure_is queued 2
run -- true
tap_ok "is busy" grep -q '^refused status=10 reason=16' "$DIR/error"
touch "$DIR/open/go"
wait $FIRST $SECOND $THIRD
tap_is "runs the urgent first" "$(paste -sd' ' "$DIR/open/order")" "first urgent last"
tap_ok "ends in order too" stop

# ---- beyond loopback
ip -n "$NS" addr add 10.78.0.1/32 dev lo
(umask 077; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$DIR/key")
ADDRESS=10.78.0.1
tap_is "no key, no CPU pool" "$(inside "$B/virgod" --listen 10.78.0.1 --insecure --cpu-port 10000 --check-config 2>&1 |
	grep -c 'without a cluster key')" 1
KEY=$DIR/key
tap_ok "with a key" start --key-file "$DIR/key" --plugin-dir "$DIR/plugins"
tap_is "jobs run" "$(run -- echo keyed)" keyed
tap_ok "text asks for the password" grep -q '^virgo_error(unauthorized,' <<< "$(text 'echo x\r\n')"
tap_is "and takes it" "$(text 'virgo_auth(%s)\r\necho x\r\n' "$(cat "$DIR/key")" | paste -sd' ')" "OK x"
hostile "with a key"
tap_ok "ends in order at last" stop
tap_ok "every job left a line" [ "$(grep -c ' info job id=' "$DIR/log")" -gt "$JOBS" ]
grep -A12 -m3 'Sanitizer\|runtime error\|[Aa]ssert' "$DIR/log" | sed 's/^/# /'
tap_is "no line says that something broke" "$(grep -c 'Sanitizer\|runtime error\|[Aa]ssert' "$DIR/log")" 0
tap_plan "$TAP_NUMBER"
tap_end
