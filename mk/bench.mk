# SPDX-License-Identifier: GPL-3.0-or-later
# The loaders and the twins they are compared with; bench/README.md says what is measured and how.

bench_object = $(patsubst %.c,$(B)/obj/%.o,$(1))
BENCH_COMMON := $(call bench_object,bench/load/cpu.c bench/load/histogram.c bench/load/keys.c)
BENCH_TWINS := $(patsubst bench/twin/%.c,$(B)/bench/%,$(sort $(wildcard bench/twin/*.c)))
BENCH_XDP := $(addprefix $(B)/bench/,flood hold latency)
BENCH_PROGRAMS := $(B)/bench/load $(BENCH_TWINS) $(BENCH_XDP) $(B)/bench/store $(B)/bench/growth $(B)/bench/paths \
		  $(B)/bench/switch $(B)/bench/choose

$(B)/bench/load: $(call bench_object,bench/load/main.c bench/load/engine.c bench/load/proto.c) $(BENCH_COMMON)
	$(call link,-luring -lm)

$(BENCH_TWINS): $(B)/bench/%: $(B)/obj/bench/twin/%.o
	$(call link,-luring)

$(BENCH_XDP): $(B)/bench/%: $(B)/obj/bench/xdp/%.o $(B)/obj/bench/xdp/frame.o $(BENCH_COMMON)
	$(call link,-lbpf -lm)

# An ordinary client of the library, and the function it calls.
BENCH_PROGRAMS += $(B)/bench/clone $(B)/bench/plugins/echo.so
$(B)/bench/plugins/echo.so: bench/plugins/echo.c include/virgo/function.h | deps
	$(call say,SO,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) -fPIC -fvisibility=hidden -shared -o $@ $<

$(B)/bench/clone: $(B)/obj/bench/micro/clone.o $(B)/libvirgo.a
	$(call link,)

# The file pool and its peers; without libnfs's headers (scripts/deps bench-file) all but NFS.
BENCH_NFS := $(if $(wildcard /usr/include/nfsc/libnfs.h),yes)
$(call bench_object,$(wildcard bench/files/*.c)): EXTRA_CFLAGS = -I. $(if $(BENCH_NFS),-DVG_BENCH_NFS)
$(B)/bench/files: $(call bench_object,$(wildcard bench/files/*.c) bench/load/histogram.c) $(B)/libvirgo.a
	$(call link,$(if $(BENCH_NFS),-lnfs) -lpthread)

$(B)/bench/store: $(B)/obj/bench/micro/store.o $(BENCH_COMMON) $(call room_archives,pool base)
	$(call link,-lpthread -lm)

$(B)/bench/growth: $(B)/obj/bench/micro/growth.o $(call room_archives,pool base)
	$(call link,-lpthread -lm)

$(B)/bench/paths: $(call bench_object,bench/micro/paths.c bench/xdp/frame.c) $(BENCH_COMMON) \
		 $(call room_archives,pool base)
	$(call link,-lbpf -lpthread -lm)

$(B)/bench/switch: $(call bench_object,bench/micro/switch.c)
	$(call link,-lbpf -lpthread)

$(B)/bench/choose: $(call bench_object,bench/micro/choose.c)
	$(call link,-lbpf)

$(call bench_object,bench/micro/choose.c): | $(B)/tests/bpf/choose.skel.h

$(B)/bench/traffic.skel.h: bench/xdp/traffic.bpf.c bench/xdp/traffic.h $(BPF_HEADERS) | deps
	$(call say,SKEL,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $(@D)/traffic.tmp.o
	$(Q)$(BPFTOOL) gen object $(@D)/traffic.bpf.o $(@D)/traffic.tmp.o
	$(Q)$(BPFTOOL) gen skeleton $(@D)/traffic.bpf.o name traffic > $@

BENCH_CFLAGS := -I$(B)/bench -I$(B)/skel -I$(B)/tests/bpf -Itests/bpf
$(call bench_object,$(wildcard bench/xdp/*.c bench/micro/*.c)): EXTRA_CFLAGS = $(BENCH_CFLAGS)
$(call bench_object,bench/xdp/flood.c bench/xdp/hold.c bench/micro/paths.c): | $(B)/bench/traffic.skel.h
$(call bench_object,bench/micro/paths.c): | $(B)/skel/xdp_ingress.skel.h

bench-cpu: all
	@scripts/deps bench bench-cpu
	@$(MAKE) --no-print-directory bench-programs
	@bench/cpu $(B)

.PHONY: bench bench-cpu bench-mem bench-file bench-programs
bench-programs: $(BENCH_PROGRAMS)

bench: all
	@scripts/deps bench
	@$(MAKE) --no-print-directory bench-programs
	@bench/run $(B)

bench-mem: all
	@scripts/deps bench
	@$(MAKE) --no-print-directory bench-programs
	@bench/mem $(B)

bench-file: all
	@scripts/deps bench-file
	@$(MAKE) --no-print-directory $(B)/bench/files
	@bench/file $(B)

-include $(patsubst %.c,$(B)/obj/%.d,$(sort $(wildcard bench/*/*.c)))

# The instruments have a test of their own.
$(B)/tests/unit/test_bench: $(call bench_object,bench/load/histogram.c bench/load/keys.c bench/load/proto.c \
			    bench/xdp/frame.c)
