# SPDX-License-Identifier: GPL-3.0-or-later
# Tests print TAP (cmocka's, or a script's own); tests/run adds them up and prints the last line.
#
#   tests/unit/test_*.c   cmocka, mirrors src/; no root
#   tests/sim/test_*.c    the same, linked with sim.c in place of io_uring
#   tests/bpf/test_*.c    BPF_PROG_RUN, verifier budgets, layouts, the race of readers and writers; root
#   tests/fuzz/fuzz_*.c   libFuzzer targets, smoke-run over their corpus and for a few seconds
#   tests/netns/test_*.sh whole nodes in network namespaces; root
#   tests/oracle/test_*.sh random commands to virgod and to the server it must answer like; root. Short with the
#                         others; `make test-oracle` sends VG_ORACLE_COMMANDS, a million, to each

UNIT_TESTS := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/unit/test_*.c)))
SIM_TESTS := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/sim/test_*.c)))
BPF_TESTS := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/bpf/test_*.c)))
FUZZERS := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
NETNS_TESTS := $(sort $(wildcard tests/netns/test_*.sh))
HELPERS := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/netns/*.c tests/oracle/*.c)))

TEST_ROOMS := $(call room_archives,client node svc pool proto)
TEST_OBJECT_DIRS := tests/unit tests/sim tests/bpf tests/netns tests/oracle tests/fuzz

# The test's own functions stand in the place of these, so that any one request for memory can be made to fail.
$(B)/tests/unit/test_store_fail: LDFLAGS += -Wl,--wrap=vg_slab_get,--wrap=vg_heap_alloc

$(UNIT_TESTS): $(B)/%: $(B)/obj/%.o $(TEST_ROOMS) $(call room_archives,uring base)
	$(call link,-lcmocka $(DAEMON_LIBS))

# Files of the client are tried on real nodes.
$(filter $(B)/tests/unit/test_client_file%,$(UNIT_TESTS)): | $(B)/virgod

# The bookkeeping of the command line needs no node.
$(B)/tests/unit/test_map: $(addprefix $(B)/obj/src/cli/,map_engine.o map_resume.o map_template.o spool.o input.o)

# Nor do copies from here to here.
$(B)/tests/unit/test_files: $(addprefix $(B)/obj/src/cli/file_,place.o stream.o crew.o hash.o) $(B)/obj/src/cli/input.o

$(SIM_TESTS): $(B)/%: $(B)/obj/%.o $(TEST_ROOMS) $(call room_archives,sim base)
	$(call link,-lcmocka $(DAEMON_LIBS))

# Programs under test that no object of ours has by itself.
$(B)/tests/bpf/%.skel.h: tests/bpf/%.bpf.c tests/bpf/choose_run.h $(BPF_HEADERS) | deps
	$(call say,SKEL,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -Itests/bpf -c $< -o $(@D)/$*.tmp.o
	$(Q)$(BPFTOOL) gen object $(@D)/$*.bpf.o $(@D)/$*.tmp.o
	$(Q)$(BPFTOOL) gen skeleton $(@D)/$*.bpf.o name $*_bpf > $@

$(B)/obj/tests/bpf/test_choose.o: | $(B)/tests/bpf/choose.skel.h

BPF_TEST_CFLAGS = -I$(B)/skel -I$(B)/tests/bpf -fno-sanitize=alignment
BPF_TEST_ALONE := $(wildcard tests/bpf/test_*.c tests/bpf/*.bpf.c)
BPF_TEST_COMMON := $(patsubst %.c,$(B)/obj/%.o,$(filter-out $(BPF_TEST_ALONE),$(wildcard tests/bpf/*.c)))
# Headers in frames lie where Ethernet puts them: x86 does not mind, the sanitizer would.
$(patsubst %,$(B)/obj/%.o,$(basename $(wildcard tests/bpf/*.c))): EXTRA_CFLAGS = $(BPF_TEST_CFLAGS)
$(patsubst %,$(B)/obj/%.o,$(basename $(wildcard tests/bpf/*.c))): | $(BPF_SKELETONS)
$(BPF_TESTS): $(B)/%: $(B)/obj/%.o $(BPF_TEST_COMMON) $(TEST_ROOMS) $(call room_archives,uring base)
	$(call link,-lcmocka $(DAEMON_LIBS))

# Helpers of the namespace tests (a hiredis client, load generators) are ordinary clients of the public API.
$(HELPERS): $(B)/%: $(B)/obj/%.o $(B)/libvirgo.a
	$(call link,-lhiredis $(CLI_LIBS))

FUZZ_CFLAGS := $(filter-out -Werror,$(BASE_CFLAGS)) -g -O1 -fsanitize=fuzzer,address,undefined
# All that needs no ring.
FUZZ_ROOMS := $(filter-out %/snapshot_write.c,$(call room_sources,src/base src/proto src/pool src/svc src/svc/mem))
$(FUZZERS): $(B)/%: %.c $(FUZZ_ROOMS) $(wildcard include/virgo/*.h src/*/*.h src/svc/*/*.h tests/unit/*.h)
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(FUZZ_CFLAGS) -o $@ $< $(FUZZ_ROOMS) -linih -lsystemd -ljansson -lzstd -lpthread -lm

# This one reads files and has no node around it.
FUZZ_FILES := $(filter-out %/snapshot_write.c,$(call room_sources,src/base src/pool))
$(B)/tests/fuzz/fuzz_snapshot $(B)/tests/fuzz/fuzz_log: FUZZ_ROOMS := $(FUZZ_FILES)

# The file pool on a real directory; its ring is the fuzzer's own.
$(B)/tests/fuzz/fuzz_file: FUZZ_ROOMS := \
	$(filter-out %/snapshot_write.c,$(call room_sources,src/base src/proto src/pool src/svc src/svc/file))

# The codec of jobs stands alone.
$(B)/tests/fuzz/fuzz_job: FUZZ_ROOMS :=

# What the tests need is most of a build: on all processors, unless who calls has said on how many.
JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: check check-root test test-programs test-deps
test-deps:
	@scripts/deps test

check: test-deps
	@$(MAKE) --no-print-directory $(JOBS) check-programs
	@tests/run $(B) house unit sim fuzz

check-root: test-deps
	@$(MAKE) --no-print-directory $(JOBS) root-programs
	@tests/run $(B) bpf netns

test: test-deps
	@$(MAKE) --no-print-directory $(JOBS) check-programs root-programs
	@tests/run $(B) house unit sim fuzz bpf netns

.PHONY: test-oracle
test-oracle: test-deps
	@$(MAKE) --no-print-directory $(JOBS) root-programs
	@VG_ORACLE_COMMANDS=$${VG_ORACLE_COMMANDS:-1000000} tests/run $(B) oracle

# 200 kills and power cuts; `make test` has a few of them (tests/netns/test_crash.sh).
.PHONY: test-crash
test-crash: test-deps
	@$(MAKE) --no-print-directory $(JOBS) all $(B)/tests/netns/crash_ledger
	@VG_CRASH_KILLS=$${VG_CRASH_KILLS:-200} VG_TEST_TIMEOUT_S=7200 tests/run $(B) crash

# The file pool at length: what tests/file has, and what `make test` runs of it in small.
.PHONY: test-file
test-file: test-deps
	@scripts/deps test-file bench-file
	@$(MAKE) --no-print-directory $(JOBS) root-programs
	@VG_FILE_LONG=1 VG_TEST_TIMEOUT_S=500 tests/run $(B) file

.PHONY: check-programs root-programs
check-programs: all $(UNIT_TESTS) $(SIM_TESTS) $(FUZZERS)
root-programs: all $(BPF_TESTS) $(HELPERS) examples $(TEST_PLUGINS) $(TEST_KERNEL_PROGRAMS) \
	$(B)/bench/load $(B)/bench/uring_echo $(B)/bench/clone $(B)/bench/plugins/echo.so $(B)/bench/files

-include $(patsubst %.c,$(B)/obj/%.d,$(wildcard $(addsuffix /*.c,$(TEST_OBJECT_DIRS))))
