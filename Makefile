# SPDX-License-Identifier: GPL-3.0-or-later
# One non-recursive build; `make help` lists what there is. Everything lands in build/ (build/asan, build/tsan).

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=

include mk/toolchain.mk
include mk/sanitizers.mk
include mk/quiet.mk
include mk/bpf.mk
include mk/rooms.mk
include mk/tests.mk
include mk/bench.mk
include mk/install.mk

.PHONY: all deps demo demo-cpu demo-file run check check-root test bench clean help

all: deps $(B)/virgod $(B)/virgo-spawner $(B)/virgo-agent $(B)/virgo $(B)/virgo-mount \
	$(B)/libvirgo.so $(B)/libvirgo.a $(BPF_OBJECTS)

deps:
	@scripts/deps build

demo: all
	@scripts/deps demo
	@scripts/demo $(B)

demo-cpu: all
	@scripts/deps demo
	@scripts/demo-cpu $(B)

demo-file: all
	@scripts/deps demo
	@scripts/demo-file $(B)

# One node on this machine's loopback, in the foreground, without BPF.
run: all
	$(B)/virgod --listen 127.0.0.1

clean:
	rm -rf build

help:
	@printf '%s\n' \
	'make all         build everything into build/ (installs what is missing first)' \
	'make demo        three nodes and a client in network namespaces, on real input' \
	'make demo-cpu    jobs on three unequal nodes: which policy sends them where, and how long they take' \
	'make demo-file   one tree over three nodes, mounted, compared, striped; a node dies and comes back' \
	'make run         one node on loopback' \
	'make test-crash  200 kills and power cuts of a daemon that logs; root' \
	'make test-file   the file pool at length: exercisers on a mount, the model test, kills; root' \
	'make test        everything below, as root; ends with "N passed, N failed, N skipped"' \
	'make test-oracle a million random commands to virgod and to redis, memcached; root' \
	'make check       unit, simulation, fuzz smoke, layout and house rules; no root needed' \
	'make check-root  BPF, network namespaces, crash and upgrade tests; root' \
	'make bench       measure against the limits and the peers; results in bench/results/' \
	'make bench-cpu   the CPU pool against posix_spawn, ssh, pipes and GNU parallel' \
	'make bench-file  the file pool against sshfs, nfs-ganesha, diod, fio, iperf3' \
	'make bench-mem   the memory pool against redis, valkey, memcached: sizes, skew, pipelines' \
	'make install     to DESTDIR/PREFIX (default /usr/local); make uninstall takes it away' \
	'make deps clean help' \
	'' \
	'V=1 shows commands; ASAN=1 and TSAN=1 build with sanitizers into build/asan and build/tsan;' \
	'CC CLANG BPFTOOL CFLAGS DESTDIR PREFIX are honoured.'
