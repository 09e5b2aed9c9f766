# SPDX-License-Identifier: GPL-3.0-or-later
# x.bpf.c -> build/bpf/x.bpf.o, which loads with plain bpftool, and build/skel/x.skel.h for those who embed it.

BPF_SOURCES := $(sort $(wildcard bpf/*.bpf.c))
BPF_OBJECTS := $(BPF_SOURCES:bpf/%.bpf.c=$(B)/bpf/%.bpf.o)
BPF_SKELETONS := $(BPF_SOURCES:bpf/%.bpf.c=$(B)/skel/%.skel.h)
BPF_HEADERS := vmlinux.h $(wildcard include/virgo/*.h bpf/*/*.h)
BPF_CFLAGS := -std=gnu17 -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -I. -Iinclude -Ibpf -Wall -Wextra -Werror \
	      -Wno-unused-parameter -Wno-missing-declarations -DBPF_NO_KFUNC_PROTOTYPES

$(B)/bpf/%.bpf.o: bpf/%.bpf.c $(BPF_HEADERS) | deps
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $(@:.o=.tmp.o)
	$(Q)$(BPFTOOL) gen object $@ $(@:.o=.tmp.o)
	@rm -f $(@:.o=.tmp.o)

$(B)/skel/%.skel.h: $(B)/bpf/%.bpf.o
	$(call say,SKEL,$@)
	@mkdir -p $(@D)
	$(Q)$(BPFTOOL) gen skeleton $< name $* > $@
