# SPDX-License-Identifier: GPL-3.0-or-later
.PHONY: install uninstall

INSTALL_FILES = \
	$(B)/virgod:sbin/virgod:755 \
	$(B)/virgo-spawner:sbin/virgo-spawner:755 \
	$(B)/virgo-agent:sbin/virgo-agent:755 \
	$(B)/virgo:bin/virgo:755 \
	$(B)/virgo-mount:bin/virgo-mount:755 \
	$(B)/libvirgo.so:lib/libvirgo.so.$(VERSION):755 \
	$(B)/libvirgo.a:lib/libvirgo.a:644 \
	$(foreach h,$(wildcard include/virgo/*.h),$(h):$(h):644) \
	$(foreach o,$(BPF_OBJECTS),$(o):lib/virgo/bpf/$(notdir $(o)):644) \
	$(foreach m,$(wildcard docs/man/*.[1-8]),$(m):share/man/man$(subst .,,$(suffix $(m)))/$(notdir $(m)):644) \
	$(if $(wildcard src/cli/completion.bash),src/cli/completion.bash:share/bash-completion/completions/virgo:644)

install: all
	$(Q)for entry in $(INSTALL_FILES); do \
		from=$${entry%%:*}; rest=$${entry#*:}; to=$${rest%:*}; mode=$${rest##*:}; \
		install -D -m $$mode "$$from" "$(DESTDIR)$(PREFIX)/$$to" || exit 1; done
	$(Q)ln -sf libvirgo.so.$(VERSION) "$(DESTDIR)$(PREFIX)/lib/libvirgo.so.$(SO_MAJOR)"
	$(Q)ln -sf libvirgo.so.$(SO_MAJOR) "$(DESTDIR)$(PREFIX)/lib/libvirgo.so"
	$(call say,INSTALL,$(DESTDIR)$(PREFIX))

uninstall:
	$(Q)for entry in $(INSTALL_FILES); do \
		rest=$${entry#*:}; rm -f "$(DESTDIR)$(PREFIX)/$${rest%:*}"; done
	$(Q)rm -f "$(DESTDIR)$(PREFIX)/lib/libvirgo.so" "$(DESTDIR)$(PREFIX)/lib/libvirgo.so.$(SO_MAJOR)"
	$(Q)rmdir "$(DESTDIR)$(PREFIX)/include/virgo" "$(DESTDIR)$(PREFIX)/lib/virgo/bpf" \
		"$(DESTDIR)$(PREFIX)/lib/virgo" 2>/dev/null || :
	$(call say,REMOVED,$(DESTDIR)$(PREFIX))
