# SPDX-License-Identifier: GPL-3.0-or-later
# Quiet by default: $(call say,CC,what) prints one short line a step; V=1 shows the commands instead.
ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n' '$(1)' '$(2)'
endif
