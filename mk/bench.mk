# SPDX-License-Identifier: GPL-3.0-or-later
# The loaders and the twins they are compared with; bench/README.md says what is measured and how.

BENCH_LOAD := $(patsubst %.c,$(B)/obj/%.o,$(sort $(wildcard bench/load/*.c)))
BENCH_COMMON := $(filter-out %/main.o,$(BENCH_LOAD))
BENCH_TWINS := $(patsubst bench/twin/%.c,$(B)/bench/%,$(sort $(wildcard bench/twin/*.c)))
BENCH_PROGRAMS := $(B)/bench/load $(BENCH_TWINS)

$(B)/bench/load: $(BENCH_LOAD)
	$(call link,-luring -lm)

$(BENCH_TWINS): $(B)/bench/%: $(B)/obj/bench/twin/%.o
	$(call link,-luring)

.PHONY: bench bench-programs
bench-programs: $(BENCH_PROGRAMS)

bench: all
	@scripts/deps bench
	@$(MAKE) --no-print-directory bench-programs
	@bench/run $(B)

-include $(patsubst %.c,$(B)/obj/%.d,$(sort $(wildcard bench/*/*.c)))
