# SPDX-License-Identifier: GPL-3.0-or-later
# Each folder of src/ is a room: a static library, so that a program takes from it only what it uses.

comma := ,
room_sources = $(sort $(wildcard $(addsuffix /*.c,$(1))))
room_objects = $(patsubst %.c,$(B)/obj/%.o,$(call room_sources,$(1)))

# What may use an interface is the include law's business (scripts/check-includes); here is only what is linked.
BASE := $(call room_objects,src/base)
SIM := $(filter $(B)/obj/src/uring/sim%,$(call room_objects,src/uring))
URING_COMMON := $(filter %/conn.o %/address.o %/try.o,$(call room_objects,src/uring))
URING := $(filter-out $(SIM),$(call room_objects,src/uring))
PROTO := $(call room_objects,src/proto)
POOL := $(call room_objects,src/pool)
SVC := $(call room_objects,$(sort $(dir $(wildcard src/svc/*/*.c))) src/svc)
NODE := $(call room_objects,src/node)
CLIENT := $(call room_objects,src/client)
CLI := $(call room_objects,src/cli)
DAEMON := $(call room_objects,src/daemon)
SPAWN := $(call room_objects,src/spawn)
MOUNT := $(call room_objects,src/mount)
LOADER := $(call room_objects,loader)

DAEMON_LIBS := -luring -lbpf -linih -lsystemd -ljansson -lzstd -lpthread -lm
LOADER_LIBS := -lxdp -lbpf -lcap -lmicrohttpd -ljansson -lsystemd -lpthread
CLI_LIBS := -ljansson -lpthread -lm

OBJECTS = $(BASE) $(SIM) $(URING) $(PROTO) $(POOL) $(SVC) $(NODE) $(CLIENT) $(CLI) $(DAEMON) $(SPAWN) $(MOUNT) $(LOADER)

$(B)/obj/%.o: %.c | deps
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(SANITIZE) $(CFLAGS) $(CPPFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c $< -o $@

$(LOADER): EXTRA_CFLAGS = -I$(B)/skel
$(LOADER): | $(BPF_SKELETONS)
$(CLIENT): EXTRA_CFLAGS = -fvisibility=hidden

define link
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(SANITIZE) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(1)
endef

define archive
	$(call say,AR,$@)
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)ar rcs $@ $(filter %.o,$^)
endef

ROOMS := base uring sim proto pool svc node client
room_archives = $(foreach r,$(1),$(B)/lib/$(r).a)
$(B)/lib/base.a: $(BASE)
$(B)/lib/uring.a: $(URING)
$(B)/lib/sim.a: $(SIM) $(URING_COMMON)
$(B)/lib/proto.a: $(PROTO)
$(B)/lib/pool.a: $(POOL)
$(B)/lib/svc.a: $(SVC)
$(B)/lib/node.a: $(NODE)
$(B)/lib/client.a: $(CLIENT)
$(call room_archives,$(ROOMS)):
	$(archive)

$(B)/virgod: $(DAEMON) $(call room_archives,node svc pool proto uring base)
	$(call link,$(DAEMON_LIBS))

# A child that borrows its parent's memory runs on a stack that the sanitizers do not know.
$(B)/obj/src/spawn/child.o $(B)/obj/src/spawn/confine.o: SANITIZE :=

# What the CPU pool's jobs are started by: small, apart from the daemon.
$(B)/virgo-spawner: $(SPAWN)
	$(call link,-lbpf -ldl)

$(B)/virgo-agent: $(LOADER) $(B)/lib/base.a
	$(call link,$(LOADER_LIBS))

# The client library stands on include/virgo and libc alone: it may be used under a licence that src/base is not under.
$(B)/libvirgo.a: $(CLIENT)
	$(archive)

SO_MAJOR := $(firstword $(subst ., ,$(VERSION)))
$(B)/libvirgo.so: $(CLIENT) src/client/libvirgo.map
	$(call say,LD,$@)
	@grep -q 'VIRGO_$(SO_MAJOR)\.' src/client/libvirgo.map || \
		{ echo 'libvirgo.map and VERSION disagree' >&2; exit 1; }
	$(Q)$(CC) $(SANITIZE) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libvirgo.so.$(SO_MAJOR) \
		-Wl,--version-script=src/client/libvirgo.map -o $@ $(filter %.o,$^)
	@ln -sf libvirgo.so $(B)/libvirgo.so.$(SO_MAJOR)

# The command line uses the public API only; it carries its own copy so that it runs from anywhere.
# Of the pool only the formats on disk, for commands that read files.
$(B)/virgo: $(CLI) $(B)/libvirgo.a $(call room_archives,pool base)
	$(call link,$(CLI_LIBS))

# The file pool as a file system; `virgo mount` runs it.
$(MOUNT): EXTRA_CFLAGS = -isystem /usr/include/fuse3
$(B)/virgo-mount: $(MOUNT) $(B)/libvirgo.a $(call room_archives,base)
	$(call link,-lfuse3 -lsystemd -lpthread)

# Small programs that show the library, linked as a user would link them: with the shared object.
EXAMPLES := $(patsubst %.c,$(B)/%,$(sort $(wildcard examples/*.c)))
$(EXAMPLES): $(B)/%: $(B)/obj/%.o $(B)/libvirgo.so
	$(call link,-L$(B) -lvirgo -Wl$(comma)-rpath$(comma)'$$ORIGIN/..')

# Functions and kernel programs for the CPU pool; those of tests are built the same way.
PLUGINS := $(patsubst %.c,$(B)/%.so,$(sort $(wildcard examples/plugins/*.c)))
TEST_PLUGINS := $(patsubst %.c,$(B)/%.so,$(sort $(filter-out %.bpf.c,$(wildcard tests/netns/plugins/*.c))))
$(PLUGINS) $(TEST_PLUGINS): $(B)/%.so: %.c include/virgo/function.h | deps
	$(call say,SO,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(CFLAGS) -shared -o $@ $<

KERNEL_PROGRAMS := $(patsubst %.bpf.c,$(B)/%.bpf.o,$(sort $(wildcard examples/kernel/*.bpf.c)))
TEST_KERNEL_PROGRAMS := $(patsubst %.bpf.c,$(B)/%.bpf.o,$(sort $(wildcard tests/netns/plugins/*.bpf.c)))
$(KERNEL_PROGRAMS) $(TEST_KERNEL_PROGRAMS): $(B)/%.bpf.o: %.bpf.c vmlinux.h | deps
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@
$(B)/examples/kernel/allow: examples/kernel/allow
	@mkdir -p $(@D)
	$(Q)cp $< $@

.PHONY: examples
examples: $(EXAMPLES) $(PLUGINS) $(KERNEL_PROGRAMS) $(B)/examples/kernel/allow

-include $(OBJECTS:.o=.d) $(EXAMPLES:$(B)/%=$(B)/obj/%.d)
