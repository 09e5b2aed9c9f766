#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# virgo run, map, jobs, logs, attach, kill and top against three whole nodes with a cluster key: what jobs read, write and
# end with, where they go, and what the caller hears when a node, a daemon or a link goes away in the middle.
cd "$(dirname "$0")/../.." || exit 1
. tests/netns/tap.sh
B=${B:-build}
[ "$(id -u)" = 0 ] || tap_skip_all 1 "needs root for network namespaces"
LAB_BUILD=$B
LAB_XDP=no
case $B in /*) EXAMPLES=$B/examples ;; *) EXAMPLES=$PWD/$B/examples ;; esac
LAB_VIRGOD_FLAGS="--bpf off --cpu-jobs 8 --cpu-linger 5 --plugin-dir $EXAMPLES/plugins --kernel-dir $EXAMPLES/kernel"
. scripts/lab.sh
trap lab_down EXIT
trap 'exit 130' INT TERM
tap_plan 69

lab_up 3
chmod 755 "$LAB_DIR"
LIST=$(lab_list)
# The nodes' own namespaces tell jobs apart: each has another address.
virgo() { lab_client env XDG_STATE_HOME="$LAB_DIR/state" "$B/virgo" --node "$LIST" --key-file "$LAB_DIR/key" -t 3s "$@" \
	2> "$LAB_DIR/err"; }
said() { # what a command prints, and what it ends with
	local out
	out=$(virgo "$@" < /dev/null)
	echo "$out/$?"
}
where() { virgo run --json --no-input "$@" -- true | jq -r .node; }
soon() { # CONDITION…: within ten seconds
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" && return 0
		sleep 0.05
	done
	return 1
}

tap_is "without a node: 125" "$(said run -- true)" /125
tap_ok "and it says so" grep -q 'no CPU pool answers' "$LAB_DIR/err"
for i in 0 1 2; do lab_start "$i" || echo "# node $i does not start"; done

# ---- one job

tap_is "output and status" "$(said run -- sh -c 'echo hi; exit 3')" hi/3
tap_is "standard error apart" "$(virgo run -- sh -c 'echo out; echo err >&2' < /dev/null; cat "$LAB_DIR/err")" $'out\nerr'
head -c 3000000 /dev/urandom > "$LAB_DIR/binary"
tap_is "binary through and back" "$(virgo run -- cat < "$LAB_DIR/binary" | cmp - "$LAB_DIR/binary" && echo same)" same
tap_is "32 MiB of input" "$(head -c 33554432 /dev/zero | virgo run -- wc -c)" 33554432
tap_is "32 MiB of output" "$(virgo run --no-input -- head -c 33554432 /dev/zero | wc -c)" 33554432
tap_is "it need not read its input" "$(head -c 5000000 /dev/zero | virgo run -- true; echo $?)" 0
tap_is "a reader that goes away" "$(virgo run --no-input -- yes | head -n 1)" y
tap_is "ended by a signal" "$(said run -- sh -c 'kill -9 $$')" /137
tap_is "not found" "$(said run -- no-such-program)" /127
tap_is "its time is up" "$(said run --timeout 200ms -- sleep 60)" /124
tap_is "environment" "$(A=1 virgo run --no-input --env A --env B=2 -- sh -c 'echo $A$B')" 12
tap_is "folder" "$(said run --cwd /usr/share -- pwd)" /usr/share/0
tap_is "a folder that is none" "$(said run --cwd /no/such/folder -- true)" /127
tap_is "a terminal of its own" "$(virgo run --no-input --tty -- sh -c 'test -t 0 && test -t 1 && echo yes' | tr -d '\r')" yes
tap_is "as JSON" "$(virgo run --json --no-input -- sh -c 'echo hi; exit 3' | jq -c '[.ok, .status, .stdout]')" '[false,3,"hi\n"]'
tap_is "wrong usage" "$(said run --priority 0 -- true)" /125
tap_is "an unknown policy" "$(said run --policy guess -- true)" /125
tap_is "the wrong key" "$(echo 00112233445566778899aabbccddeeff > "$LAB_DIR/other"
	said --key-file "$LAB_DIR/other" run -- true)" /125
tap_is "on a node by its address" "$(where --on "$(lab_address 2)")" "$(lab_address 2):10000"
tap_is "on a node by its number" "$(where --on 1)" "$(lab_address 1):10000"
tap_is "on a node that is none" "$(said run --on 10.77.0.99 -- true)" /125

ip netns exec "$LAB-c" env XDG_STATE_HOME="$LAB_DIR/state" "$B/virgo" --node "$LIST" --key-file "$LAB_DIR/key" \
	run -- sh -c 'trap "exit 42" TERM; echo ready; while :; do sleep 0.1; done' > "$LAB_DIR/out" < /dev/null &
RUN=$!
soon grep -q ready "$LAB_DIR/out"
kill -TERM $RUN
wait $RUN
tap_is "signals are passed on" $? 42

# ---- functions and kernel programs

tap_is "a function" "$(printf 'hello world\n' | virgo run --kind function -- count; echo "/$?")" "1 2 12/0"
tap_is "a function that is none" "$(said run --kind function -- no-such-function)" /127
tap_is "a kernel program, and what it returns" \
	"$(printf '\x12\0\0\0\x0c\0\0\0' | virgo run --kind kernel -- numbers:divisor | od -An -tu8 | tr -d ' '
		echo "${PIPESTATUS[1]}")" $'6\n6'
tap_is "a way out of the folder" "$(said run --kind kernel -- ../../etc:passwd)" /125
tap_is "the example of the library: a program, many, a function, a kernel program" \
	"$(lab_client env VIRGO_NODES="$LIST" VIRGO_KEY_FILE="$LAB_DIR/key" "$B/examples/clone" echo numbers:divisor)" \
	'status 3: FROM AFAR
8 of 8 ended, 0 failed
echo returned 0 and 4 bytes: 74 65 78 74
numbers:divisor returned 6 and 8 bytes: 06 00 00 00 00 00 00 00'

# ---- jobs on their own

JOB=$(virgo run --detach --on 1 -- sh -c 'echo begun; sleep 600')
tap_ok "a detached job has a name" grep -qE '^10\.77\.0\.11:10000/[0-9a-f]+$' <<< "$JOB"
begun() { [ "$(virgo logs "$JOB")" = begun ]; }
tap_ok "what it wrote so far" soon begun
tap_is "and again" "$(said logs "$JOB")" begun/0
tap_is "it is listed" "$(virgo jobs | awk -v job="$JOB" '$1 == job { print $2, $NF }')" "running sh"
tap_is "as JSON" "$(virgo --json jobs | jq -r '[.nodes[].jobs[] | select(.state == "running") | .name] | join(" ")')" sh
tap_is "not by others" "$(VIRGO_OWNER=somebody-else virgo jobs | grep -c "$JOB")" 0
tap_is "others cannot end it" "$(VIRGO_OWNER=somebody-else virgo kill "$JOB"; echo $?)" 5
tap_is "we can" "$(said kill -s TERM "$JOB")" /0
tap_is "and hear of its end" "$(said attach --no-input "$JOB")" begun/143
tap_is "a job that never was" "$(said attach 10.77.0.10/12345678)" /127
tap_is "no job's name" "$(said kill nonsense)" /2

# ---- the live table

tap_is "top as JSON" "$(virgo top --once --json | jq -c '[.ok, (.nodes | length), (.nodes[0].load | has("in_flight"))]')" \
	'[true,3,true]'
tap_is "top fits 80 columns" "$(virgo top --once | awk 'length($0) > 80' | wc -l)" 0
tap_is "top names three nodes" "$(virgo top --once | grep -c ':30000')" 3

# ---- where they go

fill() { for ((i = 0; i < 6; i++)); do virgo run --detach --on "$1" -- sleep 600; done >> "$LAB_DIR/filling"; }
empty() {
	# shellcheck disable=SC2046 # a list
	virgo kill $(cat "$LAB_DIR/filling")
	: > "$LAB_DIR/filling"
}
ran_on() { # of 24 jobs, one after the other, with options
	seq 24 | virgo map -j 1 --json --policy "$1" -- true | jq -r 'select(.node) | .node' | sort | uniq -c |
		awk -v node="$(lab_address "$2"):10000" '$2 == node { n = $1 } END { print n + 0 }'
}
fill 0
# It weighs how long jobs took there before, too, so a few may find the way; by chance it would be eight.
tap_ok "prequal: hardly any to the node that is full of jobs" [ "$(ran_on prequal 0)" -lt 8 ]
tap_is "leastloaded: none" "$(ran_on leastloaded 0)" 0
tap_ok "prg: also there" [ "$(ran_on prg 0)" -gt 0 ]
empty
fill 1
fill 2
tap_is "the load moves, and the jobs move: all to the one that was full before" "$(ran_on leastloaded 0)" 24
empty

# ---- map

seq 3000 > "$LAB_DIR/lines"
tap_is "3000 lines, each once" "$(virgo map -j 24 -- echo < "$LAB_DIR/lines" | sort -n | cmp - "$LAB_DIR/lines" && echo same)" same
tap_is "in their order" "$(head -n 500 "$LAB_DIR/lines" | virgo map --keep-order -- echo {} |
	cmp - <(head -n 500 "$LAB_DIR/lines") && echo same)" same
tap_is "on all nodes" "$(seq 60 | virgo map -j 12 --json -- sh -c 'sleep 0.05' | jq -r 'select(.node) | .node' | sort -u | wc -l)" 3
tap_is "failures are counted" "$(seq 40 | virgo map -- sh -c 'exit $(({} % 4 == 0))' > /dev/null; echo $?)" 10
tap_is "up to 101" "$(seq 150 | virgo map -- false > /dev/null; echo $?)" 101
tap_is "arguments on the line" "$(virgo map --keep-order -- echo {#}:{/.} ::: /a/b.c d.e)" $'1:b\n2:d'
tap_is "long output is not mixed" "$(seq 9 | virgo map -- sh -c 'head -c 200000 /dev/zero | tr "\\0" {}; echo' |
	awk '{ print length($0), substr($0, 1, 1) == substr($0, 200000, 1) }' | sort -u)" "200000 1"
tap_is "NUL between arguments" "$(printf 'a b\0c\nd\0' | virgo map -0 --keep-order -- printf '<%s>')" $'<a b><c\nd>'
mkdir "$LAB_DIR/in" "$LAB_DIR/out.d"
for i in 1 2 3 4 5; do head -c $((i * 100000)) /dev/urandom > "$LAB_DIR/in/$i"; done
virgo map --input --output "$LAB_DIR/out.d/{/}.gz" -- gzip -c ::: "$LAB_DIR"/in/*
tap_is "files there and back" "$(for i in 1 2 3 4 5; do zcat "$LAB_DIR/out.d/$i.gz" | cmp - "$LAB_DIR/in/$i" && echo same
	done | sort | uniq -c | awk '{ print $1, $2 }')" "5 same"
seq 30 | virgo map --resume "$LAB_DIR/resume" -- sh -c 'test {} -gt 10 || exit 1' > /dev/null
tap_is "resume: what failed is done again" \
	"$(seq 40 | virgo map --json --resume "$LAB_DIR/resume" -- sh -c 'test {} -gt 10 || exit 1' | tail -n 1 |
		jq -c '[.jobs, .failed, .skipped]')" '[20,10,20]'
tap_is "resume: not somebody's letter" "$(virgo map --resume README.md -- true ::: a; echo $?)" 125
tap_is "retry" "$(virgo map --json --retry 2 -- false ::: a | jq -c 'select(.node) | [.ok, .attempts]')" '[false,3]'
tap_is "an argument that is no file" "$(virgo map --input -- cat ::: /no/such/file; echo $?)" 1

# ---- when something breaks; -t is 3 s, so that the caller knows after about ten at the latest

begin() { # NAME COMMAND…: in the background, its status in a file
	# shellcheck disable=SC2016 # the inner shell's
	ip netns exec "$LAB-c" env XDG_STATE_HOME="$LAB_DIR/state" bash -c \
		'"${@:2}" > "$0.out" 2> "$0.err" < "$1"; echo $? > "$0.status"' "$LAB_DIR/$1" "$2" \
		"$B/virgo" --node "$LIST" --key-file "$LAB_DIR/key" -t 3s "${@:3}" &
}
has() { grep -qs "$2" "$LAB_DIR/$1.out"; }
ended() { soon test -s "$LAB_DIR/$1.status" || soon test -s "$LAB_DIR/$1.status"; cat "$LAB_DIR/$1.status"; }

begin cut /dev/null run --on 2 -- sh -c 'echo one; sleep 2; echo two; exit 7'
soon has cut one
lab_switch ip link set port2 down
sleep 1
lab_switch ip link set port2 up
tap_is "a link that is cut and comes back: nothing is lost" "$(ended cut; cat "$LAB_DIR/cut.out")" $'7\none\ntwo'

begin gone /dev/null run --on 2 -- sh -c 'echo one; sleep 600'
soon has gone one
lab_switch ip link set port2 down
tap_is "one that does not: 125 in bounded time" "$(ended gone)" 125
tap_ok "and nobody knows whether it has run" grep -q 'may or may not have run' "$LAB_DIR/gone.err"
tap_is "meanwhile others do the work" "$(seq 30 | virgo map -- echo | wc -l)" 30
lab_switch ip link set port2 up

seq 400 > "$LAB_DIR/arguments"
begin storm "$LAB_DIR/arguments" map -j 12 --retry 3 -- sh -c 'sleep 0.02; echo {}'
soon test -s "$LAB_DIR/storm.out"
begin killed /dev/null run --on 1 -- sh -c 'echo one; sleep 600'
begin retried /dev/null run --retry 2 --on 1 -- sh -c 'echo again; sleep 1; exit 6'
soon has killed one
soon has retried again
lab_kill 1
lab_start 1
tap_is "kill -9 of a daemon: its job's end is not known" "$(ended killed)" 125
tap_is "a job that may run twice is run again" "$(ended retried)" 6
tap_is "a map goes on with the others, and loses nothing" "$(ended storm; sort -n "$LAB_DIR/storm.out" | uniq |
	cmp - "$LAB_DIR/arguments" && echo same)" $'0\nsame'

left() { [ "$(virgo --json jobs | jq '[.nodes[].jobs[] | select(.how | not)] | length')" = 0 ]; }
tap_ok "no job is left behind" soon left
tap_is "nor a zombie" "$(ps -o stat= --ppid "${LAB_PIDS[0]},${LAB_PIDS[1]},${LAB_PIDS[2]}" | grep -c Z)" 0
tap_end
